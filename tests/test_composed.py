"""Policies side by side and within each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from search.work import Reported
from tests.scheduling import CONFIG, EPOCH, trained
from trainables.contract import Policy
from trainables.estimates.decay import decay
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.plateau import Plateau
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

# Side by side


def test_policies_side_by_side_turn_what_each_would_turn_alone() -> None:
    ramp = BatchRamp((1 / 3, 2 / 3), decay=None, growth=2, most=64)
    knobs, _ = trained(Compose(ramp, LrSchedule("cosine")))
    seen = 0
    for k in knobs:
        assert k.batch_size == 16 * 2 ** (3 * seen // (9 * EPOCH))
        assert k.learning_rate == pytest.approx(0.1 * decay("cosine", seen / (9 * EPOCH)), rel=1e-12)
        seen += k.batch_size
    assert seen == 9 * EPOCH


def test_two_policies_for_one_knob_are_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ValueError) as error:
        Compose(LrSchedule("cosine"), BatchRamp((0.5,), 0.2))
    for part in ("Compose: LrSchedule() and BatchRamp(at=(0.5,), decay=0.2) both turn learning_rate", "Warmup("):
        assert part in str(error.value)
    with pytest.raises(
        ValueError, match="both turn learning_rate, snapshot; leave one of them out, or train with one, then"
    ):
        Compose(LrRange(), Watchdog(Fixed()))
    with pytest.raises(ValueError, match="two policies or more"):
        Compose(Fixed())


@dataclass(frozen=True)
class Looking(Policy[list[str]]):
    """Counts what it is told, measures after every other update, and may turn the momentum."""

    measures: bool = True
    momentum: float = 0.0
    writes: ClassVar[frozenset[str]] = frozenset()

    def start(self, signals: Signals) -> tuple[list[str], Action]:
        return [], NOTHING

    def act(self, state: list[str], signals: Signals) -> tuple[list[str], Action]:
        kind = "epoch" if signals.train_loss is not None else "measurement" if signals.metrics else "update"
        state = [*state, kind]
        knobs = replace(signals.knobs, momentum=self.momentum)
        return state, Action(knobs=knobs, measure=self.measures and kind == "update" and len(state) % 2 == 0)


def test_a_measurement_is_for_the_policy_that_asked_for_it() -> None:
    training = Training(Quadratic.smallest(), Compose(Looking(), Looking(measures=False)), CONFIG, until=2)
    list(training)
    (one, _), (other, _) = training.state()["control"]["policy"]
    assert one.count("measurement") > 0
    assert other == ["update"] * 4 + ["epoch"] + ["update"] * 4 + ["epoch"]
    assert [kind for kind in one if kind != "measurement"] == other


def test_a_policy_that_turns_what_it_has_not_said_is_found_out() -> None:
    with pytest.raises(ValueError, match="turned momentum"):
        trained(Compose(Looking(momentum=0.5), Fixed()))


# All of them


COMPOSED: list[Policy[Any]] = [
    Warmup(0.5, base_batch=4, then=Plateau(0.5, 0, 0.5)),
    Warmup(2, then=LrSchedule("cosine")),
    Warmup(1, then=LrRange(epochs=2, then=Plateau(0.5, 0))),
    Watchdog(Warmup(2, base_batch=4, then=LrSchedule("cosine"))),
    Compose(Warmup(1, then=LrSchedule("cosine")), BatchRamp((0.3, 0.6), decay=None, growth=2, most=64)),
    Watchdog(Compose(LrSchedule("cosine"), BatchRamp((0.3, 0.6), decay=None, growth=2, most=64))),
    Warmup(1, base_batch=8, then=BatchRamp((0.5,), 0.5, most=64)),
]


@pytest.mark.parametrize("policy", COMPOSED, ids=repr)
def test_composed_policies_learn_and_go_on_where_they_were_cut(policy: Policy[Any]) -> None:
    workload = Quadratic.smallest()
    training = Training(workload, policy, CONFIG)
    states, items = [], []
    for item in training:
        items.append(item and replace(item, cost_seconds=0.0))
        states.append(training.state())
    losses = [item.metrics["loss"] for item in items if isinstance(item, Reported)]
    assert losses[-1] < 0.5 * losses[0]
    for cut in range(0, len(items), 5):
        resumed = Training(workload, policy, CONFIG, seed=0)
        resumed.load(states[cut])
        assert [item and replace(item, cost_seconds=0.0) for item in resumed] == items[cut + 1 :]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: LrSchedule("exponential"), "exponential.*must be one of"),
        (lambda: LrSchedule(power=0), "power=0.*more than 0"),
        (lambda: LrSchedule("steps", factor=2), "factor=2.*at most 1"),
        (lambda: LrSchedule("steps", at=(0.5, 0.2)), r"at=\(0.5, 0.2\).*rising"),
        (lambda: LrSchedule("steps", at=(30, 60)), "shares of the training"),
        (lambda: LrSchedule(begin_at=1), "begin_at=1"),
        (lambda: Warmup(-1), "epochs=-1.*0 or more"),
        (lambda: Warmup(1, base_batch=0), "base_batch=0"),
        (lambda: Warmup(1, scaling="cubic"), "cubic.*'sqrt', 'linear', 'none'"),
        (lambda: BatchRamp((0.5,), None), "needs decay or growth"),
        (lambda: BatchRamp(()), "needs a share of the training"),
        (lambda: BatchRamp((0.5,), 1.5), "decay=1.5"),
        (lambda: BatchRamp((0.5,), growth=1), "growth=1"),
        (lambda: BatchRamp((0.5,), most=0), "most=0"),
        (lambda: Watchdog(Fixed(), factor=1), "factor=1.*more than 1"),
        (lambda: Watchdog(Fixed(), cut=1), "cut=1"),
        (lambda: Watchdog(Fixed(), most=-1), "most=-1"),
        (lambda: Watchdog(Fixed(), window=0), "window=0"),
        (lambda: LrRange(low=1, high=0.1), "high=0.1.*more than 1"),
        (lambda: LrRange(epochs=0), "epochs=0"),
        (lambda: LrRange(blow_up=1), "blow_up=1"),
        (lambda: LrRange(divisor=0.1), "divisor=0.1"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_with_their_value(make: Any, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        make()


def test_policies_say_what_they_turn_and_watch_for_what_is_within() -> None:
    rate, batch = {"learning_rate"}, {"batch_size"}
    assert Warmup(1).writes == LrSchedule().writes == Plateau().writes == rate
    assert ReplayedSchedule(((1, Knobs(0.1, 16)),)).writes == {
        "learning_rate",
        "batch_size",
        "momentum",
        "weight_decay",
    }
    assert Warmup(1, then=BatchRamp()).writes == BatchRamp().writes == rate | batch
    assert Watchdog(Fixed()).writes == LrRange().writes == rate | {"snapshot"}
    assert Compose(LrSchedule(), BatchRamp((0.5,), None, 2.0)).writes == rate | batch
    assert Warmup(1, then=LrRange()).needs == Watchdog(Fixed()).needs == {"loss"}
    assert Compose(LrSchedule(), BatchRamp((0.5,), None, 2.0)).needs == Warmup(1).needs == frozenset()
    for policy in (Warmup(1), Watchdog(Plateau()), LrRange(), Warmup(1, then=Plateau())):
        assert policy.resumable
    for policy in (Warmup(1, then=LrSchedule()), Watchdog(LrSchedule()), LrRange(then=LrSchedule()), BatchRamp()):
        assert not policy.resumable
    assert not Compose(Plateau(), BatchRamp((0.5,), None, 2.0)).resumable
