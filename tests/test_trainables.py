"""The exam that every workload and every policy sits, and what the loop promises about them.

A new workload or policy earns all of it with one line in WORKLOADS or POLICIES.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import math
import os
import pickle
import pkgutil
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import trainables.policies
import trainables.workloads
from search.records import Config
from search.work import Assignment, Progress
from trainables import checkpoint
from trainables.base import NOTHING, Action, Execution, Knobs, Policy, Signals, Workload
from trainables.device import measure
from trainables.loop import Training, train
from trainables.policies.adaptive_sync import AdaptiveSync
from trainables.policies.adascale import AdaScale
from trainables.policies.autolrs import AutoLrs
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.date import Date
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.policies.plateau import Plateau
from trainables.policies.schedule import Schedule
from trainables.policies.scheduled import Scheduled
from trainables.policies.sma import Sma
from trainables.policies.together import Together
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.run import Run
from trainables.signals import Gradient
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
    Scheduled(((1, Knobs(0.1, 16)), (2, Knobs(0.05, 8, 0.5)))),
    NoiseScaleBatch(most=40, scaling="sqrt", decay=0.5),
    Date(base_batch=8, most=40, warm_up=0.1, decay="cosine", target=100.0, patience=1, period=1, evidence=1),
    AdaScale(base_batch=4, power=0.5),
    Schedule("cosine"),
    Warmup(0.4, base_batch=8),
    Warmup(0.7, then=Schedule("polynomial", begin_at=0.3)),
    Warmup(0.7, then=Plateau(factor=0.5, patience=0, threshold=0.9)),
    BatchRamp((0.3, 0.6), decay=0.5, most=50),
    Together(Schedule("linear"), BatchRamp((0.3, 0.6), decay=None, growth=1.5, most=50)),
    LrRange(low=1e-3, high=1e3, then=Schedule("steps", at=(0.5,))),
    Watchdog(Warmup(0.7, base_batch=1, scaling="linear", then=Schedule("cosine")), 1.01, most=99, window=0.1),
    AutoLrs(low=0.001, high=0.1, stage=1 / 6, trial=0.5, candidates=2, data="replay"),
    Sma(replicas=2),
    AdaptiveSync(replicas=2, share=0.6),
    AdaptiveSync(replicas=2, share=None, patience=1),
]


# Two policies that use all that a policy may do, and a workload that uses all that a checkpoint must hold.


@dataclass(frozen=True)
class Turning(Policy[int]):
    """Another batch size, learning rate and momentum after every `every` updates."""

    every: int = 3

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

    def start(self, signals: Signals) -> tuple[dict[str, Any], Action]:
        state = {"phase": 0, "rate": signals.knobs.learning_rate, "losses": (math.inf,)}
        return state, Action(mark=True)

    def act(self, state: dict[str, Any], signals: Signals) -> tuple[dict[str, Any], Action]:
        if signals.train_loss is not None:
            return {**state, "losses": (*state["losses"], signals.train_loss)}, NOTHING
        phase = (state["phase"] + 1) % 5
        state = {**state, "phase": phase}
        if phase == 2:
            return state, Action(knobs=replace(signals.knobs, learning_rate=state["rate"] / 2, batch_size=9))
        if phase == 3:
            return state, Action(rewind=True, knobs=replace(signals.knobs, learning_rate=state["rate"]))
        return state, Action(mark=phase == 0)


@dataclass(frozen=True)
class Trying(Policy[int]):
    """Tries learning rates and batch sizes from the same weights, watches all that can be watched, and gives reasons."""

    turns: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "mark"})
    watches: ClassVar[frozenset[str]] = frozenset({"loss", "gradient"})

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
            return state, Action(rewind=True, knobs=knobs, why="chosen", evidence=evidence)
        if state % 9 == 4:
            return state, Action(explore=True, knobs=knobs, why="tries", evidence=evidence)
        returns = state % 9 in (6, 8)
        return state, Action(rewind=returns, replay=state % 9 == 8, explore=returns, measure=state % 9 == 2)


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


# Each workload with the policies that do all that one may do, each policy with the workload that needs all of the state.
TRAININGS: list[tuple[Workload, Policy[Any]]] = [(workload, Trying()) for workload in WORKLOADS]
TRAININGS += [(Everything(), policy) for policy in (*POLICIES, Turning(), Exploring(), Trying())]
each_workload = pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: type(w).__name__)


def trainings(some: list[tuple[Workload, Policy[Any]]]) -> pytest.MarkDecorator:
    names = [f"{type(workload).__name__}-{type(policy).__name__}" for workload, policy in some]
    return pytest.mark.parametrize(("workload", "policy"), some, ids=names)


each_training = trainings(TRAININGS)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    for workload in WORKLOADS:
        workload.prepare(place(folder, workload))
    return folder


def place(prepared: Path, workload: Workload) -> Path:
    """Where what `workload` prepared lies."""
    return prepared / hashlib.sha256(repr(workload).encode()).hexdigest()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def begin(workload: Workload, policy: Policy[Any], prepared: Path, **options: Any) -> Training:
    config = options.pop("config", None) or good(workload)
    options = {"seed": 3, "prepared": place(prepared, workload), **options}
    return Training(workload, policy, config, **options)


def good(workload: Workload) -> Config:
    """A configuration that learns within the smallest size."""
    assert workload.baseline is not None
    return {**workload.baseline, "learning_rate": RATES.get(type(workload), 0.05)}


def metrics(training: Training) -> list[Mapping[str, float]]:
    return [item.metrics for item in training if item is not None and item.kind == "report"]


def told(training: Training) -> list[Any]:
    """Reports and decisions."""
    return [
        (item.kind, item.metrics, item.before, item.after, item.text, item.position)
        for item in training
        if item is not None
    ]


def timeless(state: dict[str, Any]) -> str:
    """A fingerprint of all bits of a state, but for the time that was taken."""
    decisions = [{**decision, "cost_seconds": 0.0} for decision in state["decisions"]]
    return hashlib.sha256(repr(numbers({**state, "seconds": 0, "decisions": decisions})).encode()).hexdigest()


def numbers(value: Any) -> Any:
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return [(key, numbers(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [numbers(item) for item in value]
    return repr(value)


# Lists


def subclasses(package: Any, base: type) -> set[str]:
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {c.__name__ for c in found if issubclass(c, base) and c.__module__.startswith(package.__name__)}


def test_every_workload_and_policy_sits_the_exam() -> None:
    assert subclasses(trainables.workloads, Workload) == {type(w).__name__ for w in WORKLOADS}
    assert subclasses(trainables.policies, Policy) == {type(p).__name__ for p in POLICIES}


# The exam of a workload


@each_workload
def test_naming_a_workload_does_not_load_torch(workload: Workload) -> None:
    module = type(workload).__module__
    code = (
        f"import sys, {module}; sys.exit(bool({{'torch', 'sklearn', 'transformers', 'tokenizers'}} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@each_workload
def test_it_says_what_it_is(workload: Workload, prepared: Path) -> None:
    assert workload.metric in workload.metrics
    assert workload.mode in ("min", "max")
    assert workload.horizon >= 2
    assert workload.baseline is not None
    assert type(workload)().knobs(workload.baseline).batch_size > 0
    assert pickle.loads(pickle.dumps(workload)) == workload
    names = {type(workload).__name__: type(workload), "Execution": Execution}
    assert eval(repr(workload), names) == workload


@each_workload
def test_the_loss_falls(workload: Workload, prepared: Path) -> None:
    losses = [m["train_loss"] for m in metrics(begin(workload, Fixed(), prepared))]
    assert len(losses) == workload.horizon
    assert losses[-1] < 0.95 * losses[0]


@each_workload
def test_each_sample_is_seen_once_an_epoch_whatever_the_batch_size(workload: Workload, prepared: Path) -> None:
    reference = watch(begin(workload, Fixed(), prepared, until=1))
    for policy in (Turning(every=1), Turning(every=2)):
        for training in (
            begin(workload, policy, prepared, seed=4),
            begin(workload, policy, prepared, seed=5),
        ):
            until = training.until
            seen = watch(training)["train"]
            assert training.samples == until * workload.samples() == sum(seen.values())
            assert seen == Counter({row: until * n for row, n in reference["train"].items()})


@each_workload
def test_it_is_measured_on_samples_that_it_was_not_trained_on(workload: Workload, prepared: Path) -> None:
    training = begin(workload, Fixed(), prepared, until=1)
    seen = watch(training)
    assert training.model.training is False
    assert watch_model(training, lambda: workload.evaluate(training.model, "valid")) == seen["valid"]
    test = watch_model(training, lambda: workload.evaluate(training.model, "test"))
    assert not seen["train"] & seen["valid"]
    assert not seen["train"] & test
    assert not seen["valid"] & test
    assert sum(test.values()) >= sum(seen["valid"].values()) > 0


@each_workload
def test_it_answers_its_metrics_as_plain_floats(workload: Workload, prepared: Path) -> None:
    for part in ("valid", "test"):
        with torch.no_grad():
            answer = workload.evaluate(begin(workload, Fixed(), prepared).model.eval(), part)
        assert set(answer) == set(workload.metrics)
        assert {type(value) for value in answer.values()} == {float}


@each_workload
def test_preparing_twice_gives_the_same(workload: Workload, prepared: Path, tmp_path: Path) -> None:
    workload.prepare(tmp_path)
    before = place(prepared, workload)
    names = sorted(os.listdir(tmp_path))
    assert names == (sorted(os.listdir(before)) if before.exists() else [])
    assert all((tmp_path / name).read_bytes() == (before / name).read_bytes() for name in names)


def watch(training: Training) -> dict[str, Counter[bytes]]:
    """Carry a training out, and count the samples that its model was shown."""
    seen: dict[str, Counter[bytes]] = {"train": Counter(), "valid": Counter()}

    def look(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen["train" if model.training else "valid"].update(row.numpy().tobytes() for row in inputs[0])

    with training.model.register_forward_pre_hook(look):
        reports = metrics(training)
    epochs = len(reports)
    seen["valid"] = Counter({row: count // epochs for row, count in seen["valid"].items()})
    return seen


def watch_model(training: Training, call: Any) -> Counter[bytes]:
    seen: Counter[bytes] = Counter()
    with training.model.register_forward_pre_hook(
        lambda _, inputs: seen.update(row.numpy().tobytes() for row in inputs[0])
    ):
        call()
    return seen


# The exam of a policy, with every workload


@each_training
def test_the_same_seed_gives_the_same_training(workload: Workload, policy: Policy[Any], prepared: Path) -> None:
    curves, states = [], []
    for seed in (1, 1, 2):
        training = begin(workload, policy, prepared, seed=seed)
        curves.append(metrics(training))
        states.append(timeless(training.state()))
    assert curves[0] == curves[1] != curves[2]
    assert states[0] == states[1] != states[2]


@each_training
def test_resume_equals_uninterrupted_at_every_cut(
    workload: Workload, policy: Policy[Any], prepared: Path, tmp_path: Path
) -> None:
    """Whole states, after every item, through files; some go on to the end, all are cut a second time."""
    training = begin(workload, policy, prepared)
    items, states = [], []
    for item in training:
        items.append(item and item.metrics)
        states.append(training.state())
    expected = [timeless(state) for state in states]
    cuts = range(len(items)) if len(items) < 30 else sorted(random.Random(1).sample(range(len(items)), 30))
    for cut in cuts:
        path = Path(checkpoint.save(tmp_path, states[cut], step=cut).path)
        resumed = resume(checkpoint.load(path), workload, policy, prepared)
        assert timeless(resumed.state()) == expected[cut]
        following = [item and item.metrics for _, item in zip(range(3), resumed, strict=False)]
        assert following == items[cut + 1 : cut + 4]
        second = cut + len(following)
        twice = resume(resumed.state(), workload, policy, prepared)
        assert timeless(twice.state()) == expected[second]
        if cut % 7 == 0:
            assert [item and item.metrics for item in twice] == items[second + 1 :]
            assert timeless(twice.state()) == expected[-1]


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


@each_training
def test_the_policy_keeps_plain_data_and_is_pure(workload: Workload, policy: Policy[Any], prepared: Path) -> None:
    calls: list[tuple[Any, Signals, Any]] = []

    class Recorded(Policy[Any]):
        watches = policy.watches

        def start(self, signals: Signals) -> Any:
            return policy.start(signals)

        def act(self, state: Any, signals: Signals) -> Any:
            before = copy.deepcopy(state)
            answer = policy.act(state, signals)
            calls.append((before, signals, copy.deepcopy(answer)))
            return answer

    training = begin(workload, Recorded(), prepared)
    metrics(training)
    for before, signals, answer in calls:
        assert policy.act(before, signals) == answer
    ended = [signals for _, signals, _ in calls if signals.train_loss is not None]
    assert [signals.step for signals in ended] == list(range(1, workload.horizon + 1))
    assert all(workload.metric in signals.metrics for signals in ended)
    assert [s.samples for s in ended] == [step * workload.samples() for step in range(1, workload.horizon + 1)]
    names = {type(known).__name__: type(known) for known in (*POLICIES, policy)}
    assert eval(repr(policy), {**names, "Knobs": Knobs}) == policy


# What the checkpoint must hold


LEFT_OUT = [
    "step", "cursor", "accumulated", "gradients", "samples", "order_seed", "loss_sum", "share_sum", "knobs", "policy", "mark", "scaler",
    "weights/model", "weights/buffers", "weights/optimizer",
    "streams/torch", "streams/numpy", "streams/python",
]  # fmt: skip
OF_TRIALS = [
    "behind",
    "kept",
    "last_loss",
    "part_squares",
    "exploring",
    "decisions",
    "undone",
    "told_knobs",
]  # matter to a policy that tries and watches


@pytest.mark.parametrize("left_out", [None, *LEFT_OUT, *OF_TRIALS])
@pytest.mark.slow
def test_nothing_can_be_left_out_of_the_state(left_out: str | None, prepared: Path) -> None:
    """The exam above can fail: a state with one item as at the start gives another training.

    Cut at several places, within a batch and between two: a rewind makes some items matter less.
    """
    identical = [resumes_identically(cut, left_out, prepared) for cut in range(3, 43, 2)]
    assert all(identical) if left_out is None else not all(identical)


def resumes_identically(cut: int, left_out: str | None, prepared: Path) -> bool:
    policy = Trying() if left_out in OF_TRIALS else Exploring()
    training = begin(Everything(), policy, prepared)
    for _ in zip(range(cut), training, strict=False):
        pass
    state = training.state()
    expected = [*told(training), timeless(training.state())]

    other = begin(Everything(), policy, prepared, seed=11 if left_out == "order_seed" else 3)
    if left_out is not None:
        *path, last = left_out.split("/")
        inner, start = state, other.state()
        for key in path:
            inner, start = inner[key], start[key]
        inner[last] = start[last]
    resumed = begin(Everything(), policy, prepared)
    resumed.load(state)
    return [*told(resumed), timeless(resumed.state())] == expected


def test_the_state_has_no_item_that_nobody_tries_to_leave_out(prepared: Path) -> None:
    state = begin(Everything(), Exploring(), prepared).state()
    tried = {name.split("/")[0] for name in (*LEFT_OUT, *OF_TRIALS)}
    assert set(state) == tried | {"seconds", "threads"}
    assert {f"weights/{key}" for key in state["weights"]} <= set(LEFT_OUT)
    assert set(state["streams"]) == {"torch", "cuda", "numpy", "python"}


def test_the_state_is_a_copy(prepared: Path) -> None:
    training = begin(Everything(), Exploring(), prepared)
    items = iter(training)
    next(items)
    state = training.state()
    before = timeless(state)
    list(items)
    assert timeless(state) == before


# Knobs, marks


def test_groups_keep_their_multiples_when_a_knob_turns(prepared: Path) -> None:
    training = begin(Everything(), Turning(every=1), prepared)
    items = iter(training)
    next(items)
    while training.accumulated:
        next(items)
    body, head = training.optimizer.param_groups
    assert body["lr"] == training.knobs.learning_rate == pytest.approx(0.045)
    assert head["lr"] == pytest.approx(3 * body["lr"])
    assert (body["weight_decay"], head["weight_decay"]) == (0.1, 0.0)


def test_a_rewind_brings_back_every_bit_of_weights_and_optimiser(prepared: Path) -> None:
    training = begin(Everything(), Exploring(), prepared)
    marked: dict[str, Any] = {}
    rewound = 0
    for item in training:
        phase = training.state()["policy"]["phase"]
        updated = item is None and not training.accumulated
        if updated and phase == 0:
            marked = training.state()
        if updated and phase == 3 and marked:
            rewound += 1
            for part in ("model", "buffers"):
                assert numbers(training.state()["weights"][part]) == numbers(marked["weights"][part])
            now, then = training.state()["weights"]["optimizer"], marked["weights"]["optimizer"]
            assert numbers(now["state"]) == numbers(then["state"])
            assert training.samples > marked["samples"]
    assert rewound >= 1


def test_a_rewind_without_a_mark_is_refused(prepared: Path) -> None:
    class Lost(Policy[None]):
        def start(self, signals: Signals) -> tuple[None, Action]:
            return None, NOTHING

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            return None, Action(rewind=True)

    with pytest.raises(ValueError, match="has not marked anything"):
        next(iter(begin(Quadratic(), Lost(), prepared)))


@pytest.mark.parametrize(("factor", "patience", "threshold"), [(0.1, 2, 1e-4), (0.5, 0, 0.05), (0.9, 5, 0.0)])
def test_plateau_does_what_torch_does(factor: float, patience: int, threshold: float) -> None:
    policy = Plateau(factor, patience, threshold)
    knobs = Knobs(learning_rate=0.3, batch_size=1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", factor, patience, threshold, threshold_mode="rel"
    )
    state, action = policy.start(Signals(0, 1, 0, 300, knobs))
    assert action == NOTHING
    generator = random.Random(1)
    changes = 0
    for step in range(300):
        loss = 2 / (1 + step / 10) + generator.gauss(0, 0.02)
        assert policy.act(state, Signals(0, 1, step, 300, knobs)) == (state, NOTHING)  # within the epoch
        state, action = policy.act(state, Signals(0, 1, step, 300, knobs, loss, {"loss": loss}))
        scheduler.step(loss)
        changes += action.knobs is not None
        knobs = action.knobs or knobs
        assert knobs.learning_rate == optimizer.param_groups[0]["lr"]
    assert changes > 3


def test_plateau_with_factor_zero_ends_learning() -> None:
    policy = Plateau(factor=0.0, patience=0)
    knobs = Knobs(0.3, 1)
    state, _ = policy.act((1.0, 0), Signals(0, 1, 1, 9, knobs, 2.0))
    _, action = policy.act((1.0, 0), Signals(0, 1, 1, 9, knobs, 2.0))
    assert state == (1.0, 0)
    assert action.knobs == Knobs(0.0, 1)
    with pytest.raises(ValueError, match="factor must be"):
        Plateau(factor=1.0)


# Training that goes wrong


@pytest.mark.parametrize("rate", [1e30, 50.0])
def test_a_diverged_training_says_so_and_ends(rate: float, prepared: Path, tmp_path: Path) -> None:
    workload = Quadratic(horizon=100)
    config = {**good(workload), "learning_rate": rate}
    *_, last = list(workload.run(Fixed(), Assignment(0, config, 1, until=100, folder=tmp_path)))
    assert last is not None
    assert last.kind == "report"
    assert last.step < 100
    assert not math.isfinite(last.metrics["loss"])


def test_wrecked_weights_have_no_accuracy(prepared: Path) -> None:
    """A network of NaN answers class 0 for everything: 20 % right, and finite."""
    workload = ResNetFinetune.smallest()
    config = {**good(workload), "learning_rate": 1e30}
    (report,) = metrics(begin(workload, Fixed(), prepared, config=config))
    assert math.isnan(report["accuracy"])
    assert not math.isfinite(report["train_loss"])


def test_nesterov_without_momentum_is_plain_descent(prepared: Path) -> None:
    workload = ResNetFinetune.smallest()
    configs = [{**good(workload), "momentum": 0.0, "nesterov": nesterov} for nesterov in (True, False)]
    curves = [metrics(begin(workload, Fixed(), prepared, config=config)) for config in configs]
    assert curves[0] == curves[1]


def test_a_model_that_was_not_prepared_is_named() -> None:
    with pytest.raises(ValueError, match=r"pass prepared=folder"):
        Training(ResNetFinetune.smallest(), Fixed(), good(ResNetFinetune()))


# Runs


def assign(tmp_path: Path, **changes: Any) -> Assignment:
    whole = {"trial": 0, "config": good(Quadratic()), "seed": 3, "until": 9, "folder": tmp_path / "trial"}
    return Assignment(**{**whole, "checkpoint_seconds": 0, **changes})


def kinds(run: Run) -> list[tuple[str, int]]:
    return [(item.kind, item.step) for item in run if item is not None and item.kind != "decision"]


def reports(items: Any) -> dict[int, Mapping[str, float]]:
    return {item.step: item.metrics for item in items if item is not None and item.kind == "report"}


WHOLE = {item.step: item.metrics for item in train(Quadratic(), Turning(), good(Quadratic()), seed=3)}


def test_no_policy_is_a_fixed_one(tmp_path: Path) -> None:
    without = reports(Quadratic().run(None, assign(tmp_path, folder=tmp_path / "none")))
    assert without == reports(Quadratic().run(Fixed(), assign(tmp_path)))


def test_a_report_comes_before_the_checkpoint_of_its_step(tmp_path: Path) -> None:
    run = Quadratic().run(Fixed(), assign(tmp_path, until=3))
    for item in run:
        if item is not None and item.kind == "report":
            assert not any(found.step == item.step for found in checkpoint.find(tmp_path / "trial"))
    again = kinds(Quadratic().run(Fixed(), assign(tmp_path, until=3, folder=tmp_path / "again")))
    assert again == [(kind, step) for step in (1, 2, 3) for kind in ("report", "checkpoint")]


def test_a_finished_assignment_goes_on_when_it_is_promoted(tmp_path: Path) -> None:
    seen = reports(Quadratic().run(Turning(), assign(tmp_path, until=3)))
    again = kinds(Quadratic().run(Turning(), assign(tmp_path, until=3, recorded=3)))
    assert again == [("checkpoint", 3)]  # told again: the driver may have been killed before it was recorded
    seen |= reports(Quadratic().run(Turning(), assign(tmp_path, until=9, recorded=3)))
    assert seen == WHOLE


def test_what_is_not_recorded_is_trained_again(tmp_path: Path) -> None:
    reports(Quadratic().run(Turning(), assign(tmp_path, until=5)))
    again = list(Quadratic().run(Turning(), assign(tmp_path, recorded=4)))
    assert list(reports(again)) == [5, 6, 7, 8, 9]
    assert reports(again) == {step: WHOLE[step] for step in range(5, 10)}


def test_a_damaged_checkpoint_is_passed_over_and_told(tmp_path: Path) -> None:
    reports(Quadratic().run(Turning(), assign(tmp_path, until=5)))
    (tmp_path / "trial" / "step-000005+000000" / "tensors.safetensors").write_bytes(b"")
    items = list(Quadratic().run(Turning(), assign(tmp_path, recorded=5)))
    assert items[0] is not None
    assert items[0].kind == "notice"
    assert "step-000005+000000/tensors.safetensors" in items[0].text
    assert reports(items) == {step: WHOLE[step] for step in range(5, 10)}


def test_with_no_usable_checkpoint_it_starts_over_and_tells(tmp_path: Path) -> None:
    items = list(Quadratic().run(Turning(), assign(tmp_path, recorded=5)))
    assert items[0] == Progress("notice", 0, text="no usable checkpoint: trained again from step 0")
    assert reports(items) == WHOLE


@pytest.mark.parametrize("updates", [1, 2, 5, 6, 13])
def test_a_pause_in_mid_epoch_loses_nothing(updates: int, tmp_path: Path) -> None:
    """Paused, resumed in a process that was used for something else, and paused again."""
    seen: dict[int, Mapping[str, float]] = {}
    for _ in range(100):
        run = Quadratic().run(Turning(), assign(tmp_path, recorded=max(seen, default=0), checkpoint_seconds=1e9))
        trained = (item for item in run if item is None or item.kind != "decision")
        for _, item in zip(range(updates), trained, strict=False):
            seen |= reports([item])
        saved = run.save()
        assert saved is run.save()
        run.close()
        assert list(run) == []
        disturb()
        if max(seen, default=0) == 9:
            break
    assert seen == WHOLE


def test_should_pause_is_obeyed_after_a_checkpoint(tmp_path: Path) -> None:
    asked = []

    def should_pause() -> bool:
        asked.append(time.perf_counter())
        return len(asked) == 3

    workload = Quadratic(seconds_per_step=0.2)
    run = workload.run(Fixed(), assign(tmp_path, checkpoint_seconds=1e9), should_pause)
    items = [item for item in run if item is not None]
    assert [item.kind for item in items[-2:]] == ["checkpoint", "paused"]
    assert all(later - sooner >= 0.2 for sooner, later in pairwise(asked))
    assert Path(items[-2].path).name == f"step-{run.training.step:06d}+{run.training.cursor:06d}"


def test_checkpoints_cost_little_time(tmp_path: Path) -> None:
    """Due all the time, but none is begun while more than 2 % of the time went into earlier ones."""
    workload = Quadratic(horizon=3, seconds_per_step=0.3)
    run = workload.run(Fixed(), assign(tmp_path, until=3, checkpoint_seconds=1e-9))
    begun = time.perf_counter()
    spent = [0.0]
    for item in run:
        if item is not None and item.kind == "checkpoint" and item.step < 3:
            assert spent[-1] <= 0.02 * (time.perf_counter() - begun)
            spent.append(run._writing_seconds)
    assert len(spent) > 1
    assert run.save().step == 3


def test_only_few_checkpoints_stay(tmp_path: Path) -> None:
    reports(Quadratic().run(Fixed(), assign(tmp_path)))
    assert [found.step for found in checkpoint.find(tmp_path / "trial")] == [8, 9]
    reports(Quadratic().run(Fixed(), assign(tmp_path, folder=tmp_path / "parent", keep=5)))
    assert [found.step for found in checkpoint.find(tmp_path / "parent")] == [5, 6, 7, 8, 9]


def test_a_fork_takes_the_weights_and_brings_its_own_knobs(tmp_path: Path) -> None:
    parent = assign(tmp_path, until=4, folder=tmp_path / "parent")
    reports(Quadratic().run(Turning(), parent))
    weights = checkpoint.load(tmp_path / "parent" / "step-000004+000000")["weights"]
    config = {**good(Quadratic()), "learning_rate": 0.5, "momentum": 0.3, "batch_size": 32}
    child = assign(tmp_path, config=config, seed=9, parent=parent.folder, parent_step=4)
    run = Quadratic().run(Fixed(), child)
    assert (run.training.step, run.training.samples) == (4, 4 * 64)
    assert run.training.knobs == Knobs(0.5, 32, 0.3)
    assert run.training.optimizer.param_groups[0]["lr"] == 0.5
    assert numbers(run.training.state()["weights"]["model"]) == numbers(weights["model"])
    assert numbers(run.training.state()["weights"]["optimizer"]["state"]) == numbers(weights["optimizer"]["state"])
    uninterrupted = reports(run)
    assert list(uninterrupted) == [5, 6, 7, 8, 9]

    # Interrupted before its first report, it goes on from its own checkpoint and not from the parent's.
    cut = replace(child, folder=tmp_path / "cut")
    run = Quadratic().run(Fixed(), cut)
    next(run)
    run.save()
    run = Quadratic().run(Fixed(), cut)
    assert run.training.cursor == 32
    assert reports(run) == uninterrupted


def test_a_fork_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no usable checkpoint at step 4"):
        Quadratic().run(Fixed(), assign(tmp_path, parent=tmp_path / "parent", parent_step=4))


def test_denormals_are_flushed_in_the_training_only(tmp_path: Path) -> None:
    """The flag is the thread's: left on, 5e-324 would be 0.0 in the decisions of the same process."""
    flushed = []

    class Looking(Policy[None]):
        def start(self, signals: Signals) -> tuple[None, Action]:
            return None, NOTHING

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            flushed.append(float(np.float64(2e-308) / np.float64(4.0)) == 0.0)
            return None, NOTHING

    for _ in Quadratic().run(Looking(), assign(tmp_path)):
        assert float(np.float64(2e-308) / np.float64(4.0)) > 0.0
    assert flushed
    assert all(flushed)


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    reports(Quadratic().run(Fixed(), assign(tmp_path, until=2)))
    run = Quadratic().run(Fixed(), assign(tmp_path, until=3, recorded=2, threads=2))
    assert torch.get_num_threads() == 2
    items = [item for item in run if item is not None]
    assert items[0].text.startswith("another number of threads (saved with 1, going on with 2)")


