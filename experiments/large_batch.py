"""From a tuned batch to a larger one without losing accuracy: LEGW's settings, and a small sweep around them.

Prints the ladder from the tuned batch to the wanted one (`trainables/estimates/batch_scaling.py`): learning rate,
warm-up and what the gradient noise scale says for each row, which is a proxy: `LargestFreeBatch` measures it. The last
row is then the baseline of a sweep over rate, warm-up and optimiser around it. Claim: on a test part that no decision
has seen, the best configuration is at least as good as the row.

    python experiments/large_batch.py
    LARGE_BATCH_TUNED=128,0.1,0.2 LARGE_BATCH_TARGET=8192 LARGE_BATCH_DATA=mnist python experiments/large_batch.py

`LARGE_BATCH_TUNED` is the tuned batch size, learning rate and epochs of warm-up; `LARGE_BATCH_NOISE` the noise scale in
samples, if known: `NoiseScaleBatch` and `Date` record it as evidence. `Date` is
our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none.
"""

import os
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator import Asha, LstmMnist, Space, Sweep, Tpe, Warmup, choice, launch, loguniform, when
from search.records import Config
from trainables.estimates.batch_scaling import ScaledBatch, scaled_batches

DATA = os.environ.get("LARGE_BATCH_DATA")  # a folder with MNIST's files; None: digits
BATCH, RATE, WARMUP = map(float, os.environ.get("LARGE_BATCH_TUNED", "16,0.2,0.3").split(","))
TARGET = int(os.environ.get("LARGE_BATCH_TARGET", "256"))
NOISE = os.environ.get("LARGE_BATCH_NOISE", "100" if DATA is None else None)  # of the digits: measured, noise_scale.md


def rungs() -> list[ScaledBatch]:
    return scaled_batches(
        base_batch=int(BATCH), learning_rate=RATE, warmup_epochs=WARMUP, target=TARGET,
        noise_scale=float(NOISE) if NOISE else None,
    )  # fmt: skip


def legw(config: Config) -> Warmup:
    """The rate is that of the target's batch already: nothing is left to scale."""
    return Warmup(config["warmup_epochs"])


def sweep() -> Sweep:
    wanted = rungs()[-1]
    warmup = max(wanted.warmup_epochs, 0.1)
    return Sweep(
        name="large-batch",
        workload=LstmMnist(horizon=30, data=str(Path(DATA).absolute()) if DATA else None, hidden=128 if DATA else 64),
        policy=legw,
        space=Space(
            {
                "learning_rate": loguniform(wanted.learning_rate / 4, wanted.learning_rate * 4),
                "warmup_epochs": loguniform(warmup / 4, warmup * 2),
                "optimizer": choice(["sgd", "nesterov", "lars"]),
                "trust_coefficient": when(loguniform(0.002, 0.2), optimizer="lars"),
                "batch_size": choice([TARGET]),
                "momentum": choice([0.9]),
            }
        ),
        baseline={
            "learning_rate": wanted.learning_rate,
            "warmup_epochs": warmup,
            "optimizer": "sgd",
            "batch_size": TARGET,
            "momentum": 0.9,
        },
        searcher=Tpe(),
        scheduler=Asha(grace_period=8, reduction_factor=3),
        num_samples=20,
    )


def show() -> None:
    table = Table("batch", "learning rate", "warm-up, epochs", "updates", "says the noise scale", box=None)
    for row in rungs():
        table.add_row(
            str(row.batch_size), f"{row.learning_rate:.3g}", f"{row.warmup_epochs:.3g}",
            "as many" if row.fewer_updates == 1 else f"{row.fewer_updates:.3g} times fewer", row.verdict,
        )  # fmt: skip
    Console(stderr=True).print(table)


if __name__ == "__main__":
    show()
    launch(sweep)
