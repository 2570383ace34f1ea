"""Record learning curves of our own workloads, as tables for the race: `recorded/NAME.npz`, see `recorded_curves.py`.

    python experiments/benchmarks/record.py resnet lstm bert mlp --cars FOLDER --cifar FOLDER --ptb FOLDER

CARS and CIFAR are archives of images (see `trainables/data/image_files.py`; 32 pixels, 196 and 10 classes), PTB is
a folder of text (see `trainables/data/text.py`). Each training is a random configuration from a fixed seed, small enough
for one thread of a CPU and a second or two. It is written as soon as it ends, so the same command continues after an
interruption.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from recorded_curves import FOLDER, SPACES, Recording

from search.records import Config
from search.work import Reported
from trainables.contract import Policy, Workload
from trainables.data import text
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.warmup import Warmup
from trainables.training.device import measure
from trainables.training.loop import Training
from trainables.values import Execution
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

Curves = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Losses, costs in processor seconds, and losses on the test part; each (steps,)."""

SEED = 20_240_601  # of the configurations
SMALL: dict[str, Any] = {
    "widths": (16, 32, 64),
    "stem_stride": 2,
    "side": 20,
    "execution": Execution(channels_last=True),
}


@dataclass(frozen=True)
class Recipe:
    """What to record: parameters of the configuration that are `fields` set the workload's."""

    workload: Workload
    fields: tuple[str, ...] = ()
    shape: str | None = None  # of the learning rate after the warm-up; None: it stays constant
    tests_each_step: bool = True  # else at the end only, because it takes long

    def workload_of(self, config: Config) -> Workload:
        return replace(self.workload, **{name: config[name] for name in self.fields})  # type: ignore[type-var]

    def policy_of(self, config: Config) -> Policy[Any] | None:
        if self.shape is None:
            return None
        return Warmup(config["warm_up"] * self.workload.horizon, then=LrSchedule(self.shape))


def resnet(cars: Path, cifar: Path, work: Path) -> Recipe:
    """A step is 0.4 of an epoch of 49 classes; the network has been trained on CIFAR-10 before."""
    weights = pretrained(ResNetPretrain(horizon=6, data=str(cifar), **SMALL), work / "source.safetensors")
    workload = ResNetFinetune(
        horizon=15, data=str(cars), weights=str(weights), classes_every=4, data_share=0.4, **SMALL
    )
    return Recipe(workload, shape="cosine", tests_each_step=False)


def lstm(ptb: Path, work: Path) -> Recipe:
    folder = shortened(ptb, {"train": 400, "valid": 120, "test": 120}, work / "lstm")
    return Recipe(LstmLm(horizon=15, data=str(folder), layers=1, vocabulary_size=500), fields=("hidden",))


def bert(ptb: Path, work: Path) -> Recipe:
    folder = shortened(ptb, {"train": 1500, "valid": 70, "test": 70}, work / "bert")
    workload = BertMlm(
        horizon=15, data=str(folder), vocabulary_size=60, length=32, layers=1, heads=1, evaluations_per_pass=18
    )
    return Recipe(workload, fields=("hidden",), shape="linear")


def mlp() -> Recipe:
    return Recipe(MlpDigits(horizon=20), fields=("hidden",))


def pretrained(workload: ResNetPretrain, path: Path) -> Path:
    """The file of the weights after a training with the workload's own recipe, trained unless it is there."""
    import safetensors.torch

    if not path.exists():
        training = Training(workload, LrSchedule("cosine"), workload.baseline or {})
        for item in training:
            if isinstance(item, Reported):
                print(f"source, epoch {item.step}: {item.metrics[workload.metric]:.3f}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(
            {name: each.contiguous() for name, each in training.model.state_dict().items()}, path
        )
    return path