def test_the_declared_cost_is_reported(tmp_path: Path) -> None:
    run = Quadratic(declared_cost=60.0).run(Fixed(), assign(tmp_path))
    assert {item.cost_seconds for item in run if item is not None and item.kind == "report"} == {60.0}


def test_the_measured_cost_leaves_out_checkpoints_and_the_consumer(tmp_path: Path) -> None:
    begun = time.perf_counter()
    run = Quadratic(seconds_per_step=0.1).run(Fixed(), assign(tmp_path, until=3))
    costs, elsewhere = [], 0.0
    for item in run:
        left = time.perf_counter()
        time.sleep(0.02)
        if item is not None and item.kind == "report":
            costs.append(item.cost_seconds)
        elsewhere += time.perf_counter() - left
    assert min(costs) >= 0.1
    assert sum(costs) + elsewhere + run._writing_seconds <= time.perf_counter() - begun


def test_the_cost_of_a_step_survives_an_interruption(tmp_path: Path) -> None:
    workload = Quadratic(seconds_per_step=0.2)
    run = workload.run(Fixed(), assign(tmp_path, until=1))
    next(run), next(run)
    run.save()
    (report, _) = [item for item in workload.run(Fixed(), assign(tmp_path, until=1)) if item is not None]
    assert report.cost_seconds >= 0.2


