"""What single policies do, and what each says about itself."""

from __future__ import annotations

import random
from dataclasses import fields

import pytest
import torch
from torch import nn

from tests.support import ROOT
from tests.trainings import POLICIES, Trying, good
from trainables.estimates.noise_scale import Gradient
from trainables.policies.averaged import Averaged
from trainables.policies.compose import Compose
from trainables.policies.fixed import Fixed
from trainables.policies.lr_range import LrRange
from trainables.policies.plateau import Plateau
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.training.loop import Training, train
from trainables.values import FOUND_RATE, NOTHING, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", [Signals, Gradient])
def test_the_page_describes_all_that_a_policy_sees(kind: type) -> None:
    page = (ROOT / "docs" / "policies.md").read_text()
    names = {each.name for each in fields(kind)} | {name for name, of in vars(kind).items() if isinstance(of, property)}  # type: ignore[arg-type]
    missing = {name for name in names if f"\n| `{name}` | " not in page}
    assert not missing


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
    with pytest.raises(ValueError, match=r"Plateau\(factor=1.0\): must be"):
        Plateau(factor=1.0)


def test_policies_say_whether_a_short_training_is_the_beginning_of_a_long_one() -> None:
    """A policy that calls itself resumable makes the same start of it whatever the horizon."""
    for policy in POLICIES:
        if policy.resumable:
            short, long = (
                [item.metrics for item in train(Quadratic(horizon=horizon), policy, good(Quadratic()), until=3)]
                for horizon in (3, 9)
            )
            assert short == long, policy


def test_policies_say_whether_they_report_the_rate_that_they_found() -> None:
    for policy in POLICIES:
        *_, last = train(Quadratic(horizon=6), policy, good(Quadratic()))
        assert policy.finds_rate is (FOUND_RATE in last.metrics), policy


def test_a_policy_that_says_nothing_may_find_a_rate_whatever_it_is_derived_from() -> None:
    class Derived(Fixed):
        pass

    for unknown in (Trying(), Derived(), Averaged(Derived()), Compose(Plateau(), Derived())):
        assert unknown.finds_rate is None
    assert Compose(Derived(), LrRange()).finds_rate
    assert Compose(Plateau(), Fixed()).finds_rate is False


def test_a_schedule_turns_the_knobs_at_its_steps_and_refuses_disorder() -> None:
    policy = ReplayedSchedule.of(
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
            sizes[training.step + 1] = training.control.knobs.batch_size
    assert [sizes[step] for step in range(1, 10)] == [good(Quadratic())["batch_size"]] * 3 + [64] * 6
    with pytest.raises(ValueError, match="rising steps"):
        ReplayedSchedule(((4, Knobs(0.1, 16)), (2, Knobs(0.1, 16))))
