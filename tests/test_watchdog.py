"""Policies that watch over others, and the range test."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.scheduling import CONFIG, is_decision, reports, trained
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.plateau import Plateau
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.training.loop import Training
from trainables.values import Knobs
from trainables.workloads.quadratic import Quadratic

# Watching over others


def test_a_watchdog_lets_a_healthy_training_alone() -> None:
    for policy in (Fixed(), LrSchedule("cosine"), Plateau(0.5, 0, 0.5)):
        (knobs, told), (watched_knobs, watched) = trained(policy), trained(Watchdog(policy))
        assert watched_knobs == knobs
        assert reports(watched) == reports(told)
        assert not any(is_decision(item) for item in watched)


class Below(Quadratic):
    """Losses below zero, as those of a log likelihood are."""

    def loss(self, *given: Any, **named: Any) -> Any:
        return super().loss(*given, **named) - 1e3


def test_a_watchdog_lets_losses_fall_below_zero() -> None:
    _, told = trained(Watchdog(Fixed()), Below(horizon=8))
    assert len(reports(told)) == 8
    assert not any(is_decision(item) for item in told)


class Noisy(Quadratic):
    """A training that learns nothing, with the loss of small batches: flat, but each one half as much off."""

    def loss(self, *given: Any, **named: Any) -> Any:
        plain = super().loss(*given, **named)
        return 0 * plain + torch.distributions.Gamma(4.0, 4.0).sample()


@pytest.mark.parametrize("seed", range(4))
def test_a_lucky_stretch_of_a_noisy_loss_raises_no_alarm_later(seed: int) -> None:
    """The lowest average of ten updates is a chance; with it as the best value, all of these trainings rolled back."""
    torch.manual_seed(seed)
    _, told = trained(Watchdog(Fixed()), Noisy(horizon=10), batch_size=4)
    assert len(reports(told)) == 10
    assert not any(is_decision(item) for item in told)


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
    jump = ReplayedSchedule(((1, Knobs(0.5, 16)), (6, Knobs(9.0, 16))))
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
    knobs, told = trained(Watchdog(LrSchedule("linear")), Quadratic(horizon=30), learning_rate=5.0)
    cuts = sum(is_decision(item) for item in told)
    assert 1 <= cuts <= 3
    assert knobs[-1].learning_rate == pytest.approx(5.0 * 0.5**cuts / len(knobs), rel=1e-9)


def test_a_return_at_the_end_of_an_epoch_leaves_a_training_loss() -> None:
    """Two updates an epoch, the second sees what the first has wrecked: all is undone, and the epoch's loss is that of
    the weights at the snapshot. It was the infinite one, and the training counted as diverged."""
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
    with pytest.raises(ValueError, match="only one snapshot"):
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
    assert 0.02 < training.control.knobs.learning_rate < 1.5
    assert losses[-1] < 0.3 * losses[0]


def test_the_policy_behind_a_range_test_starts_from_the_rate_found() -> None:
    knobs, told = trained(LrRange(epochs=4, then=LrSchedule("linear")))
    found = next(item for item in told if is_decision(item))
    last = knobs[-1].learning_rate
    assert last == pytest.approx(found.metrics["lowest_at"] / 10 / 36)