def test_the_test_part_is_measured_from_the_checkpoint(prepared: Path, tmp_path: Path) -> None:
    workload = ResNetFinetune.smallest()
    folder = place(prepared, workload)
    assignment = assign(tmp_path, config=good(workload), until=3, prepared=folder)
    run = workload.run(Fixed(), assignment)
    reports(run)
    run.training.model.eval()
    with torch.no_grad():
        expected = workload.evaluate(run.training.model, "test")
    assert workload.test(replace(assignment, recorded=3)) == expected
    with pytest.raises(FileNotFoundError, match="no usable checkpoint up to step 0"):
        workload.test(replace(assignment, recorded=0))


RESUMING = """
import sys, json
from pathlib import Path
from search.work import Assignment
from trainables.policies.plateau import Plateau
from trainables.workloads.resnet_finetune import ResNetFinetune
config, folder, prepared, recorded, updates = json.loads(sys.argv[1])
folder, prepared = Path(folder), Path(prepared)
assignment = Assignment(0, config, 3, 3, folder, recorded=recorded, checkpoint_seconds=1e9, prepared=prepared)
run = ResNetFinetune.smallest().run(Plateau(0.5, 0, 0.9), assignment)
for _, item in zip(range(updates), run):
    if item is not None and item.kind == "report":
        print(json.dumps([item.step, dict(item.metrics)]))
run.save()
"""


