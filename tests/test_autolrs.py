"""AutoLRS: what is forecast, what is tried, what is chosen, and that nothing of a trial stays."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT, run_script
from trainables.estimates.forecast import FITS, forecast
from trainables.estimates.next_rate import next_rate
from trainables.policies.autolrs import AutoLrs, State
from trainables.training.loop import Training
from trainables.values import Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

each_fit = pytest.mark.parametrize("fit", FITS)

# The forecast

T = np.arange(1, 101)
CURVE, TRUTH = 1.2 * np.exp(-0.02 * T) + 0.4, 0.4  # … at point 1000


def errors(noise: float, spikes: int, fit: str) -> list[float]:
    """Of 60 forecasts, ten times further on than the series goes."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        losses = CURVE + noise * rng.standard_normal(100)
        losses[rng.choice(100, spikes, replace=False)] += 3
        found.append(forecast(losses.tolist(), 1000, fit) - TRUTH)
    return found


@pytest.mark.parametrize("rate", [0.002, 0.005, 0.02, 0.1, 0.5, 1.5])
@pytest.mark.parametrize("count", [100, 800])
def test_an_exact_exponential_is_recovered(rate: float, count: int) -> None:
    losses = 1.2 * np.exp(-rate * np.arange(1, count + 1)) + 0.4
    assert forecast(losses.tolist(), 10 * count) == pytest.approx(1.2 * math.exp(-rate * 10 * count) + 0.4, rel=0.01)


@pytest.mark.parametrize(
    ("noise", "spikes", "bias", "largest"), [(0.02, 0, 0.02, 0.08), (0.1, 0, 0.05, 0.4), (0.1, 3, 0.05, 0.45)]
)
def test_the_forecast_has_little_bias_and_bounded_errors(
    noise: float, spikes: int, bias: float, largest: float
) -> None:
    """When this was written: 0.001, 0.013, 0.016 and 0.03, 0.21, 0.23."""
    found = errors(noise, spikes, "robust")
    assert abs(statistics.mean(found)) < bias
    assert max(map(abs, found)) < largest


def test_the_reference_fit_is_biased_downwards() -> None:
    """Its spline is a parabola; -0.041 and at most 0.09 when this was written."""
    found = errors(0.02, 0, "reference")
    assert -0.06 < statistics.mean(found) < -0.02
    assert max(map(abs, found)) < 0.15


@each_fit
@given(st.lists(st.floats(width=32) | st.just(1e300), max_size=30), st.floats(1, 1e4))
def test_a_forecast_is_finite_if_a_loss_is(fit: str, losses: list[float], horizon: float) -> None:
    assert math.isfinite(forecast(losses, horizon, fit)) == any(map(math.isfinite, losses))


@each_fit
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize(("losses", "low", "high"), [
    (np.linspace(1, 3, 100), 2.5, 25), (np.full(100, 0.7), 0.5, 0.9), (np.linspace(1, 0.98, 100), -0.5, 1.2),
])  # fmt: skip
def test_rising_flat_and_slowly_falling_losses_do_not_explode(
    losses: np.ndarray, low: float, high: float, noise: float, fit: str
) -> None:
    for seed in range(10):
        noisy = losses + noise * np.random.default_rng(seed).standard_normal(100)
        found = forecast(noisy.tolist(), 1000, fit)
        assert math.isfinite(found)
        if fit == "robust":
            assert low <= found <= high


@given(st.integers(0, 1000), st.floats(0.5, 20))
def test_a_loss_that_has_risen_is_not_forecast_below_where_it_ended(seed: int, rise: float) -> None:
    """Large rates won by this: the noise that they have made falls for a while, and a fall goes on to 0."""
    after = np.linspace(1.3, 1.1, 99) + 0.02 * np.random.default_rng(seed).standard_normal(99)
    losses = [1.0, *(rise * after / 0.9)] if rise >= 0.9 else [2.0, *(rise * after)]
    end = float(np.median(losses[-25:]))
    found = forecast(losses, 1000)
    assert found >= end if rise >= 0.9 else found < end


# The next rate


