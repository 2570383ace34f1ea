"""A tiny regression that our loop, a Trainer and a Lightning module train alike: the same model, data, order, optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, Sampler

from search.records import Config
from search.work import Decision, Progress
from trainables.contract import Policy, Workload
from trainables.policies.adascale import AdaScale
from trainables.policies.autolrs import AutoLrs
from trainables.policies.averaged import Averaged
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.compose import Compose
from trainables.policies.date import Date
from trainables.policies.fixed import Fixed
from trainables.policies.largest_free_batch import LargestFreeBatch
from trainables.policies.lr_range import LrRange
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.policies.plateau import Plateau
from trainables.policies.rate_race import RateRace
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.policies.sma import Sma
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.policies.wsd import Wsd
from trainables.values import Knobs

SAMPLES, BATCH, SEED = 64, 8, 3
CONFIG: Config = {"learning_rate": 0.05}


class Line(nn.Module):
    """As models of transformers do, it returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 8)
        self.head = nn.Linear(8, 1)

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        outputs = self.head(torch.tanh(self.hidden(inputs)))[:, 0]
        return {"loss": functional.mse_loss(outputs, labels), "logits": outputs}


@lru_cache(maxsize=1)
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2 * SAMPLES, 3, generator=generator)
    return inputs, inputs.square().sum(1)


class Rows(Dataset[dict[str, Tensor]]):
    """The training part, or the validation part, which is one batch."""

    def __init__(self, part: slice) -> None:
        inputs, labels = data()
        self.inputs, self.labels = inputs[part], labels[part]

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.inputs[index], "labels": self.labels[index]}


TRAIN, VALID = slice(0, SAMPLES), slice(SAMPLES, 2 * SAMPLES)


class Shuffled(Sampler[int]):
    """The order of our loop: each pass is another epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def __len__(self) -> int:
        return SAMPLES

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from np.random.default_rng((SEED, self.epoch)).permutation(SAMPLES).tolist()


@dataclass(frozen=True)
class Lines(Workload):
    """`metric`: its name where it is compared."""

    horizon: int = 3
    metric: ClassVar[str] = "eval_loss"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("eval_loss",)

    def knobs(self, config: Config) -> Knobs:
        return Knobs(config["learning_rate"], BATCH, 0.9)

    def model(self, config: Config, prepared: Path | None) -> nn.Module:
        return Line()

    def optimizer(self, model: nn.Module, config: Config) -> torch.optim.Optimizer:
        return torch.optim.SGD(model.parameters(), lr=config["learning_rate"], momentum=0.9)

    def samples(self) -> int:
        return SAMPLES

    def loss(self, model: nn.Module, indices: Tensor) -> Tensor:
        inputs, labels = data()
        loss: Tensor = model(inputs[indices], labels[indices])["loss"]
        return loss

    def evaluate(self, model: nn.Module, part: str) -> Mapping[str, float]:
        inputs, labels = data()
        return {"eval_loss": model(inputs[VALID], labels[VALID])["loss"].item()}


POLICIES: list[Policy[Any]] = [
    Fixed(),
    Plateau(factor=0.5, patience=0, threshold=0.9),
    LrSchedule("cosine"),
    Warmup(0.4, base_batch=4),
    Warmup(0.7, then=Plateau(factor=0.5, patience=0, threshold=0.9)),
    LrRange(low=1e-3, high=1e3, then=LrSchedule("steps", at=(0.5,))),
    Watchdog(Warmup(0.7, base_batch=1, scaling="linear", then=LrSchedule("cosine")), 1.01, most=99, window=0.1),
    AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2),
    AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, longest=1.0, metric="eval_loss"),
    RateRace(least=2, budget=0.5, cool=0.3, data="fresh"),
    RateRace(least=1, cool=0.1, again=(), lanes=("batch_size",), data="fresh"),
    Wsd(rungs=(1, 3), cool=0.6),
    AdaScale(base_batch=4, power=0.5),
    ReplayedSchedule(((1, Knobs(0.1, 8)), (2, Knobs(0.05, 16, 0.5)))),
    NoiseScaleBatch(most=40, scaling="sqrt", decay=0.5),
    Date(base_batch=8, most=40, warm_up=0.1, decay="cosine", target=100.0, patience=1, period=1, evidence=1),
    BatchRamp((0.3, 0.6), decay=0.5, most=50),
    Compose(LrSchedule("linear"), BatchRamp((0.3, 0.6), decay=None, growth=1.5, most=50)),
    AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, data="replay"),
    LargestFreeBatch(largest=64, first=2, updates=1, tolerance=0.5, points=1),
    LargestFreeBatch(largest=64, first=2, updates=1, tolerance=0.5, points=2, data="fresh"),
    Averaged(LrSchedule("cosine")),
    Averaged(AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2)),
    Sma(replicas=2),
]


def decided(items: Iterable[Progress | None]) -> list[Decision]:
    """The decisions among the messages, without the time that each took."""
    return [replace(item, cost_seconds=0.0) for item in items if isinstance(item, Decision)]