def test_fresh_processes_go_on_with_the_same_bits(prepared: Path, tmp_path: Path) -> None:
    """A network, cut in the middle of an epoch, in two fresh processes."""
    workload = ResNetFinetune.smallest()
    expected = begin(workload, Plateau(0.5, 0, 0.9), prepared)
    curve = metrics(expected)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    found: dict[int, Mapping[str, float]] = {}
    for updates in (6, 100):
        given = [
            dict(good(workload)),
            str(tmp_path),
            str(place(prepared, workload)),
            max(found, default=0),
            updates,
        ]
        command = [sys.executable, "-c", RESUMING, json.dumps(given)]
        lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        found |= dict(map(json.loads, lines.splitlines()))
    assert [found[step] for step in (1, 2, 3)] == curve
    state, _ = checkpoint.newest(tmp_path, recorded=3)
    assert state is not None
    assert numbers(state["weights"]) == numbers(expected.state()["weights"])


def test_a_share_of_the_data_keeps_the_classes_even_and_the_evaluation_as_it_is() -> None:
    whole = ResNetFinetune(per_class=20)
    small = replace(whole, data_share=0.25)
    assert (whole.samples(), small.samples()) == (100, 25)
    assert Counter(small._split.labels["train"][small._rows("cpu")].tolist()) == dict.fromkeys(range(5), 5)
    assert set(small._rows("cpu").tolist()) < set(whole._rows("cpu").tolist())
    assert small._split is whole._split
    assert replace(whole, data_share=0.001).samples() == 5


