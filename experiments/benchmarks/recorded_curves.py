"""Learning curves of our own workloads, recorded once by `record.py`: real trainings to search on without training.

    resnet   ResNetFinetune on 49 classes of Stanford Cars; warm-up, then a cosine down to nothing
    lstm     LstmLm on the first lines of the Penn Treebank; a constant rate
    bert     BertMlm on the first lines of the Penn Treebank; warm-up, then a line down to nothing
    mlp      MlpDigits on scikit-learn's digits; a constant rate

`recorded` gives them as tables for the race. A file has the units (n, p) of n random configurations in the cube of its
space, and for each step the loss (n, s), the cost in processor seconds (n, s) and the loss on the test part (n, s), NaN
where it was not measured. Losses are NaN from the step at which a training diverged.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from curves import Table
from numpy.typing import NDArray

from search.models.fits import rank_correlation
from search.space import Space, choice, lograndint, loguniform, pow2, uniform

FOLDER = Path(__file__).parent / "recorded"

SPACES = {
    "resnet": Space(
        {
            "learning_rate": loguniform(3e-3, 10.0),
            "batch_size": pow2(32, 256),
            "momentum": uniform(0.0, 0.97),
            "nesterov": choice([True, False]),
            "weight_decay": loguniform(1e-6, 0.1),
            "warm_up": uniform(0.0, 0.5),  # of the training
        }
    ),
    "lstm": Space(
        {
            "learning_rate": loguniform(0.02, 20.0),
            "batch_size": pow2(16, 128),
            "momentum": uniform(0.0, 0.95),
            "weight_decay": loguniform(1e-7, 1e-2),
            "dropout": uniform(0.0, 0.6),
            "clip_norm": loguniform(0.2, 20.0),
            "hidden": lograndint(8, 64),
        }
    ),
    "bert": Space(
        {
            "learning_rate": loguniform(3e-4, 0.03),
            "batch_size": pow2(16, 64),
            "weight_decay": loguniform(1e-4, 1.0),
            "dropout": uniform(0.0, 0.3),
            "clip_norm": loguniform(0.3, 10.0),
            "warm_up": uniform(0.0, 0.5),  # of the training
            "hidden": pow2(16, 64),
        }
    ),
    "mlp": Space(
        {
            "learning_rate": loguniform(1e-3, 10.0),
            "batch_size": pow2(8, 256),
            "momentum": uniform(0.0, 0.99),
            "weight_decay": loguniform(1e-6, 0.1),
            "hidden": lograndint(4, 256),
            "optimizer": choice(["sgd", "adam"]),
        }
    ),
}


@dataclass(frozen=True)
class Recording:
    """The arrays of a file; see the head of this module."""

    units: NDArray[np.float32]
    losses: NDArray[np.float32]
    cost_seconds: NDArray[np.float32]
    test_losses: NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> Recording:
        with np.load(path) as arrays:
            return cls(**{field.name: arrays[field.name] for field in fields(cls)})

    def write(self, path: Path) -> None:
        """Replaces the file in one go, so that none is ever half written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished.npz")
        np.savez_compressed(unfinished, **{field.name: getattr(self, field.name) for field in fields(self)})
        os.replace(unfinished, path)

    def table(self, name: str) -> Table:
        """All steps of a training cost its median step: what other processes took from a step is no part of its cost."""
        cost = np.median(self.cost_seconds.astype(np.float64), axis=1, keepdims=True)
        return Table(
            name,
            SPACES[name],
            self.units.astype(np.float64),
            self.losses.astype(np.float64),
            np.repeat(cost, self.losses.shape[1], axis=1),
        )


def recorded(folder: Path = FOLDER) -> list[Table]:
    """The tables that are there, in the order of SPACES."""
    found = {name: folder / f"{name}.npz" for name in SPACES}
    return [Recording.read(path).table(name) for name, path in found.items() if path.is_file()]


def described(recording: Recording) -> str:
    """Of one file: trainings, diverged, spread of the last losses, of the costs, and each step's agreement with the last."""
    ends = recording.losses[:, -1].astype(np.float64)
    ranks = [spearman(recording.losses[:, step], ends) for step in range(recording.losses.shape[1])]
    low, middle, high = np.nanquantile(ends, (0.1, 0.5, 0.9))
    least, most = np.quantile(np.median(recording.cost_seconds, axis=1), (0.1, 0.9))
    return (
        f"{len(ends)} trainings, {np.isnan(ends).mean():.0%} diverged; last loss: best {np.nanmin(ends):.3g}, 10 % {low:.3g}, "
        f"median {middle:.3g}, 90 % {high:.3g}; cost of a step {least:.3g} to {most:.3g} s, {most / least:.1f} times; "
        f"rank correlation with the last step {' '.join(f'{rank:.2f}' for rank in ranks)}"
    )


def spearman(first: NDArray[np.float32], second: NDArray[np.float64]) -> float:
    """Rank correlation; what diverged is last of all."""
    a, b = (np.nan_to_num(each.astype(np.float64), nan=np.inf) for each in (first, second))
    return rank_correlation(a, b)


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.npz")):
        print(f"{path.stem}: {described(Recording.read(path))}")
