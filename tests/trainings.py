"""What the exams of workloads and policies train: a new one sits all of them with one line in WORKLOADS or POLICIES.

Alone: pytest tests/test_trainables.py -k Name.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search.records import Config
from search.work import Assignment
from tests.contributed import example
from trainables.contract import Policy, Workload
from trainables.policies.adaptive_sync import AdaptiveSync
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
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Execution, Knobs, Signals
from trainables.workloads.bert_classify import BertClassify
from trainables.workloads.bert_mlm import BertMlm
from trainables.workloads.lstm_lm import LstmLm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

WORKLOADS: list[Workload] = [
    Quadratic.smallest(),
    ResNetFinetune.smallest(),
    replace(ResNetFinetune.smallest(), scope="head", pretraining_epochs=2),
    replace(ResNetFinetune.smallest(), network="resnet18"),
    ResNetPretrain.smallest(),
    LstmMnist.smallest(),
    MlpDigits.smallest(),
    LstmLm.smallest(),
    replace(LstmLm.smallest(), level="characters", cutoffs=(16,), data_share=0.002),
    BertMlm.smallest(),
    BertClassify.smallest(),
]
RATES: dict[type[Workload], float] = {LstmLm: 1.0, BertMlm: 0.01, BertClassify: 0.01}  # where 0.05 learns nothing
POLICIES: list[Policy[Any]] = [
    Fixed(),
    Plateau(factor=0.5, patience=0, threshold=0.9),
    ReplayedSchedule(((1, Knobs(0.1, 16)), (2, Knobs(0.05, 8, 0.5)))),
    NoiseScaleBatch(most=40, scaling="sqrt", decay=0.5),
    Date(base_batch=8, most=40, warm_up=0.1, decay="cosine", target=100.0, patience=1, period=1, evidence=1),
    AdaScale(base_batch=4, power=0.5),
    LrSchedule("cosine"),
    Warmup(0.4, base_batch=8),
    Warmup(0.7, then=LrSchedule("polynomial", begin_at=0.3)),
    Warmup(0.7, then=Plateau(factor=0.5, patience=0, threshold=0.9)),
    BatchRamp((0.3, 0.6), decay=0.5, most=50),
    Compose(LrSchedule("linear"), BatchRamp((0.3, 0.6), decay=None, growth=1.5, most=50)),
    LrRange(low=1e-3, high=1e3, then=LrSchedule("steps", at=(0.5,))),
    Watchdog(Warmup(0.7, base_batch=1, scaling="linear", then=LrSchedule("cosine")), 1.01, most=99, window=0.1),
    AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, data="replay"),
    RateRace(least=2, budget=0.7, cool=0.3, slack=0.1),
    RateRace(least=1, budget=0.7, cool=0.0, gammas=(), data="fresh"),
    RateRace(least=1, cool=0.1, again=(), lanes=("batch_size",), data="fresh"),
    Wsd(rungs=(1, 3), cool=0.6),
    Wsd(cool=0.9, warm_up=0.5, data="replay", rungs=(1, 2, 3)),
    Averaged(Wsd(rungs=(1, 2), cool=0.5)),
    LargestFreeBatch(largest=64, first=2, updates=1, tolerance=0.5, points=1),
    Averaged(),
    Averaged(AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, data="replay"), gammas=(2.0,)),
    Averaged(Sma(replicas=2)),
    Sma(replicas=2),
    Sma(replicas=2, period=3, outer="nesterov"),
    AdaptiveSync(replicas=2, share=0.6),
    AdaptiveSync(replicas=2, share=None, patience=1),
]


# Two policies that use all that a policy may do, and a workload that uses all that a checkpoint must hold.


@dataclass(frozen=True)
class Turning(Policy[int]):
    """Another batch size, learning rate and momentum after every `every` updates."""

    every: int = 3

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "momentum"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, NOTHING

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        if signals.train_loss is not None or (state + 1) % self.every:
            return state + (signals.train_loss is None), NOTHING
        knobs = signals.knobs
        batch_size = 7 if knobs.batch_size > 7 else 24
        turned = replace(knobs, learning_rate=knobs.learning_rate * 0.9, batch_size=batch_size, momentum=0.5)
        return state + 1, Action(knobs=turned)


@dataclass(frozen=True)
class Exploring(Policy[dict[str, Any]]):
    """Marks, trains a few updates with another learning rate, rewinds, goes on; again and again."""

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "snapshot"})

    def start(self, signals: Signals) -> tuple[dict[str, Any], Action]:
        state = {"phase": 0, "rate": signals.knobs.learning_rate, "losses": (math.inf,)}
        return state, Action(snapshot=True)

    def act(self, state: dict[str, Any], signals: Signals) -> tuple[dict[str, Any], Action]:
        if signals.train_loss is not None:
            return {**state, "losses": (*state["losses"], signals.train_loss)}, NOTHING
        phase = (state["phase"] + 1) % 5
        state = {**state, "phase": phase}
        if phase == 2:
            return state, Action(knobs=replace(signals.knobs, learning_rate=state["rate"] / 2, batch_size=9))
        if phase == 3:
            return state, Action(roll_back=True, knobs=replace(signals.knobs, learning_rate=state["rate"]))
        return state, Action(snapshot=phase == 0)


@dataclass(frozen=True)
class Trying(Policy[int]):
    """Tries learning rates and batch sizes from the same weights, watches all that can be watched, and gives reasons."""

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "snapshot"})
    needs: ClassVar[frozenset[str]] = frozenset({"loss", "gradient"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(explore=True, why="first")

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        if signals.train_loss is not None or signals.metrics:
            return state, NOTHING
        assert signals.loss is not None
        assert signals.gradient is not None
        state += 1
        knobs = replace(signals.knobs, learning_rate=0.01 * (1 + state % 4), batch_size=7 if state % 2 else 24)
        evidence = {"loss": signals.loss, "norm": signals.gradient.norm, "parts": signals.gradient.part_square}
        if state % 9 == 0:
            return state, Action(roll_back=True, knobs=knobs, why="chosen", evidence=evidence)
        if state % 9 == 4:
            return state, Action(explore=True, knobs=knobs, why="tries", evidence=evidence)
        returns = state % 9 in (6, 8)
        return state, Action(roll_back=returns, replay=state % 9 == 8, explore=returns, measure=state % 9 == 2)


class Noisy(nn.Module):
    """Draws from every random stream, and has a buffer that PyTorch does not save."""

    drift: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 1)
        self.register_buffer("drift", torch.zeros(8), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.dropout(self.norm(self.hidden(inputs)), 0.3, self.training)
        if self.training:
            hidden = hidden * (1 + 0.1 * random.random()) + 0.1 * float(np.random.rand()) + self.drift
            self.drift.mul_(0.9).add_(hidden.detach().mean(0), alpha=0.01)
        answer: Tensor = self.head(hidden)
        return answer[:, 0]


@dataclass(frozen=True)
class Everything(Workload):
    """Batch norm, dropout, AdamW, loss scaling, clipping, batches in parts, all random streams, groups with own multiples."""

    horizon: int = 3
    execution: Execution = Execution(micro_batch=6)
    metric: ClassVar[str] = "error"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("error",)
    baseline: ClassVar[Config | None] = {"learning_rate": 0.01}

    def knobs(self, config: Config) -> Knobs:
        return Knobs(config["learning_rate"], batch_size=16, weight_decay=0.1)

    def model(self, config: Config, prepared: Path | None) -> nn.Module:
        return Noisy()

    def optimizer(self, model: nn.Module, config: Config) -> torch.optim.Optimizer:
        rate = config["learning_rate"]
        named = dict(model.named_parameters())
        head = [p for name, p in named.items() if name.startswith("head")]
        body = [p for name, p in named.items() if not name.startswith("head")]
        groups = [{"params": body}, {"params": head, "lr": 3 * rate, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=rate, weight_decay=0.1)

    def clip_norm(self, config: Config) -> float:
        return 2.0

    def scaler(self, config: Config) -> torch.amp.GradScaler | None:
        return torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=5)

    def samples(self) -> int:
        return 50

    def loss(self, model: nn.Module, indices: Tensor) -> Tensor:
        inputs, targets = everything_data()
        return functional.mse_loss(model(inputs[indices]), targets[indices])

    def evaluate(self, model: nn.Module, part: str) -> Mapping[str, float]:
        inputs, targets = everything_data()
        half = slice(50, 75) if part == "valid" else slice(75, 100)
        return {"error": functional.mse_loss(model(inputs[half]), targets[half]).item()}


@lru_cache(maxsize=1)
def everything_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(100, 3, generator=generator)
    return inputs, inputs.square().sum(1)


CONTRIBUTED: tuple[Workload, Policy[Any]] = (example("Line")(), example("Halving")())
each_workload = pytest.mark.parametrize("workload", [*WORKLOADS, CONTRIBUTED[0]], ids=lambda w: type(w).__name__)


def place(prepared: Path, workload: Workload) -> Path:
    """Where what `workload` prepared lies."""
    return prepared / hashlib.sha256(repr(workload).encode()).hexdigest()


def begin(workload: Workload, policy: Policy[Any], prepared: Path, **options: Any) -> Training:
    config = options.pop("config", None) or good(workload)
    options = {"seed": 3, "prepared": place(prepared, workload), **options}
    return Training(workload, policy, config, **options)


def good(workload: Workload) -> Config:
    """A configuration that learns within the smallest size."""
    assert workload.baseline is not None, (
        f"give {type(workload).__name__} a baseline, the configuration that a careful user would run: its exam trains it"
    )
    return {**workload.baseline, "learning_rate": RATES.get(type(workload), 0.05)}


def metrics(training: Training) -> list[Mapping[str, float]]:
    return [item.metrics for item in training if item is not None and item.kind == "report"]


def told(training: Training) -> list[Any]:
    """Reports and decisions, without the time that each took."""
    return [replace(item, cost_seconds=0.0) for item in training if item is not None]


def timeless(state: dict[str, Any]) -> str:
    """A fingerprint of all bits of a state, but for the time that was taken."""
    told = state["control"]["decisions"]
    waiting = [{**decision, "cost_seconds": 0.0} for decision in told["waiting"]]
    control = {**state["control"], "decisions": {**told, "waiting": waiting}}
    return hashlib.sha256(repr(numbers({**state, "seconds": 0, "control": control})).encode()).hexdigest()


def numbers(value: Any) -> Any:
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return [(key, numbers(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [numbers(item) for item in value]
    return repr(value)


def resume(state: dict[str, Any], workload: Workload, policy: Policy[Any], prepared: Path) -> Training:
    training = begin(workload, policy, prepared)
    disturb()
    training.load(state)
    return training


def disturb() -> None:
    """Leave the random streams somewhere else."""
    torch.rand(7)
    np.random.rand(7)
    random.random()


def assign(tmp_path: Path, **changes: Any) -> Assignment:
    whole = {"trial": 0, "config": good(Quadratic()), "seed": 3, "until": 9, "folder": tmp_path / "trial"}
    return Assignment(**{**whole, "checkpoint_seconds": 0, **changes})


def reports(items: Any) -> dict[int, Mapping[str, float]]:
    return {item.step: item.metrics for item in items if item is not None and item.kind == "report"}