def test_policies_say_whether_a_short_training_is_the_beginning_of_a_long_one() -> None:
    """A policy that calls itself resumable makes the same start of it whatever the horizon."""
    for policy in POLICIES:
        if policy.resumable:
            short, long = (
                [item.metrics for item in train(Quadratic(horizon=horizon), policy, good(Quadratic()), until=3)]
                for horizon in (3, 9)
            )
            assert short == long, policy


def test_a_schedule_turns_the_knobs_at_its_steps_and_refuses_disorder() -> None:
    policy = Scheduled.of(
        Quadratic(),
        [
            {"first": 1, "last": 3, "config": good(Quadratic())},
            {"first": 4, "last": 9, "config": {**good(Quadratic()), "batch_size": 64}},
        ],
    )
    training = Training(Quadratic(), policy, good(Quadratic()))
    sizes: dict[int, int] = {}
    for item in training:
        if item is None:
            sizes[training.step + 1] = training.knobs.batch_size
    assert [sizes[step] for step in range(1, 10)] == [good(Quadratic())["batch_size"]] * 3 + [64] * 6
    with pytest.raises(ValueError, match="growing steps"):
        Scheduled(((4, Knobs(0.1, 16)), (2, Knobs(0.1, 16))))


# Trials of other weights, and what is watched


