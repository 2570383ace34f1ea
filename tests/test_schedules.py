"""What is special to the policies that follow a schedule, scale with the batch, watch over others or stand side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from search.work import Progress
from trainables.base import NOTHING, Action, Knobs, Policy, Signals, Workload
from trainables.decay import SHAPES, decay
from trainables.loop import Training
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.plateau import Plateau
from trainables.policies.schedule import Schedule
from trainables.policies.scheduled import Scheduled
from trainables.policies.together import Together
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.workloads.quadratic import Quadratic

CONFIG = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 16}
EPOCH = 64  # samples of Quadratic
MILESTONES = st.lists(st.sampled_from([n / 20 for n in range(1, 20)]), min_size=1, max_size=4, unique=True).map(
    lambda shares: tuple(sorted(shares))
)


def simulated(
    policy: Policy[Any], knobs: Knobs, *, epoch: int, horizon: int, train_losses: Iterable[float] = ()
) -> list[tuple[int, Knobs]]:
    """Samples seen before each update of a training that is only counted, and the knobs of the update."""
    losses = iter(train_losses)
    samples, updates = 0, []
    state, action = policy.start(Signals(0, epoch, 0, horizon, knobs))
    knobs = action.knobs or knobs
    for step in range(horizon):
        while samples < (step + 1) * epoch:
            updates.append((samples, knobs))
            samples = min(samples + knobs.batch_size, (step + 1) * epoch)
            state, action = policy.act(state, Signals(samples, epoch, step, horizon, knobs, loss=1.0))
            knobs = action.knobs or knobs
        loss = next(losses, 1.0)
        signals = Signals(samples, epoch, step + 1, horizon, knobs, train_loss=loss, metrics={"loss": loss})
        state, action = policy.act(state, signals)
        knobs = action.knobs or knobs
    return updates


def trained(
    policy: Policy[Any] | None, workload: Workload | None = None, **changes: Any
) -> tuple[list[Knobs], list[Progress]]:
    """The knobs of each update of a real training, and what it told."""
    training = Training(workload or Quadratic.smallest(), policy, {**CONFIG, **changes})
    knobs, told = [], []
    items = iter(training)
    while True:
        before = training.knobs
        item = next(items, "end")
        if item == "end":
            return knobs, told
        if isinstance(item, Progress):
            told.append(item)
        else:
            knobs.append(before)


def is_decision(item: Progress) -> bool:
    """Not one of the places where a schedule is noted down."""
    return item.kind == "decision" and item.text != "schedule"


def reports(told: list[Progress]) -> list[dict[str, float]]:
    return [dict(item.metrics) for item in told if item.kind == "report"]


# Schedules


@pytest.mark.parametrize("shape", SHAPES)
@given(one=st.floats(0, 1), other=st.floats(0, 1), at=MILESTONES)
def test_every_decay_starts_at_the_peak_and_never_rises(
    shape: str, one: float, other: float, at: tuple[float, ...]
) -> None:
    assert decay(shape, 0.0, at=at) == 1
    earlier, later = (decay(shape, share, at=at) for share in sorted((one, other)))
    assert 1 >= earlier >= later >= 0


@given(first=st.integers(1, 12), horizon=st.integers(13, 60), place=st.floats(0, 1))
def test_steps_make_the_staircase_of_the_lstm_tables(first: int, horizon: int, place: float) -> None:
    at = tuple(epoch / horizon for epoch in range(first, horizon))
    for epochs in (math.floor(place * horizon), math.floor(place * horizon) + 0.5):
        if epochs < horizon:
            expected = 0.5 ** max(0, math.floor(epochs) - first + 1)
            assert decay("steps", epochs / horizon, factor=0.5, at=at) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Schedule("cosine"), lambda e: (1 + math.cos(math.pi * e / 9)) / 2),
        (Schedule("polynomial"), lambda e: (1 - e / 9) ** 2),
        (Schedule("polynomial", begin_at=2 / 9), lambda e: min(1.0, 1 - (e - 2) / (9 - 2)) ** 2),
        (Schedule("steps", factor=0.1, at=(1 / 3, 2 / 3)), lambda e: 0.1 ** (math.floor(e) // 3)),
    ],
)
def test_the_rate_follows_the_curve_from_the_first_update_to_the_last(policy: Schedule, expected: Any) -> None:
    rates = [knobs.learning_rate for knobs in trained(policy)[0]]
    assert len(rates) == 9 * 4
    assert rates == pytest.approx([0.1 * expected(update / 4) for update in range(36)], rel=1e-12)


def test_a_constant_schedule_is_no_schedule_and_alone_is_resumable() -> None:
    assert trained(Schedule("constant"))[0] == trained(Fixed())[0]
    assert [shape for shape in SHAPES if Schedule(shape).resumable] == ["constant"]


def test_a_fork_begins_at_its_place_in_the_schedule() -> None:
    parent = Training(Quadratic.smallest(), Fixed(), CONFIG, until=6)
    list(parent)
    fork = Training(Quadratic.smallest(), Schedule("linear"), CONFIG)
    fork.fork(parent.state())
    assert fork.knobs.learning_rate == pytest.approx(0.1 * 3 / 9)


# Warm-up


@given(
    base=st.integers(1, 32),
    times=st.sampled_from([1, 2, 4, 8, 64]),
    updates=st.integers(1, 40),
    rate=st.floats(1e-3, 1),
)
@settings(deadline=None, max_examples=50)
def test_legw_warms_up_in_the_same_number_of_updates_whatever_the_batch(
    base: int, times: int, updates: int, rate: float
) -> None:
    """In a line from (0 + 1) / W, and to sqrt(k) times the rate exactly."""
    epoch = 64 * base
    policy = Warmup(updates * base / epoch, base_batch=base)
    horizon = math.ceil(2 * updates * times / 64) + 1
    rates = [k.learning_rate for _, k in simulated(policy, Knobs(rate, base * times), epoch=epoch, horizon=horizon)]
    peak = math.sqrt(times) * rate
    assert rates[:updates] == pytest.approx([peak * (i + 1) / updates for i in range(updates)], rel=1e-9)
    assert set(rates[updates - 1 :]) == {peak}


def test_legw_gives_the_table_of_resnet_50() -> None:
    """Batches of 512 to 32,768, against Table 4 of the paper as a public re-implementation quotes it."""
    for i in range(7):
        policy = Warmup(10 / 2**6, base_batch=512, then=Schedule("polynomial"))
        knobs = Knobs(4.0, 512 * 2**i)
        (length, rate, _), _ = policy.start(Signals(0, 1_281_167, 0, 90, knobs))
        assert rate == pytest.approx(2 ** (2 + i / 2), rel=1e-12)
        assert length == 10 / 2 ** (6 - i)


def test_the_other_recipes_can_be_written() -> None:
    goyal, bare, plain = Warmup(5, 256, "linear", stretch=False), Warmup(0, 256, "linear"), Warmup(2)
    begins = {p: p.start(Signals(0, 8192, 0, 90, Knobs(0.1, 2048)))[0] for p in (goyal, bare, plain)}
    assert begins[goyal][:2] == (5, 0.8)
    assert begins[bare][:2] == (0, 0.8)
    assert begins[plain][:2] == (2, 0.1)
    assert {k.learning_rate for _, k in simulated(bare, Knobs(0.1, 2048), epoch=8192, horizon=3)} == {0.8}
    assert Warmup(1, 256, "none").start(Signals(0, 8192, 0, 90, Knobs(0.1, 128)))[0][:2] == (0.5, 0.1)


def test_a_warm_up_that_would_not_end_is_shortened_and_says_so() -> None:
    knobs, told = trained(Warmup(1, base_batch=2, then=Schedule("linear")))
    decisions = [item for item in told if is_decision(item)]
    assert [dict(item.metrics) for item in decisions] == [{"wanted": 8.0, "epochs": 4.5}]
    assert "shortened" in decisions[0].text
    bare = [0.1 * math.sqrt(8) * (1 - update / 36) for update in range(36)]
    ramped = [rate * min(1.0, (update + 1) / 18) for update, rate in enumerate(bare)]
    assert [k.learning_rate for k in knobs] == pytest.approx(ramped, rel=1e-12)
    assert not [item for item in trained(Warmup(4.5))[1] if is_decision(item)]


@given(losses=st.lists(st.floats(0.1, 10), min_size=9, max_size=9), epochs=st.floats(0.1, 4.5))
@settings(deadline=None)
def test_the_policy_within_does_what_it_would_do_alone(losses: list[float], epochs: float) -> None:
    for inner in (Plateau(0.5, 0, 0.3), Schedule("cosine"), BatchRamp((0.2, 0.6), 0.5, most=60)):
        alone = simulated(inner, Knobs(0.3, 8), epoch=64, horizon=9, train_losses=losses)
        around = simulated(Warmup(epochs, then=inner), Knobs(0.3, 8), epoch=64, horizon=9, train_losses=losses)
        assert [(samples, k.batch_size) for samples, k in around] == [(samples, k.batch_size) for samples, k in alone]
        ramps = [min(1.0, (samples + k.batch_size) / (epochs * 64)) for samples, k in alone]
        expected = [ramp * k.learning_rate for ramp, (_, k) in zip(ramps, alone, strict=True)]
        assert [k.learning_rate for _, k in around] == pytest.approx(expected, rel=1e-8)


def test_a_policy_that_tries_rates_is_not_asked_before_the_warm_up_has_ended() -> None:
    policy = Warmup(2, then=LrRange(low=1e-3, high=1.0, epochs=3))
    rates = [knobs.learning_rate for knobs in trained(policy)[0]]
    assert rates[:8] == pytest.approx([0.1 * (i + 1) / 8 for i in range(8)])
    assert rates[8:20] == pytest.approx([10 ** (-3 + i / 4) for i in range(12)])


# Batch ramps


def noise(knobs: Knobs) -> float:
    """The noise scale of SGD, up to constants."""
    return knobs.learning_rate / (knobs.batch_size * (1 - knobs.momentum))


@given(
    at=MILESTONES,
    fall=st.floats(0.05, 0.9),
    growth=st.one_of(st.none(), st.floats(1.1, 10)),
    batch=st.integers(5, 200),
    most=st.one_of(st.none(), st.integers(1, 2000)),
)
@settings(deadline=None, max_examples=50)
def test_a_growing_batch_has_the_noise_of_the_falling_rate(
    at: tuple[float, ...], fall: float, growth: float | None, batch: int, most: int | None
) -> None:
    """At every update, in the limit too, where the rate falls instead; and no batch is above it."""
    start = Knobs(0.1, batch, momentum=0.9)
    epoch, horizon = 2000, 7
    baseline = Schedule("steps", factor=fall, at=at)
    state, _ = baseline.start(Signals(0, epoch, 0, horizon, start))
    ramped = simulated(BatchRamp(at, fall, growth, most), start, epoch=epoch, horizon=horizon)
    turns = [ramped[0], *(after for before, after in pairwise(ramped) if before[1] != after[1]), ramped[-1]]
    for samples, knobs in turns:
        _, action = baseline.act(state, Signals(samples, epoch, 0, horizon, start))
        assert noise(knobs) == pytest.approx(noise(action.knobs or start), rel=1e-9)
        assert knobs.batch_size <= max(batch, 200 if most is None else most)


def test_under_the_limit_the_batch_grows_and_the_rate_stays_then_the_rate_falls() -> None:
    updates = simulated(BatchRamp((0.25, 0.5, 0.75), 0.2, most=100), Knobs(0.1, 4), epoch=100, horizon=4)
    by_epoch = [next(k for s, k in updates if s == 100 * epoch) for epoch in range(4)]
    assert [k.batch_size for k in by_epoch] == [4, 20, 100, 100]
    assert [k.learning_rate for k in by_epoch] == pytest.approx([0.1, 0.1, 0.1, 0.02])


def test_adabatch_doubles_the_batch_and_takes_three_quarters_of_the_rate() -> None:
    updates = simulated(BatchRamp((0.5,), decay=0.375, growth=2), Knobs(0.4, 8), epoch=160, horizon=2)
    assert updates[-1][1] == Knobs(pytest.approx(0.3), 16)


def test_a_ramp_sees_the_same_samples_in_fewer_updates() -> None:
    """Four updates an epoch with batches of 16, two with 32, one with 64."""
    baseline = trained(Schedule("steps", factor=0.5, at=(1 / 3, 2 / 3)))
    ramped = trained(BatchRamp((1 / 3, 2 / 3), 0.5, most=64))
    assert (len(baseline[0]), len(ramped[0])) == (36, 3 * 4 + 3 * 2 + 3 * 1)
    assert sum(k.batch_size for k in baseline[0]) == sum(k.batch_size for k in ramped[0]) == 9 * EPOCH
    assert reports(ramped[1])[-1]["loss"] == pytest.approx(reports(baseline[1])[-1]["loss"], rel=0.1)


# Side by side


def test_policies_side_by_side_turn_what_each_would_turn_alone() -> None:
    ramp = BatchRamp((1 / 3, 2 / 3), decay=None, growth=2, most=64)
    knobs, _ = trained(Together(ramp, Schedule("cosine")))
    seen = 0
    for k in knobs:
        assert k.batch_size == 16 * 2 ** (3 * seen // (9 * EPOCH))
        assert k.learning_rate == pytest.approx(0.1 * decay("cosine", seen / (9 * EPOCH)), rel=1e-12)
        seen += k.batch_size
    assert seen == 9 * EPOCH


def test_two_policies_for_one_knob_are_refused_with_what_to_write_instead() -> None:
    with pytest.raises(ValueError) as error:
        Together(Schedule("cosine"), BatchRamp((0.5,), 0.2))
    for part in (repr(Schedule("cosine")), repr(BatchRamp((0.5,), 0.2)), "both turn learning_rate", "Warmup("):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="both turn learning_rate, mark"):
        Together(LrRange(), Watchdog(Fixed()))
    with pytest.raises(ValueError, match="two policies or more"):
        Together(Fixed())


@dataclass(frozen=True)
class Looking(Policy[list[str]]):
    """Counts what it is told, measures after every other update, and may turn the momentum."""

    measures: bool = True
    momentum: float = 0.0
    turns: ClassVar[frozenset[str]] = frozenset()

    def start(self, signals: Signals) -> tuple[list[str], Action]:
        return [], NOTHING

    def act(self, state: list[str], signals: Signals) -> tuple[list[str], Action]:
        kind = "epoch" if signals.train_loss is not None else "measurement" if signals.metrics else "update"
        state = [*state, kind]
        knobs = replace(signals.knobs, momentum=self.momentum)
        return state, Action(knobs=knobs, measure=self.measures and kind == "update" and len(state) % 2 == 0)


def test_a_measurement_is_for_the_policy_that_asked_for_it() -> None:
    training = Training(Quadratic.smallest(), Together(Looking(), Looking(measures=False)), CONFIG, until=2)
    list(training)
    (one, _), (other, _) = training.state()["control"]["policy"]
    assert one.count("measurement") > 0
    assert other == ["update"] * 4 + ["epoch"] + ["update"] * 4 + ["epoch"]
    assert [kind for kind in one if kind != "measurement"] == other


def test_a_policy_that_turns_what_it_has_not_said_is_found_out() -> None:
    with pytest.raises(ValueError, match="turned momentum"):
        trained(Together(Looking(momentum=0.5), Fixed()))


# Watching over others


def test_a_watchdog_lets_a_healthy_training_alone() -> None:
    for policy in (Fixed(), Schedule("cosine"), Plateau(0.5, 0, 0.5)):
        (knobs, told), (watched_knobs, watched) = trained(policy), trained(Watchdog(policy))
        assert watched_knobs == knobs
        assert reports(watched) == reports(told)
        assert not any(is_decision(item) for item in watched)


def test_a_watchdog_saves_a_training_whose_rate_is_too_high() -> None:
    """SGD on the bowl diverges beyond a rate of 2; the cuts lead below it, and stay."""
    _, wild = trained(None, Quadratic(horizon=30), learning_rate=9.0)
    assert not reports(wild)[-1]["loss"] < 1e3
    knobs, told = trained(Watchdog(Fixed()), Quadratic(horizon=30), learning_rate=9.0)
    decisions = [item for item in told if is_decision(item)]
    assert [((d.before["learning_rate"], d.after["learning_rate"]), d.metrics["returns"]) for d in decisions] == [
        ((9.0, 4.5), 0),
        ((4.5, 2.25), 1),
        ((2.25, 1.125), 2),
    ]
    assert knobs[-1].learning_rate == 1.125
    assert reports(told)[-1]["loss"] < reports(trained(Fixed(), learning_rate=0.001)[1])[0]["loss"]


def test_a_late_return_is_to_the_end_of_the_last_good_epoch() -> None:
    """To its weights, bit for bit; and the loss that the alarm was about is forgotten."""
    jump = Scheduled(((1, Knobs(0.5, 16)), (6, Knobs(9.0, 16))))
    training = Training(Quadratic(horizon=30), Watchdog(jump, most=9), CONFIG)
    weights: list[dict[str, torch.Tensor]] = []
    returned: list[tuple[int, int]] = []
    reported: list[float] = []
    for item in training:
        now = {name: value.clone() for name, value in training.model.state_dict().items()}
        if item is not None and item.kind == "report":
            weights.append(now)
            reported.append(item.metrics["loss"])
        elif item is not None and is_decision(item):
            same = [n for n, then in enumerate(weights) if all(torch.equal(then[name], now[name]) for name in now)]
            returned.append((item.samples // 16, same[-1] + 1 if same else 0))
    assert returned[0][0] in range(5 * 4 + 1, 6 * 4 + 1)
    assert returned[0][1] == 5
    assert len(returned) <= 4
    assert reported[-1] < 0.2


def test_the_cuts_hold_for_the_rates_of_the_policy_within() -> None:
    knobs, told = trained(Watchdog(Schedule("linear")), Quadratic(horizon=30), learning_rate=5.0)
    cuts = sum(is_decision(item) for item in told)
    assert 1 <= cuts <= 3
    assert knobs[-1].learning_rate == pytest.approx(5.0 * 0.5**cuts / len(knobs), rel=1e-9)


def test_a_return_at_the_end_of_an_epoch_leaves_a_training_loss() -> None:
    """Two updates an epoch, the second sees what the first has wrecked: all is undone, and the epoch's loss is that of
    the weights at the mark. It was the infinite one, and the training counted as diverged."""
    _, told = trained(Watchdog(Fixed(), most=5), Quadratic(horizon=12), learning_rate=1e30, batch_size=32)
    assert sum(is_decision(item) for item in told) == 6
    at_mark = reports(told)[0]
    assert at_mark["loss"] == pytest.approx(at_mark["train_loss"], rel=0.1)
    assert reports(told)[:5] == [at_mark] * 5
    assert math.isnan(reports(told)[5]["loss"])


def test_after_so_many_returns_a_diverged_step_is_reported_and_nothing_follows() -> None:
    workload, policy = Quadratic(horizon=30), Watchdog(Fixed(), most=1)
    _, told = trained(policy, workload, learning_rate=9.0)
    assert [item.text.endswith("once too often") for item in told if is_decision(item)] == [False, True]
    assert math.isnan(reports(told)[-1]["loss"])
    assert told[-1].kind == "report"
    assert all(math.isfinite(report["loss"]) for report in reports(told)[:-1])


def test_one_mark_has_one_owner() -> None:
    with pytest.raises(ValueError, match="one mark only"):
        Watchdog(Warmup(1, then=LrRange()))


# The range test


@pytest.mark.parametrize("batch_size", [4, 16])
@pytest.mark.parametrize("rate", [1e-9, 1e30])
def test_a_range_test_finds_a_rate_that_learns_and_leaves_no_trace(batch_size: int, rate: float) -> None:
    workload = Quadratic(horizon=40)
    training = Training(workload, LrRange(epochs=20), {**CONFIG, "learning_rate": rate, "batch_size": batch_size})
    losses, decisions = [], []
    first = {name: value.clone() for name, value in training.model.state_dict().items()}
    for item in training:
        if item is None or not is_decision(item):
            losses += [] if item is None else [item.metrics["loss"]]
            continue
        decisions.append(item)
        assert all(torch.equal(value, first[name]) for name, value in training.model.state_dict().items())
        assert len(set(losses)) == 1
    assert len(decisions) == 1
    assert 0.02 < training.knobs.learning_rate < 1.5
    assert losses[-1] < 0.3 * losses[0]


def test_the_policy_behind_a_range_test_starts_from_the_rate_found() -> None:
    knobs, told = trained(LrRange(epochs=4, then=Schedule("linear")))
    found = next(item for item in told if is_decision(item))
    last = knobs[-1].learning_rate
    assert last == pytest.approx(found.metrics["lowest_at"] / 10 / 36)


# All of them


COMPOSED: list[Policy[Any]] = [
    Warmup(0.5, base_batch=4, then=Plateau(0.5, 0, 0.5)),
    Warmup(2, then=Schedule("cosine")),
    Warmup(1, then=LrRange(epochs=2, then=Plateau(0.5, 0))),
    Watchdog(Warmup(2, base_batch=4, then=Schedule("cosine"))),
    Together(Warmup(1, then=Schedule("cosine")), BatchRamp((0.3, 0.6), decay=None, growth=2, most=64)),
    Watchdog(Together(Schedule("cosine"), BatchRamp((0.3, 0.6), decay=None, growth=2, most=64))),
    Warmup(1, base_batch=8, then=BatchRamp((0.5,), 0.5, most=64)),
]


@pytest.mark.parametrize("policy", COMPOSED, ids=repr)
def test_composed_policies_learn_and_go_on_where_they_were_cut(policy: Policy[Any]) -> None:
    workload = Quadratic.smallest()
    training = Training(workload, policy, CONFIG)
    states, items = [], []
    for item in training:
        items.append(item and (item.kind, item.metrics, item.after))
        states.append(training.state())
    losses = [metrics["loss"] for kind, metrics, _ in filter(None, items) if kind == "report"]
    assert losses[-1] < 0.5 * losses[0]
    for cut in range(0, len(items), 5):
        resumed = Training(workload, policy, CONFIG, seed=0)
        resumed.load(states[cut])
        assert [item and (item.kind, item.metrics, item.after) for item in resumed] == items[cut + 1 :]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Schedule("exponential"), "exponential.*shape must be one of"),
        (lambda: Schedule(power=0), "power=0.*try power=2"),
        (lambda: Schedule("steps", factor=2), "factor=2.*try factor=0.1"),
        (lambda: Schedule("steps", at=(0.5, 0.2)), r"at=\(0.5, 0.2\).*growing"),
        (lambda: Schedule("steps", at=(30, 60)), "shares of the training"),
        (lambda: Schedule(begin_at=1), "begin_at=1"),
        (lambda: Warmup(-1), "epochs=-1.*try epochs=1.0"),
        (lambda: Warmup(1, base_batch=0), "base_batch=0"),
        (lambda: Warmup(1, scaling="cubic"), "cubic.*sqrt, linear, none"),
        (lambda: BatchRamp((0.5,), None), "needs decay or growth"),
        (lambda: BatchRamp(()), "growing shares"),
        (lambda: BatchRamp((0.5,), 1.5), "decay=1.5"),
        (lambda: BatchRamp((0.5,), growth=1), "growth=1"),
        (lambda: BatchRamp((0.5,), most=0), "most=0"),
        (lambda: Watchdog(Fixed(), factor=1), "factor=1.*try factor=1.5"),
        (lambda: Watchdog(Fixed(), cut=1), "cut=1"),
        (lambda: Watchdog(Fixed(), most=-1), "most=-1"),
        (lambda: Watchdog(Fixed(), window=0), "window=0"),
        (lambda: LrRange(low=1, high=0.1), "0 < low < high"),
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
    assert Warmup(1).turns == Schedule().turns == Plateau().turns == rate
    assert Scheduled(((1, Knobs(0.1, 16)),)).turns == {"learning_rate", "batch_size", "momentum", "weight_decay"}
    assert Warmup(1, then=BatchRamp()).turns == BatchRamp().turns == rate | batch
    assert Watchdog(Fixed()).turns == LrRange().turns == rate | {"mark"}
    assert Together(Schedule(), BatchRamp((0.5,), None, 2.0)).turns == rate | batch
    assert Warmup(1, then=LrRange()).watches == Watchdog(Fixed()).watches == {"loss"}
    assert Together(Schedule(), BatchRamp((0.5,), None, 2.0)).watches == Warmup(1).watches == frozenset()
    for policy in (Warmup(1), Watchdog(Plateau()), LrRange(), Warmup(1, then=Plateau())):
        assert policy.resumable
    for policy in (Warmup(1, then=Schedule()), Watchdog(Schedule()), LrRange(then=Schedule()), BatchRamp()):
        assert not policy.resumable
    assert not Together(Plateau(), BatchRamp((0.5,), None, 2.0)).resumable