def shortened(source: Path, lines: Mapping[str, int], folder: Path) -> Path:
    """A folder with the first lines of each part of a text."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in lines.items():
        (folder / f"{part}.txt").write_text("\n".join(text.lines(str(source), part)[:count]) + "\n", encoding="utf-8")
    return folder


def train(recipe: Recipe, config: Config, *, seed: int, prepared: Path) -> Curves:
    """One training. The cost of a step has its evaluation on the validation part, as a sweep's has, but not the test."""
    workload = recipe.workload_of(config)
    sign, offset = (-1.0, 1.0) if workload.mode == "max" else (1.0, 0.0)  # shares to be maximised become errors
    losses, costs, tests = (np.full(workload.horizon, np.nan, dtype=np.float32) for _ in range(3))
    training = Training(workload, recipe.policy_of(config), config, seed=seed, prepared=prepared)
    items, seconds = iter(training), 0.0
    while True:
        begun = time.process_time()
        item = next(items, training)
        seconds += time.process_time() - begun
        if item is training:
            break
        if not isinstance(item, Reported):
            continue
        place = item.step - 1
        costs[place], seconds = seconds, 0.0
        loss = offset + sign * item.metrics[workload.metric]
        if not math.isfinite(np.float32(loss)):
            break
        losses[place] = loss
        if recipe.tests_each_step or item.step == workload.horizon:
            tests[place] = offset + sign * measure(workload, training.model, "test")[workload.metric]
    return losses, np.nan_to_num(costs, nan=float(np.nanmedian(costs))), tests


def record(name: str, recipe: Recipe, count: int, path: Path, prepared: Path) -> None:
    """Train the configurations that `path` does not have yet."""
    space, steps = SPACES[name], recipe.workload.horizon
    recipe.workload.check()
    recipe.workload.prepare(prepared)
    rng = np.random.default_rng(SEED)
    configs = [space.sample(rng) for _ in range(count)]
    units = np.array([space.to_unit(config) for config in configs], dtype=np.float32)
    rows: list[Curves] = []
    if path.exists():
        known = Recording.read(path)
        if known.losses.shape[1] != steps or not np.array_equal(known.units[:count], units[: len(known.units)]):
            raise ValueError(f"{path}: was recorded with another space or horizon; move it away.")
        rows = list(zip(known.losses, known.cost_seconds, known.test_losses, strict=True))
    for number in range(len(rows), count):
        rows.append(train(recipe, configs[number], seed=number, prepared=prepared))
        losses, costs, tests = (np.stack(column) for column in zip(*rows, strict=True))
        Recording(units[: len(rows)], losses, costs, tests).write(path)
        print(f"{name} {number}: {losses[-1, -1]:.4g} in {costs[-1].sum():.2f} s, {configs[number]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--cars", type=Path, help="folder of Stanford Cars, for resnet")
    parser.add_argument("--cifar", type=Path, help="folder of CIFAR-10, for resnet")
    parser.add_argument("--ptb", type=Path, help="folder of the Penn Treebank, for lstm and bert")
    parser.add_argument("--count", type=int, default=300, help="trainings of each")
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=Path("runs/recorded"), help="pre-trained weights, shortened text")
    given = parser.parse_args()
    torch.set_num_threads(1)
    work = given.work.absolute()
    recipes: dict[str, tuple[Callable[[], Recipe], tuple[str, ...]]] = {
        "resnet": (lambda: resnet(given.cars.absolute(), given.cifar.absolute(), work), ("cars", "cifar")),
        "lstm": (lambda: lstm(given.ptb.absolute(), work), ("ptb",)),
        "bert": (lambda: bert(given.ptb.absolute(), work), ("ptb",)),
        "mlp": (mlp, ()),
    }
    for name in given.names:
        missing = [f"--{folder}" for folder in recipes[name][1] if getattr(given, folder) is None]
        if missing:
            parser.error(f"{name}: give {' and '.join(missing)}.")
    for name in given.names:
        record(name, recipes[name][0](), given.count, given.output / f"{name}.npz", work / "prepared" / name)


if __name__ == "__main__":
    main()
