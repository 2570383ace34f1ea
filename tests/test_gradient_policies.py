"""Policies that read the gradient, fed with streams of signals whose noise scale is known."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.contract import Policy
from trainables.estimates.noise_scale import NO_ESTIMATE, Gradient, gain, noise_scale, observed
from trainables.policies.adascale import AdaScale
from trainables.policies.date import Date
from trainables.policies.noise_scale import NoiseScaleBatch
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Knobs, Signals
from trainables.workloads.lstm_mnist import LstmMnist

SIZE = 3200  # samples an epoch: 200 updates of 16
DATE = Date(base_batch=16, warm_up=0.5, most=256)


def seen(batch_size: int, signal: float, noise: float) -> Gradient:
    """The gradient of an update in two parts whose estimates are exactly these."""
    part = batch_size / 2
    return Gradient(batch_size, part, signal + noise / batch_size, signal + noise / part)


@dataclass
class Step:
    """What was shown at one update, and the answer."""

    state: Any
    signals: Signals
    action: Action
    knobs: Knobs  # after it


def play(
    policy: Policy[Any],
    noise: Callable[[float], float],
    loss: Callable[[float], float] = lambda epochs: 1 / (1 + epochs),
    signal: Callable[[float], float] = lambda epochs: 1.0,
    epochs: int = 8,
    batch_size: int = 16,
    cut: int | None = None,
) -> list[Step]:
    """A training without a model. `cut`: after so many calls it goes on from a copy of state and knobs."""
    knobs = Knobs(learning_rate=0.1, batch_size=batch_size)
    state, action = policy.start(Signals(0, SIZE, 0, epochs, knobs))
    knobs = action.knobs or knobs
    steps: list[Step] = []
    samples, step, losses = 0, 0, [math.nan][:0]
    while step < epochs:
        if cut is not None and len(steps) == cut:
            state, knobs = copy.deepcopy(state), replace(knobs)
        end = (step + 1) * SIZE
        if samples < end:
            count = min(knobs.batch_size, end - samples)
            samples += count
            now = samples / SIZE
            losses.append(loss(now))
            signals = Signals(
                samples, SIZE, step, epochs, knobs, loss=losses[-1], gradient=seen(count, signal(now), noise(now))
            )
        else:
            step += 1
            mean = float(np.mean(losses))
            signals = Signals(samples, SIZE, step, epochs, knobs, train_loss=mean, metrics={"train_loss": mean})
            losses = []
        before = copy.deepcopy(state)
        state, action = policy.act(state, signals)
        knobs = action.knobs or knobs
        steps.append(Step(before, signals, action, knobs))
        if action.stop:
            break
    return steps


def decisions(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.action.why]


def batches(steps: list[Step]) -> list[int]:
    return [step.knobs.batch_size for step in steps]


# AdaScale


@given(st.floats(1, 1000), st.floats(0, 1e9))
def test_the_gain_lies_between_one_and_the_factor(times: float, ratio: float) -> None:
    assert 1 - 1e-9 <= gain(times, ratio) <= times * (1 + 1e-9)


@given(st.floats(1.01, 100), st.floats(0, 1e4))
def test_the_gain_is_the_formula_of_adascale_and_of_mccandlish(times: float, ratio: float) -> None:
    """(s2 + m2) / (s2 / k + m2) with s2 / m2 the noise scale in base batches; (1 + noise / B0) / (1 + noise / B)."""
    assert gain(times, ratio) == pytest.approx((ratio + 1) / (ratio / times + 1))
    assert gain(times, ratio + 1) > gain(times, ratio)


def test_the_gain_is_all_where_noise_dominates_and_one_where_there_is_none() -> None:
    assert gain(8, 1e9) == pytest.approx(8)
    assert gain(8, 0.0) == 1.0
    assert gain(1, 3.0) == 1.0


@pytest.mark.parametrize(("power", "expected"), [(1.0, 0.1 * 8 * 9 / 16), (0.5, 0.1 * math.sqrt(8 * 9 / 16))])
def test_adascale_multiplies_the_configurations_rate(power: float, expected: float) -> None:
    steps = play(AdaScale(base_batch=16, power=power), lambda _: 16 * 8.0, batch_size=128, epochs=2)
    assert {round(step.knobs.learning_rate, 12) for step in steps} == {round(expected, 12)}
    assert set(batches(steps)) == {128}


def test_adascale_waits_for_a_valid_estimate() -> None:
    for signal in (-1.0, math.nan):
        steps = play(AdaScale(16), lambda _: 100.0, signal=lambda _, s=signal: s, batch_size=64, epochs=1)
        assert all(step.action == NOTHING for step in steps)


# KungFu's policy


def test_the_batch_doubles_after_each_epoch_in_which_the_noise_outgrew_it() -> None:
    steps = play(NoiseScaleBatch(most=100), lambda now: 16 * 3**now)
    assert sorted(set(batches(steps))) == [16, 32, 64, 100]  # the limit holds, also where it is no doubling
    for step in decisions(steps):
        assert step.signals.train_loss is not None
        assert step.action.evidence["noise_scale_by_batch"] > step.action.evidence["last_epoch"]
        assert step.knobs.learning_rate == 0.1  # as published


@pytest.mark.parametrize(("scaling", "power"), [("none", 0.0), ("sqrt", 0.5), ("linear", 1.0)])
def test_the_rate_may_follow_the_batch(scaling: str, power: float) -> None:
    last = play(NoiseScaleBatch(most=100, scaling=scaling), lambda now: 16 * 3**now)[-1].knobs
    assert last.learning_rate == pytest.approx(0.1 * (100 / 16) ** power)


def test_a_falling_noise_scale_leaves_the_batch_alone() -> None:
    assert not decisions(play(NoiseScaleBatch(), lambda now: 1000 * 0.9**now))


@pytest.mark.parametrize("signal", [-1.0, math.nan])
def test_an_invalid_noise_scale_leaves_the_batch_alone(signal: float) -> None:
    """The published one takes the absolute value, which grows here."""
    assert not decisions(play(NoiseScaleBatch(), lambda now: 16 * 3**now, signal=lambda _: signal))


def test_one_wild_value_moves_the_average_by_a_tenth_at_most() -> None:
    policy = NoiseScaleBatch(decay=0.9)
    estimate = observed(NO_ESTIMATE, seen(16, 1.0, 16.0), 0.9)
    signals = Signals(16, SIZE, 0, 8, Knobs(0.1, 16), gradient=seen(16, 1.0, 1e12))
    (_, average, _), _ = policy.act((estimate, 1.0, None), signals)
    assert average == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)


# Date


WILD = st.lists(
    st.tuples(st.sampled_from([-1.0, math.nan, 1.0, 1.0, 1.0]), st.sampled_from([0.0, 30.0, 300.0, 1e4, math.nan])),
    min_size=8, max_size=8,
)  # fmt: skip
LOSSES = st.lists(st.sampled_from([0.1, 0.5, 0.5, 1.0, 5.0, math.nan]), min_size=8, max_size=8)


@settings(max_examples=40, deadline=None)
@given(WILD, LOSSES, st.sampled_from(["sqrt", "linear", "adascale"]), st.sampled_from(["constant", "cosine", "linear"]))
def test_whatever_is_seen_the_bounds_hold(wild: Any, losses: Any, rule: str, decay: str) -> None:
    policy = replace(DATE, rule=rule, decay=decay)
    steps = play(
        policy,
        lambda now: wild[min(7, int(now))][1],
        signal=lambda now: wild[min(7, int(now))][0],
        loss=lambda now: losses[min(7, int(now))],
    )
    multiplier = 1.0
    for before, after in pairwise(steps):
        multiplier *= 0.5 if after.action.roll_back else 1.0
        assert after.knobs.batch_size in (16, 32, 64, 128, 256)
        assert after.knobs.batch_size >= before.knobs.batch_size or after.action.roll_back
        times = after.knobs.batch_size / 16
        highest = math.sqrt(times) if rule == "sqrt" else times
        assert 0 <= after.knobs.learning_rate <= multiplier * 0.1 * highest * (1 + 1e-9)
    assert sum(step.action.roll_back for step in steps) <= 3
    assert not any(step.action.stop for step in steps[:-1])


@pytest.mark.parametrize("rule", ["sqrt", "linear"])
def test_the_rate_has_no_leaps(rule: str) -> None:
    """Not steeper than the first ramp: later ones are longer by as much as they are higher."""
    steps = play(replace(DATE, rule=rule), lambda now: 16 * 2.0 ** (2 * now), epochs=20)
    assert batches(steps)[-1] == 256
    for before, after in pairwise(steps):
        passed = max(after.signals.samples - before.signals.samples, after.knobs.batch_size) / SIZE
        assert abs(after.knobs.learning_rate - before.knobs.learning_rate) <= 0.1 * passed / 0.5 + 1e-12


def test_all_ramps_together_take_as_long_as_the_warm_up_of_legw() -> None:
    steps = play(DATE, lambda _: 1e6, epochs=20)
    ramps = {step.state["ramp"] for step in steps}
    assert steps[-1].knobs.batch_size == 256
    assert sum(length for *_, length in ramps) == pytest.approx(0.5 * 256 / 16, abs=1e-9)
    assert steps[-1].knobs.learning_rate == pytest.approx(0.1 * math.sqrt(256 / 16))


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 16 * math.sqrt(2) * 0.999))
def test_a_small_noise_scale_never_acts(noise: float) -> None:
    steps = play(DATE, lambda _: noise, epochs=3)
    assert not decisions(steps)
    assert steps[-1].knobs == Knobs(0.1, 16)


def test_a_growing_noise_scale_doubles_the_batch_once_in_three_periods_and_a_ramp() -> None:
    steps = play(DATE, lambda now: 1000 * 2.0**now, epochs=20)
    grown = decisions(steps)
    assert [step.knobs.batch_size for step in grown] == [32, 64, 128, 256]
    calm = 0.5  # the warm-up
    for step in grown:
        period = max(0.1, 20 * step.signals.knobs.batch_size / SIZE)
        waited = step.signals.epochs - calm
        assert 2 * period < waited <= 3 * period + 0.02  # an epoch's last, smaller batch counts as an update
        calm = step.signals.epochs + 0.5 * step.signals.knobs.batch_size / 16


def test_it_follows_a_noise_scale_that_stays() -> None:
    assert play(DATE, lambda _: 100.0, epochs=20)[-1].knobs.batch_size == 128  # 90.5 to 181 is nearest to it
    assert play(DATE, lambda _: 85.0, epochs=20)[-1].knobs.batch_size == 64
    assert play(replace(DATE, target=0.5), lambda _: 100.0, epochs=20)[-1].knobs.batch_size == 64


@pytest.mark.parametrize("signal", [-1.0, math.nan])
def test_an_invalid_estimate_waits(signal: float) -> None:
    steps = play(DATE, lambda _: 1e6, signal=lambda _: signal)
    assert not decisions(steps)
    assert set(batches(steps)) == {16}


def test_the_gain_stays_where_it_was_while_no_estimate_is_valid() -> None:
    policy = Date(base_batch=16, warm_up=0.0, rule="adascale", most=128)
    steps = play(policy, lambda _: 160.0, signal=lambda now: 1.0 if now < 2 else -1e3, batch_size=128)
    assert noise_scale(steps[-1].state["estimate"]) is None
    assert steps[-1].knobs.learning_rate == pytest.approx(0.1 * gain(8, 10.0))


def test_the_most_is_a_tenth_of_an_epoch_if_nothing_is_said() -> None:
    assert play(replace(DATE, most=None), lambda _: 1e6, epochs=30)[-1].knobs.batch_size == 256  # of 320


def test_a_loss_that_rises_goes_back_to_the_best_epoch_and_halves_the_rate() -> None:
    steps = play(DATE, lambda _: 1e6, loss=lambda now: 1e4 if now == 3.52 else 1 / (1 + now), epochs=5)
    (back,) = [step for step in decisions(steps) if step.action.roll_back]
    marks = [step for step in steps[: steps.index(back)] if step.action.snapshot]
    assert back.action.why == "the loss rose"
    assert 3.52 <= back.signals.epochs < 3.8
    assert back.knobs.batch_size == marks[-1].knobs.batch_size
    assert back.knobs.learning_rate == pytest.approx(marks[-1].knobs.learning_rate / 2)


def test_a_loss_that_is_not_finite_goes_back_at_once_and_the_fourth_time_stops() -> None:
    steps = play(DATE, lambda _: 0.0, loss=lambda now: math.nan if now > 2.5 else 1.0, epochs=5)
    kinds = [(step.action.roll_back, step.action.stop) for step in decisions(steps)]
    assert kinds == [(True, False)] * 3 + [(False, True)]
    assert all(math.isfinite(number) for step in steps for number in step.action.evidence.values())


def test_a_return_makes_the_waits_twice_as_long() -> None:
    def between(trouble: float) -> float:
        steps = play(DATE, lambda _: 1e6, loss=lambda now: math.nan if now == trouble else 1.0, epochs=12)
        grown = [step.signals.epochs for step in decisions(steps) if not step.action.roll_back]
        return grown[1] - grown[0]

    ramp, period = 0.5, 0.2  # from the base batch to twice that; of batches of 32
    assert between(trouble=0.005) - between(trouble=-1) == pytest.approx(ramp, abs=period)


@pytest.mark.parametrize("policy", [DATE, AdaScale(8), NoiseScaleBatch()], ids=lambda p: type(p).__name__)
def test_what_was_recorded_replays_and_a_cut_changes_nothing(policy: Policy[Any]) -> None:
    rng = np.random.default_rng(5)
    noises = 30 * np.exp(rng.normal(0, 1, 4096)).cumsum() / 64

    def noise(now: float) -> float:
        return float(noises[int(now * 400)])

    def loss(now: float) -> float:
        return math.nan if now == 3.5 else 1 / (1 + now)

    steps = play(policy, noise, loss)
    assert len({step.knobs for step in steps}) > 1
    for step, following in pairwise(steps):
        assert policy.act(step.state, step.signals) == (following.state, step.action)
    for cut in range(0, len(steps), 97):
        assert play(policy, noise, loss, cut=cut)[-1].state == steps[-1].state


@pytest.mark.parametrize(
    "policy",
    [Date(base_batch=16, most=128, warm_up=0.1, period=1, evidence=5), NoiseScaleBatch(most=128), AdaScale(16)],
    ids=lambda p: type(p).__name__,
)
def test_the_epochs_stay_whatever_the_batch_does(policy: Policy[Any]) -> None:
    workload = LstmMnist.smallest()
    training = Training(workload, policy, {"learning_rate": 0.05, "batch_size": 16, "momentum": 0.9}, seed=1)
    updates, found = 0, []
    for item in training:
        updates += item is None and not training.accumulated
        found += [item] if item is not None and item.kind == "report" else []
    assert training.control.samples == workload.horizon * workload.samples()
    assert updates < workload.horizon * 63 or isinstance(policy, AdaScale)
    assert found[-1].metrics["accuracy"] > 0.8


def test_the_estimates_are_what_the_streams_say() -> None:
    assert noise_scale(observed(NO_ESTIMATE, seen(16, 2.0, 50.0), 0.9)) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Date(base_batch=0), "base_batch=0.*must be"),
        (lambda: Date(16, warm_up=-1), "warm_up=-1.*must be"),
        (lambda: Date(16, most=8), "most=8.*16 or more"),
        (lambda: Date(16, rule="cubic"), "rule=.*must be one of"),
        (lambda: Date(16, decay="step"), "decay=.*must be one of"),
        (lambda: Date(16, target=0), "target=0.*more than 0"),
        (lambda: NoiseScaleBatch(most=0), "most=0.*must be"),
        (lambda: NoiseScaleBatch(scaling="cubic"), "scaling=.*must be one of"),
        (lambda: NoiseScaleBatch(decay=1.0), "decay=1.0.*must be"),
        (lambda: AdaScale(base_batch=0), "base_batch=0.*must be"),
        (lambda: AdaScale(16, power=2.0), "power=2.0.*must be"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_only_a_decay_over_the_whole_training_ties_it_to_the_horizon() -> None:
    assert DATE.resumable
    assert not replace(DATE, decay="cosine").resumable
