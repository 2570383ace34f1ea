"""A policy that cannot do what it is for, with this batch, these data and this length, says so at its start."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import pytest

from trainables.contract import Policy
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
from trainables.policies.warmup import Warmup
from trainables.policies.watchdog import Watchdog
from trainables.values import Action, Knobs, Signals


def signals(samples: int = 0, *, batch: int, of: int, horizon: int, **seen: Any) -> Signals:
    knobs = seen.pop("knobs", None) or Knobs(0.1, batch, 0.9)
    return Signals(samples, of, samples // of, horizon, knobs, **seen)


def begun(policy: Policy[Any], batch: int, of: int, horizon: int) -> Action:
    return policy.start(signals(batch=batch, of=of, horizon=horizon))[1]


# The policy, the batch, the samples of an epoch, the epochs; what it says; a training in which it has its effect.
WITHOUT = [
    (
        BatchRamp((0.3, 0.6), decay=0.2), (32, 1500, 8), (16, 1500, 8),
        "BatchRamp never enlarges the batch, so only the learning rate falls: a batch of 160 is more than a tenth of an epoch, 150",
    ),
    (BatchRamp((0.5,), decay=None, growth=2, most=40), (32, 1500, 8), (20, 1500, 8), "batch: a batch of 64 is more than `most`, 40"),
    (BatchRamp((0.5,), decay=None, growth=1.01), (8, 1500, 8), (100, 1500, 8), "never enlarges the batch: 8 samples times 1.01 are 8"),
    (NoiseScaleBatch(most=16), (32, 1500, 8), (8, 1500, 8), "NoiseScaleBatch never .*it has 32 samples, and `most` is 16"),
    (NoiseScaleBatch(), (32, 1500, 2), (32, 1500, 3), "compares two epochs, and no third one follows"),
    (Plateau(), (32, 1500, 12), (32, 1500, 13), "Plateau never lowers the rate: .* a training of 12"),
    (Date(base_batch=32, most=48), (32, 1500, 8), (16, 1500, 8), "Date never enlarges the batch: .*64 is more than `most`, 48"),
    (Date(base_batch=32), (32, 600, 8), (16, 1500, 8), "Date never enlarges the batch: .*64 is more than a tenth of an epoch, 60"),
    (Date(base_batch=32), (512, 15000, 8), (256, 15000, 8), "Date only warms up: that takes 8 epochs"),
    (Warmup(0.01), (32, 1500, 8), (8, 1500, 8), "a warm-up of 0.01 epochs is no longer than an update"),
    (Watchdog(Fixed(), window=20), (32, 1500, 8), (32, 1500, 30), "Watchdog never notices that the loss rises: .* 14 epochs"),
    (LargestFreeBatch(), (32, 500, 90), (16, 500, 90), "LargestFreeBatch never asks"),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "here", "elsewhere", "words"), WITHOUT, ids=[each[-1][:40] for each in WITHOUT])
@pytest.mark.parametrize(
    "wrapped", [lambda policy: policy, Averaged, Watchdog, lambda policy: Warmup(0.5, then=policy)]
)
def test_it_says_so_where_it_has_no_effect_and_only_there(
    policy: Policy[Any], here: tuple[int, int, int], elsewhere: tuple[int, int, int], words: str, wrapped: Any
) -> None:
    try:
        whole = wrapped(policy)
    except ValueError:  # two policies that both take snapshots, or keep averages
        return
    if "snapshot" in policy.writes and isinstance(whole, Warmup):
        return  # begins after the warm-up
    told = begun(whole, *here)
    assert told.warns
    assert re.search(words, told.why)
    assert not begun(whole, *elsewhere).warns


def test_what_two_policies_cannot_do_is_said_by_both() -> None:
    why = begun(Compose(Plateau(), NoiseScaleBatch(most=16)), 32, 1500, 8).why
    assert "Plateau never lowers" in why
    assert "NoiseScaleBatch never enlarges" in why


def test_the_policy_behind_a_range_test_is_heard() -> None:
    policy = LrRange(then=Plateau())
    state, _ = policy.start(signals(batch=1, of=1500, horizon=8))
    state, action = policy.act(state, signals(1, batch=1, of=1500, horizon=8, loss=math.nan))
    assert action.roll_back
    assert action.warns
    assert "Plateau never lowers the rate" in action.why


def test_steps_without_a_step_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at=\(\)\): needs a share"):
        LrSchedule("steps", at=())


# An explosion before the average counts


def played(losses: list[float], policy: Watchdog, of: int = 1500, batch: int = 32) -> list[Action]:
    """What the policy does after each of these losses."""
    knobs = Knobs(1.0, batch)
    state, _ = policy.start(signals(batch=batch, of=of, horizon=8, knobs=knobs))
    actions = []
    for number, loss in enumerate(losses, 1):
        seen = signals(number * batch, batch=batch, of=of, horizon=8, knobs=knobs, loss=loss)
        state, action = policy.act(state, seen)
        knobs = action.knobs or knobs
        actions.append(action)
    return actions


EXPLODED = [
    2.31,
    2.29,
    2.2,
    2.26,
    2.23,
    1.92,
    1.7,
    1.91,
    3.88,
    17.43,
    50.44,
    4.23,
    3.39,
    3.63,
    2.86,
    2.85,
    3.23,
    3.36,
    3.35,
]


def test_a_watchdog_hears_an_explosion_among_the_first_updates() -> None:
    """It was taken for the best loss so far, and the training stayed above the loss that it had begun with."""
    actions = played(EXPLODED, Watchdog(Fixed()))
    (at,) = [number for number, action in enumerate(actions) if action.roll_back]
    assert at == 16  # as soon as the average counts
    knobs = actions[at].knobs
    assert knobs is not None
    assert knobs.learning_rate == 0.5


def test_a_watchdog_warns_once_of_a_training_that_is_worse_than_its_start() -> None:
    """Three times the rate's limit: the loss exploded by less than `factor`, on average, and stayed where it began."""
    policy, (batch, of) = Watchdog(Fixed()), (32, 1600)
    state, _ = policy.start(signals(batch=batch, of=of, horizon=8))
    warned = []
    for number in range(1, 251):
        loss = 2.3 if number <= 8 else 3.0
        state, _ = policy.act(state, signals(number * batch, batch=batch, of=of, horizon=8, loss=loss))
        if number % 50 == 0:
            ended = signals(number * batch, batch=batch, of=of, horizon=8, train_loss=3.0, metrics={"loss": 3.0})
            state, action = policy.act(state, ended)
            warned.append(action.warns and "above that of the first updates" in action.why)
    assert warned == [False, True, False, False, False]


@pytest.mark.parametrize("updates", [8, 47, 400])
@pytest.mark.parametrize("seed", range(10))
def test_a_noisy_start_is_no_explosion(updates: int, seed: int) -> None:
    """Squared errors of batches of 8: one is easily a third of the mean. A factor of 1.5 is too small for them anyway."""
    stream = random.Random(seed)
    losses = [10 * sum(stream.gauss(0, 1) ** 2 for _ in range(8)) / 8 for _ in range(updates)]
    actions = played(losses, Watchdog(Fixed(), factor=1.9), of=8 * updates, batch=8)
    assert not any(action.roll_back for action in actions)


def test_a_state_saved_before_the_first_loss_counted_goes_on() -> None:
    policy = Watchdog(Fixed())
    state, _ = policy.start(signals(batch=32, of=1500, horizon=8))
    for name in ("heard", "first", "above"):
        del state[name]
    state, action = policy.act(state, signals(32, batch=32, of=1500, horizon=8, loss=2.0))
    assert not action.roll_back
