"""What is special to the policies that follow a schedule or scale with the batch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduling import CONFIG, EPOCH, is_decision, reports, trained
from trainables.contract import Policy
from trainables.estimates.decay import SHAPES, decay
from trainables.policies.batch_ramp import BatchRamp
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.plateau import Plateau
from trainables.policies.warmup import Warmup
from trainables.training.loop import Training
from trainables.values import Knobs, Signals
from trainables.workloads.quadratic import Quadratic

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
        (LrSchedule("cosine"), lambda e: (1 + math.cos(math.pi * e / 9)) / 2),
        (LrSchedule("polynomial"), lambda e: (1 - e / 9) ** 2),
        (LrSchedule("polynomial", begin_at=2 / 9), lambda e: min(1.0, 1 - (e - 2) / (9 - 2)) ** 2),
        (LrSchedule("steps", factor=0.1, at=(1 / 3, 2 / 3)), lambda e: 0.1 ** (math.floor(e) // 3)),
    ],
)
def test_the_rate_follows_the_curve_from_the_first_update_to_the_last(policy: LrSchedule, expected: Any) -> None:
    rates = [knobs.learning_rate for knobs in trained(policy)[0]]
    assert len(rates) == 9 * 4
    assert rates == pytest.approx([0.1 * expected(update / 4) for update in range(36)], rel=1e-12)


def test_a_constant_schedule_is_no_schedule_and_alone_is_resumable() -> None:
    assert trained(LrSchedule("constant"))[0] == trained(Fixed())[0]
    assert [shape for shape in SHAPES if LrSchedule(shape).resumable] == ["constant"]


def test_a_fork_begins_at_its_place_in_the_schedule() -> None:
    parent = Training(Quadratic.smallest(), Fixed(), CONFIG, until=6)
    list(parent)
    fork = Training(Quadratic.smallest(), LrSchedule("linear"), CONFIG)
    fork.fork(parent.state())
    assert fork.control.knobs.learning_rate == pytest.approx(0.1 * 3 / 9)


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
        policy = Warmup(10 / 2**6, base_batch=512, then=LrSchedule("polynomial"))
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
    knobs, told = trained(Warmup(1, base_batch=2, then=LrSchedule("linear")))
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
    for inner in (Plateau(0.5, 0, 0.3), LrSchedule("cosine"), BatchRamp((0.2, 0.6), 0.5, most=60)):
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
    baseline = LrSchedule("steps", factor=fall, at=at)
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
    baseline = trained(LrSchedule("steps", factor=0.5, at=(1 / 3, 2 / 3)))
    ramped = trained(BatchRamp((1 / 3, 2 / 3), 0.5, most=64))
    assert (len(baseline[0]), len(ramped[0])) == (36, 3 * 4 + 3 * 2 + 3 * 1)
    assert sum(k.batch_size for k in baseline[0]) == sum(k.batch_size for k in ramped[0]) == 9 * EPOCH
    assert reports(ramped[1])[-1]["loss"] == pytest.approx(reports(baseline[1])[-1]["loss"], rel=0.1)