def test_an_evaluation_amid_a_trial_measures_the_marked_weights(prepared: Path, tmp_path: Path) -> None:
    """Wild trials leave no trace: neither in metrics and training loss, nor in the test's result."""

    @dataclass(frozen=True)
    class Wild(Policy[int]):
        def start(self, signals: Signals) -> tuple[int, Action]:
            return 0, Action(explore=True, knobs=replace(signals.knobs, learning_rate=1e30))

        def act(self, state: int, signals: Signals) -> tuple[int, Action]:
            return state, NOTHING

    workload = ResNetPretrain.smallest()
    folder = place(prepared, workload)
    training = begin(workload, Wild(), prepared)
    untrained = begin(workload, Fixed(), prepared)
    expected = measure(workload, untrained.model, "valid")
    reports = metrics(training)
    assert [{name: report[name] for name in expected} for report in reports] == [expected] * workload.horizon
    assert all(report["train_loss"] == reports[0]["train_loss"] < math.inf for report in reports)
    checkpoint.save(tmp_path, training.state(), step=training.step)
    assignment = Assignment(0, good(workload), 3, training.step, tmp_path, recorded=training.step, prepared=folder)
    assert workload.test(assignment) == measure(workload, begin(workload, Fixed(), prepared).model, "test")


def test_a_rewind_brings_back_the_scale_of_the_loss(prepared: Path) -> None:
    """Wild trials overflow, and the scaler halves its scale each time; what follows should not pay for that."""

    @dataclass(frozen=True)
    class Overflowing(Policy[int]):
        def start(self, signals: Signals) -> tuple[int, Action]:
            return 0, Action(explore=True, knobs=replace(signals.knobs, learning_rate=1e30))

        def act(self, state: int, signals: Signals) -> tuple[int, Action]:
            return state + 1, Action(rewind=True) if state == 6 else NOTHING

    training = begin(Everything(), Overflowing(), prepared)
    assert training.scaler is not None
    first, scales = training.scaler.get_scale(), []
    for _ in training:
        scales.append(training.scaler.get_scale())
        if training.state()["policy"] == 7:
            break
    assert min(scales) < first
    assert scales[-1] == first


