"""What a training's state holds, and what marks, rewinds and trials of other weights do to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from search.work import Assignment
from tests.trainings import (
    Everything,
    Exploring,
    Trying,
    Turning,
    begin,
    good,
    metrics,
    numbers,
    place,
    timeless,
    told,
)
from trainables.carry_out import measured_on_test
from trainables.contract import Policy
from trainables.estimates.noise_scale import Gradient
from trainables.execution.store import Store
from trainables.policies.averaged import Averaged
from trainables.policies.fixed import Fixed
from trainables.training.device import measure
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Execution, Signals
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

pytestmark = pytest.mark.usefixtures("one_thread")

# What the checkpoint must hold


LEFT_OUT = [
    "cursor", "accumulated", "gradients", "share_sum", "scaler",
    "control/epoch", "control/samples", "control/knobs", "control/policy", "control/snapshots", "control/account/loss_sum",
    "control/order/seed",
    "weights/model", "weights/buffers", "weights/optimizer",
    "streams/torch", "streams/numpy", "streams/python",
]  # fmt: skip
OF_TRIALS = [
    "part_squares", "control/account/kept", "control/account/last_loss", "control/decisions/waiting",
    "control/decisions/told_knobs", "control/exploring", "control/undone", "control/order/behind",
]  # fmt: skip
"""They matter to a policy that tries and watches."""
OF_AVERAGES = ["control/averages"]
"""They matter to a policy that keeps averages of the weights."""
ELSEWHERE = [
    "control/stopped", "control/diverged", "control/multiples", "control/chosen", "control/account/latest_loss",
    "control/reports", "control/decisions/found",
]  # fmt: skip
"""They matter to a training that is over, to a loop that loads the optimizer before there is a control, to the test of a
checkpoint, to a roll-back to a mark from which no update has followed, to Wsd, and to policies that find a value."""


@pytest.mark.parametrize("left_out", [None, *LEFT_OUT, *OF_TRIALS, *OF_AVERAGES])
@pytest.mark.slow
def test_nothing_can_be_left_out_of_the_state(left_out: str | None, prepared: Path) -> None:
    """The exam above can fail: a state with one item as at the start gives another training.

    Cut at several places, within a batch and between two: a roll-back makes some items matter less.
    """
    identical = [resumes_identically(cut, left_out, prepared) for cut in range(3, 43, 2)]
    assert all(identical) if left_out is None else not all(identical)


def resumes_identically(cut: int, left_out: str | None, prepared: Path) -> bool:
    policy: Policy[Any] = Trying() if left_out in OF_TRIALS else Exploring()
    policy = Averaged(policy) if left_out in OF_AVERAGES else policy
    training = begin(Everything(), policy, prepared)
    for _ in zip(range(cut), training, strict=False):
        pass
    state = training.state()
    expected = [*told(training), timeless(training.state())]

    other = begin(Everything(), policy, prepared, seed=11 if left_out == "control/order/seed" else 3)
    if left_out is not None:
        *path, last = left_out.split("/")
        inner, start = state, other.state()
        for key in path:
            inner, start = inner[key], start[key]
        inner[last] = start[last]
    resumed = begin(Everything(), policy, prepared)
    resumed.load(state)
    try:
        return [*told(resumed), timeless(resumed.state())] == expected
    except ValueError:  # refused: an epoch that ends without an update
        return False


def test_the_state_has_no_item_that_nobody_tries_to_leave_out(prepared: Path) -> None:
    state = begin(Everything(), Exploring(), prepared).state()
    tried = {name.split("/")[0] for name in (*LEFT_OUT, *OF_TRIALS)}
    assert set(state) == tried | {"step", "seconds", "threads"}  # the step: for a fork, which asks for one
    assert {f"weights/{key}" for key in state["weights"]} <= set(LEFT_OUT)
    assert set(state["streams"]) == {"torch", "cuda", "numpy", "python"}
    for part in ("", "account/", "decisions/", "order/"):
        inner = state["control"]
        for key in part.split("/")[:-1]:
            inner = inner[key]
        parts = {f"control/{part}{key}" for key in inner if key not in ("account", "decisions", "order")}
        assert parts <= {*LEFT_OUT, *OF_TRIALS, *OF_AVERAGES, *ELSEWHERE}


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
    assert body["lr"] == training.control.knobs.learning_rate == pytest.approx(0.045)
    assert head["lr"] == pytest.approx(3 * body["lr"])
    assert (body["weight_decay"], head["weight_decay"]) == (0.1, 0.0)


def test_a_rewind_brings_back_every_bit_of_weights_and_optimiser(prepared: Path) -> None:
    training = begin(Everything(), Exploring(), prepared)
    marked: dict[str, Any] = {}
    rewound = 0
    for item in training:
        phase = training.state()["control"]["policy"]["phase"]
        updated = item is None and not training.accumulated
        if updated and phase == 0:
            marked = training.state()
        if updated and phase == 3 and marked:
            rewound += 1
            for part in ("model", "buffers"):
                assert numbers(training.state()["weights"][part]) == numbers(marked["weights"][part])
            now, then = training.state()["weights"]["optimizer"], marked["weights"]["optimizer"]
            assert numbers(now["state"]) == numbers(then["state"])
            assert training.control.samples > marked["control"]["samples"]
    assert rewound >= 1


def test_a_rewind_without_a_mark_is_refused(prepared: Path) -> None:
    class Lost(Policy[None]):
        def start(self, signals: Signals) -> tuple[None, Action]:
            return None, NOTHING

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            return None, Action(roll_back=True)

    with pytest.raises(ValueError, match="has taken no snapshot"):
        next(iter(begin(Quadratic(), Lost(), prepared)))


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


# Trials of other weights, and what is watched


def test_an_evaluation_amid_a_trial_measures_the_marked_weights(prepared: Path, tmp_path: Path) -> None:
    """Wild trials leave no trace: neither in metrics and training loss, nor in the test's result."""

    @dataclass(frozen=True)
    class Wild(Policy[int]):
        writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "snapshot"})

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
    Store(tmp_path).save(training.state(), step=training.step)
    assignment = Assignment(0, good(workload), 3, training.step, tmp_path, recorded=training.step, prepared=folder)
    assert measured_on_test(workload, assignment) == measure(workload, begin(workload, Fixed(), prepared).model, "test")