@given(st.lists(st.floats(-1, 5) | st.just(math.inf), min_size=1, max_size=12), st.sampled_from([2.0, 1e6]))
def test_a_new_rate_is_in_the_interval_and_has_not_been_tried(values: list[float], kappa: float) -> None:
    tried: list[tuple[float, float]] = [(0.01, values[0])]
    for value in values[1:]:
        rate = next_rate(tried, 0.001, 0.3, kappa)
        assert 0.001 <= rate <= 0.3 * (1 + 1e-12)
        assert min(abs(math.log(rate / other)) for other, _ in tried) > 1e-3
        tried.append((rate, value))


def test_a_large_kappa_spreads_the_rates_and_a_small_one_looks_near_the_best() -> None:
    def rates(kappa: float) -> list[float]:
        tried = [(0.1, 1.0)]
        while len(tried) < 10:
            rate = next_rate(tried, 0.001, 1.0, kappa)
            tried.append((rate, abs(math.log10(rate / 0.02))))
        return sorted(math.log10(rate) for rate, _ in tried)

    wide, near = rates(1e6), rates(2.0)
    assert max(b - a for a, b in pairwise(wide)) < 2 * 3 / 9
    assert sum(abs(place - math.log10(0.02)) < 0.3 for place in near) > sum(
        abs(place - math.log10(0.02)) < 0.3 for place in wide
    )


# Stages, on losses that are made up: the policy is two functions

POLICY = AutoLrs(0.001, 0.1, stage=1 / 46)
Loss = Callable[[float, int], float]