def test_what_a_rewind_undoes_is_not_in_the_training_loss(prepared: Path) -> None:
    """Half of the updates are undone; the epoch's loss is the mean of the other half."""
    kept: list[float] = []

    @dataclass(frozen=True)
    class Halving(Policy[int]):
        watches: ClassVar[frozenset[str]] = frozenset({"loss"})

        def start(self, signals: Signals) -> tuple[int, Action]:
            return 0, NOTHING

        def act(self, state: int, signals: Signals) -> tuple[int, Action]:
            if signals.loss is None:
                assert signals.train_loss == pytest.approx(sum(kept) / len(kept), rel=1e-12)
                kept.clear()
                return 0, Action(mark=True)
            if state % 2 == 0:
                kept.append(signals.loss)
                return state + 1, Action(explore=True)
            return state + 1, Action(rewind=True)

    metrics(begin(Quadratic.smallest(), Halving(), prepared))


@pytest.mark.parametrize("micro_batch", [None, 4, 5])
def test_the_watched_gradient_is_the_one_of_the_update(micro_batch: int | None, prepared: Path) -> None:
    """Against gradients that are taken by hand, of all samples and of the parts."""
    workload = replace(Quadratic.smallest(), execution=Execution(micro_batch=micro_batch))
    seen: list[Gradient] = []

    @dataclass(frozen=True)
    class Watching(Policy[None]):
        watches: ClassVar[frozenset[str]] = frozenset({"gradient"})

        def start(self, signals: Signals) -> tuple[None, Action]:
            return None, NOTHING

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            if signals.gradient is not None:
                seen.append(signals.gradient)
            return None, NOTHING

    training = begin(workload, Watching(), prepared)
    squares: list[float] = []
    step = training.optimizer.step

    def look(*args: Any, **options: Any) -> Any:
        squares.append(sum(float(p.grad.square().sum()) for p in training.model.parameters() if p.grad is not None))
        return step(*args, **options)

    training.optimizer.step = look  # type: ignore[method-assign]
    plain = begin(replace(workload, execution=Execution(micro_batch=micro_batch or 8)), Fixed(), prepared)
    assert metrics(training) == metrics(plain)
    assert [gradient.square for gradient in seen] == pytest.approx(squares, rel=1e-5)
    for gradient in seen:
        count = len(gradient.part_norms)
        assert gradient.part_size == gradient.batch_size / count
        assert count >= 2 or gradient.batch_size < 4
        assert gradient.part_square >= gradient.square * (1 - 1e-5)  # a mean is no longer than its parts