def test_a_rewind_brings_back_the_scale_of_the_loss(prepared: Path) -> None:
    """Wild trials overflow, and the scaler halves its scale each time; what follows should not pay for that."""

    @dataclass(frozen=True)
    class Overflowing(Policy[int]):
        writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "snapshot"})

        def start(self, signals: Signals) -> tuple[int, Action]:
            return 0, Action(explore=True, knobs=replace(signals.knobs, learning_rate=1e30))

        def act(self, state: int, signals: Signals) -> tuple[int, Action]:
            return state + 1, Action(roll_back=True) if state == 6 else NOTHING

    training = begin(Everything(), Overflowing(), prepared)
    assert training.scaler is not None
    first, scales = training.scaler.get_scale(), []
    for _ in training:
        scales.append(training.scaler.get_scale())
        if training.state()["control"]["policy"] == 7:
            break
    assert min(scales) < first
    assert scales[-1] == first


def test_what_a_rewind_undoes_is_not_in_the_training_loss(prepared: Path) -> None:
    """Half of the updates are undone; the epoch's loss is the mean of the other half."""
    kept: list[float] = []

    @dataclass(frozen=True)
    class Halving(Policy[int]):
        needs: ClassVar[frozenset[str]] = frozenset({"loss"})

        def start(self, signals: Signals) -> tuple[int, Action]:
            return 0, NOTHING

        def act(self, state: int, signals: Signals) -> tuple[int, Action]:
            if signals.loss is None:
                assert signals.train_loss == pytest.approx(sum(kept) / len(kept), rel=1e-12)
                kept.clear()
                return 0, Action(snapshot=True)
            if state % 2 == 0:
                kept.append(signals.loss)
                return state + 1, Action(explore=True)
            return state + 1, Action(roll_back=True)

    metrics(begin(Quadratic.smallest(), Halving(), prepared))


@pytest.mark.parametrize("micro_batch", [None, 4, 5])
def test_the_watched_gradient_is_the_one_of_the_update(micro_batch: int | None, prepared: Path) -> None:
    """Against gradients that are taken by hand, of all samples and of the parts."""
    workload = replace(Quadratic.smallest(), execution=Execution(micro_batch=micro_batch))
    seen: list[Gradient] = []

    @dataclass(frozen=True)
    class Watching(Policy[None]):
        needs: ClassVar[frozenset[str]] = frozenset({"gradient"})

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