def play(
    policy: AutoLrs, loss: Loss, updates: int, batch_size: int = 16
) -> Iterator[tuple[State, Action, Signals | None]]:
    """Each state and action of a training of so many updates; `loss` of the rate and the trial's update."""
    knobs = Knobs(0.01, batch_size)
    state, action = policy.start(Signals(0, 64, 0, updates * batch_size // 64, knobs))
    yield state, action, None
    for update in range(1, updates + 1):
        knobs = action.knobs or knobs
        signals = Signals(update * batch_size, 64, 0, updates * batch_size // 64, knobs)
        signals = replace(signals, loss=loss(knobs.learning_rate, state["updates"] + 1))
        state, action = policy.act(state, signals)
        yield state, action, signals
        if action.stop:
            return


def falling(rate: float, update: int) -> float:
    """Best at a rate of 0.02."""
    return 1 + abs(math.log10(rate / 0.02)) * (1 - math.exp(-0.1 * update))


@pytest.mark.parametrize("batch_size", [16, 32])
def test_stages_double_and_cost_their_trials_and_their_training(batch_size: int) -> None:
    """1, 2, 4, 8, 8 units of 100 updates, and ten trials of a tenth before each; the batch size moves nothing."""
    unit = 1600 // batch_size
    moves = [(update, action) for update, (_, action, _) in enumerate(play(POLICY, falling, 46 * unit, batch_size))]
    marks = [update for update, action in moves if action.explore and not action.roll_back]
    chosen = [update for update, action in moves if action.why]
    assert marks == [at * unit for at in (0, 2, 6, 14, 30)]
    assert chosen == [at * unit for at in (1, 4, 10, 22, 38)]
    trials = [update for update, action in moves if action.roll_back and action.explore]
    assert trials == [
        start + number * length // 10 for start, length in zip(marks, [unit * n for n in (1, 2, 4, 8, 8)], strict=True)
        for number in range(1, 10)
    ]  # fmt: skip


@each_fit
@pytest.mark.parametrize("kappa", [2.0, 1e6])
def test_the_chosen_rate_is_the_best_of_those_tried(fit: str, kappa: float) -> None:
    policy = replace(POLICY, fit=fit, kappa=kappa)
    tried: list[float] = []
    for _, action, _ in play(policy, falling, 4600):
        if action.explore:
            assert action.knobs is not None
            tried.append(action.knobs.learning_rate)
        if action.why:
            assert action.knobs is not None
            assert len(set(tried)) == len(tried) == 10
            assert action.knobs.learning_rate == min(tried, key=lambda rate: abs(math.log10(rate / 0.02)))
            assert action.evidence["search_samples"] in (1600, 3200, 6400, 12800)
            tried.clear()


def test_the_last_stage_is_as_long_as_fits_and_a_rest_is_trained_on() -> None:
    for share, lengths in ((1 / 10, [0.1, 0.2, 0.2]), (1 / 5.8, [1 / 5.8, 1.9 / 5.8]), (1 / 2.5, [1 / 2.5])):
        found = []
        for state, action, _ in play(replace(POLICY, stage=share), falling, 4640):
            if action.why:
                found.append(state["length"])
        assert found == pytest.approx(lengths, rel=0.005)


def test_the_same_signals_give_the_same_decisions() -> None:
    played = list(play(POLICY, falling, 1000))
    for (before, _, _), (after, action, signals) in pairwise(played):
        assert signals is not None
        assert POLICY.act(before, signals) == (after, action)


# Trials that tell nothing


def test_rates_that_diverge_are_not_chosen() -> None:
    def loss(rate: float, update: int) -> float:
        return falling(rate, update) if rate < 0.03 or update < 4 else math.nan

    chosen = [action for _, action, _ in play(POLICY, loss, 4600) if action.why]
    assert len(chosen) >= 4
    for action in chosen:
        assert action.knobs is not None
        assert 0.01 < action.knobs.learning_rate < 0.03
        assert action.evidence["diverged"] >= 2


def test_if_all_diverge_lower_rates_are_tried_once() -> None:
    def loss(rate: float, update: int) -> float:
        return math.inf if rate > 0.0008 else 1 + abs(math.log(rate / 0.0003)) * math.exp(-update)

    few = ": AutoLrs compared trials of 1 update as they were, too few for a forecast"
    actions = [action for _, action, _ in play(POLICY, loss, 200) if action.why]
    assert [action.why.removesuffix(few) for action in actions[:2]] == [
        "all rates diverged: tries lower ones",
        "best of the rates tried",
    ]
    assert actions[0].roll_back
    assert actions[0].explore
    assert actions[1].knobs is not None
    assert 0.0001 <= actions[1].knobs.learning_rate < 0.0008


def test_if_lower_rates_diverge_too_the_training_is_given_up() -> None:
    played = list(play(POLICY, lambda rate, update: math.nan, 200))
    assert len(played) == 21
    assert played[-1][1].stop
    assert played[-1][1].roll_back


def test_a_loss_at_its_floor_leaves_the_rate_alone() -> None:
    actions = [action for _, action, _ in play(POLICY, lambda rate, update: 0.3, 2000) if action.why]
    assert [action.knobs and action.knobs.learning_rate for action in actions] == [0.01] * len(actions)
    assert len(actions) >= 2


def test_of_equal_forecasts_the_larger_rate_is_taken() -> None:
    def loss(rate: float, update: int) -> float:
        return 0.3 if rate > 0.02 else 0.5

    chosen = next(action for _, action, _ in play(POLICY, loss, 2000) if action.why)
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.1)


# In a training

WORKLOAD = Quadratic(horizon=40)
CONFIG = {"learning_rate": 0.05, "momentum": 0.9, "batch_size": 16}
TRIED = AutoLrs(0.01, 0.5, stage=0.1, trial=0.25, candidates=3)


def weights_of(state: dict[str, Any]) -> list[torch.Tensor]:
    momenta = state["weights"]["optimizer"]["state"].values()
    return [*state["weights"]["model"].values(), *(momentum["momentum_buffer"] for momentum in momenta)]


def test_after_each_trial_all_weights_are_those_at_the_mark_bit_for_bit() -> None:
    training = Training(WORKLOAD, replace(TRIED, low=0.01, high=50.0), CONFIG, seed=1)
    marked = weights_of(training.state())
    compared, chosen = 0, 0
    before = training.state()
    for item in training:
        if item is not None:
            continue
        state = training.state()
        policy = state["control"]["policy"]
        if policy["until"] is None and policy["updates"] == 0 and not policy["tried"]:
            marked = weights_of(state)
        elif policy["updates"] == 0 or (policy["until"] is not None and before["control"]["policy"]["until"] is None):
            found = weights_of(state)
            assert (
                len(found) == len(marked) or state["control"]["samples"] <= 64 * 7
            )  # no momenta before the first update
            assert all(torch.equal(a, b) for a, b in zip(marked, found, strict=False))
            assert not all(torch.equal(a, b) for a, b in zip(marked, weights_of(before), strict=False))
            compared += 1
            chosen += policy["until"] is not None
        before = state
    assert chosen >= 3
    assert compared >= 3 * chosen


@dataclass(frozen=True)
class Seen(Quadratic):
    """Notes what each update sees: its samples, and a random number."""

    seen: list[tuple[int, ...]] = field(default_factory=list)

    def loss(self, model: torch.nn.Module, indices: torch.Tensor) -> torch.Tensor:
        self.seen.append((*indices.tolist(), torch.randint(10**6, ()).item()))
        return super().loss(model, indices)


@pytest.mark.parametrize("data", ["fresh", "replay"])
def test_replayed_trials_and_their_stage_see_the_same_samples_and_numbers(data: str) -> None:
    workload, policy = Seen(horizon=40), replace(TRIED, data=data)
    size = workload.samples()
    training = Training(workload, policy, {**CONFIG, "batch_size": 16}, seed=1)
    stages: list[list[list[tuple[int, ...]]]] = [[[]]]
    for item in training:
        if item is not None:
            continue
        state = training.state()["control"]["policy"]
        stages[-1][-1].append(workload.seen[-1])
        begins = state["until"] is None and state["updates"] == 0
        if begins and not state["tried"]:
            stages.append([[]])
        elif begins or (state["until"] is not None and len(stages[-1]) == TRIED.candidates):
            stages[-1].append([])
    samples = [[[i for batch in part for i in batch[:-1]] for part in stage] for stage in stages]
    assert len(stages) >= 3
    for stage, drawn in zip(stages, samples, strict=True):
        assert len(stage) == TRIED.candidates + 1
        for part, indices in zip(stage[1:], drawn[1:], strict=True):
            same = min(len(indices), len(drawn[0]))
            assert same > size / 2
            assert (indices[:same] == drawn[0][:same]) == (data == "replay")
            assert (part[0][-1] == stage[0][0][-1]) == (data == "replay")


def test_a_search_within_a_training_leaves_decisions_and_lowers_the_loss() -> None:
    items = [item for item in Training(WORKLOAD, TRIED, {**CONFIG, "learning_rate": 0.01}, seed=1) if item is not None]
    decisions = [item for item in items if item.kind == "decision"]
    assert len(decisions) >= 3
    assert all(math.isfinite(value) for decision in decisions for value in decision.metrics.values())
    reports = [item.metrics["loss"] for item in items if item.kind == "report"]
    assert reports[-1] < 0.5 * reports[0]


def test_the_longest_stages_are_judged_by_the_metric() -> None:
    """The metric of the tried weights, 16 times a trial: with each update, where a trial is as short as that."""
    policy = replace(TRIED, longest=2.0, metric="loss")
    training = Training(WORKLOAD, policy, CONFIG, seed=1)
    measured: list[int] = []
    for _ in training:
        state = training.state()["control"]["policy"]
        if state["until"] is None and state["updates"] == 7:
            assert len(state["losses"]) == 7
            measured.append(state["length"])
    assert measured
    with pytest.raises(ValueError, match=r"metric='accuracy'\): must be one of 'loss'"):
        list(Training(WORKLOAD, replace(policy, metric="accuracy"), CONFIG, seed=1))


@pytest.mark.parametrize("settings", [
    {"low": 0.0}, {"low": 0.2}, {"candidates": 1}, {"stage": 0.6}, {"trial": 0.0}, {"longest": 0.5}, {"fit": "line"}, {"kappa": -1.0},
])  # fmt: skip
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(POLICY, **settings)


@pytest.mark.slow
def test_the_benchmark_runs_at_a_small_size() -> None:
    script = ROOT / "experiments" / "benchmarks" / "autolrs.py"
    done = run_script(script, "--seeds", "1", "--updates", "300", cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| AutoLRS") == 11
    assert done.stdout.count("of the best constant rate") == 6
