"""RateRace: what is tried, which rate wins, what it goes on from, and that a cut anywhere changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.by_hand import ByHand
from tests.trainings import timeless, told
from trainables.contract import Policy
from trainables.estimates.rate_ladder import (
    NO_SUMS,
    Trial,
    added,
    better,
    between,
    has_risen,
    has_stalled,
    limit,
    nearest,
)
from trainables.estimates.validation_loss import lowest
from trainables.policies.rate_race import RateRace, State
from trainables.policies.warmup import Warmup
from trainables.training.control import Control
from trainables.training.loop import Training
from trainables.values import FOUND_RATE, Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

# The ladder, and who wins


@given(st.floats(1e-5, 1), st.floats(1.1, 1e4), st.floats(1.1, 10))
def test_a_ladder_falls_by_its_ratio_from_high_to_low(low: float, width: float, ratio: float) -> None:
    rates = between(low, low * width, ratio)
    assert rates[0] == low * width
    assert all(large / small == pytest.approx(ratio) for large, small in pairwise(rates))
    assert low * (1 - 1e-6) <= rates[-1] < low * ratio * (1 + 1e-6)


def test_a_ladder_cut_short_keeps_its_middle() -> None:
    rates = (1.6, 0.4, 0.1, 0.025, 0.00625)
    assert nearest(rates, 0.1, 9) == rates
    assert nearest(rates, 0.1, 3) == (0.4, 0.1, 0.025)
    assert nearest(rates, 0.1, 2) == (0.4, 0.1)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6))
def test_of_a_falling_ladder_a_rate_as_good_as_the_best_wins_and_no_worse_one(values: list[float]) -> None:
    tried: list[Trial] = []
    winner: Trial | None = None
    for rung, value in enumerate(values):
        tried.append((4.0**-rung, value, False))
        winner = better(winner, tried[-1], tried, 0.03)
    assert winner is not None
    assert winner[1] <= limit(tried, 0.03)
    assert winner[0] >= max(rate for rate, value, _ in tried if value == min(values))


def test_the_slack_is_a_share_of_what_the_rates_differ_by() -> None:
    plateau: list[Trial] = [(0.064, 6.289, False), (0.004, 6.253, False), (0.001, 6.221, False)]
    assert 6.221 < limit(plateau, 0.03) < 6.224, "a share of 6.2 would hide all differences"
    assert limit([*plateau, (0.256, math.inf, False)], 0.03) == limit(plateau, 0.03)
    assert limit([(1.0, 1e9, False), (0.1, 2.0, False)], 0.03) == pytest.approx(2.06), "nor may one rate hide them"
    assert limit([(1.0, math.inf, False)], 0.03) == -math.inf


def test_a_rate_whose_loss_rose_at_the_end_loses_to_any_other() -> None:
    edge, safe = (1.0, 0.5, True), (0.25, 0.9, False)
    assert better(edge, safe, [edge, safe], 0.03) == safe
    assert better(safe, edge, [safe, edge], 0.03) == safe
    assert better(None, edge, [edge], 0.03) == edge
    assert better(None, (1.0, math.inf, False), [(1.0, math.inf, False)], 0.03) is None


def test_a_rise_is_told_from_noise() -> None:
    def risen(losses: list[float]) -> bool:
        sums = NO_SUMS
        for update, loss in enumerate(losses, 1):
            sums = added(sums, loss, update, len(losses))
        return has_risen(sums, 0.03)

    noisy = [1 + 0.3 * (-1) ** n for n in range(100)]
    assert not risen(noisy)
    assert not risen([2 - n / 100 for n in range(100)])
    assert risen([1 + max(0, n - 60) / 40 for n in range(100)])
    assert not risen([1.0, 2.0])


def test_a_value_has_stalled_if_its_second_half_brought_little() -> None:
    assert has_stalled([((10, 1.0), (60, 0.99), (100, 0.98))], 100, 0.03)
    assert not has_stalled([((10, 1.0), (60, 0.99), (100, 0.96))], 100, 0.03)
    assert not has_stalled([((60, 0.99), (100, 0.98))], 100, 0.03), "nothing to compare with"


# Races on values that are made up: the policy is two functions

Value = Callable[[float, int], float]
UPDATES = 4000
POLICY = RateRace(least=100, low=0.01, high=2.56)  # 2.56, 0.64, 0.16, 0.04, 0.01: trials of 100, a budget of eight
Played = tuple[State, Action, Signals | None]


def play(
    policy: RateRace, value: Value, loss: Value = lambda rate, update: 2.0, updates: int = UPDATES, above: float = 0.0,
    tuned: str = "", momentum: float = 0.0,
) -> Iterator[Played]:  # fmt: skip
    """Each state and action of a training of 20 epochs of batches of 16.

    `value`, `loss`: of the rate and the number of updates of 16 samples. `above`: so much higher is the value of the data
    that the policy's questions are answered on. `tuned`: what counts.
    """
    size, samples = updates * 16 // 20, 0
    knobs = Knobs(0.1, 16, momentum)
    state, action = policy.start(Signals(0, size, 0, 20, knobs))
    yield state, action, None
    while samples < 20 * size:
        knobs = action.knobs or knobs
        samples = min(samples + knobs.batch_size, (samples // size + 1) * size)
        update = samples // 16
        seen = Signals(samples, size, (samples - 1) // size, 20, knobs, tuned=tuned)
        values = {"accuracy": 0.5, "valid_loss": value(knobs.learning_rate, update)}
        answers: list[Signals] = [replace(seen, loss=loss(knobs.learning_rate, update))]
        if seen.samples % size == 0:
            answers.append(replace(seen, train_loss=loss(knobs.learning_rate, update), metrics=values))
        while answers:
            signals = replace(answers.pop(0), knobs=knobs)
            state, action = policy.act(state, signals)
            knobs = action.knobs or knobs
            yield state, action, signals
            if action.measure:
                asked = {**values, "valid_loss": values["valid_loss"] + above}
                answers.insert(0, replace(seen, metrics=asked))
            if action.stop:
                return


def rates_tried(played: list[Played]) -> list[float]:
    return [action.knobs.learning_rate for _, action, _ in played if action.explore and action.knobs]


def decided(played: list[Played]) -> list[Action]:
    return [action for _, action, _ in played if action.why]


def bowl(rate: float, update: int) -> float:
    """Best at 0.04; 0.16 is as good."""
    return {2.56: math.inf, 0.64: 1.5, 0.16: 1.01, 0.04: 1.0, 0.01: 1.2}.get(round(rate, 6), 1.1)


def test_the_largest_rate_as_good_as_the_best_wins_and_keeps_its_progress() -> None:
    played = list(play(replace(POLICY, again=()), bowl))
    assert rates_tried(played) == pytest.approx([2.56, 0.64, 0.16, 0.04, 0.01])
    (chosen,) = decided(played)
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.16)
    assert chosen.roll_back
    assert chosen.roll_back_to == "winner"
    assert not chosen.explore
    marks = [state["race"]["tried"][-1][0] for state, action, _ in played if action.mark and state["race"]]
    assert marks == pytest.approx([0.64, 0.16])
    evidence = chosen.evidence
    assert evidence["search_samples"] == 5 * 100 * 16
    assert {float(name[3:]): value for name, value in evidence.items() if name.startswith("at ")} == {
        rate: bowl(rate, 0) for rate in rates_tried(played)[1:]
    }
    assert f"diverged at {2.56!r}" in evidence
    assert all(map(math.isfinite, evidence.values()))


def test_each_trial_but_the_first_starts_from_the_same_weights_with_the_same_samples() -> None:
    for data in ("replay", "fresh"):
        played = list(play(replace(POLICY, data=data, again=()), bowl))
        trials = [action for _, action, _ in played if action.explore]
        assert [action.roll_back for action in trials] == [False, True, True, True, True]
        assert [action.replay for action in trials[1:]] == [data == "replay"] * 4
        assert all(action.roll_back_to == "" for action in trials)
        assert [action.reports for action in trials] == ["", "", "winner", "winner", "winner"]


def test_the_rate_stays_and_falls_in_a_line_to_zero() -> None:
    last = {
        signals.samples // 16: signals.knobs.learning_rate
        for _, _, signals in play(POLICY, bowl)
        if signals and signals.loss is not None
    }
    assert last[1000] == last[2600] == pytest.approx(0.16)
    assert last[3300] == pytest.approx(0.08, rel=0.01)
    assert 0 < last[UPDATES] < 0.001
    constant = list(play(replace(POLICY, cool=0.0, again=()), bowl))
    assert constant[-1][2] is not None
    assert constant[-1][2].knobs.learning_rate == pytest.approx(0.16)


def test_without_bounds_the_ladder_is_around_the_configurations_rate() -> None:
    assert rates_tried(
        list(play(RateRace(least=100, again=()), lambda rate, update: abs(math.log(rate / 0.1)) + 1))
    ) == pytest.approx([1.6, 0.4, 0.1, 0.025, 0.00625])


def test_a_winner_at_an_end_beyond_which_nothing_was_tried_says_so() -> None:
    (largest,) = decided(list(play(replace(POLICY, again=()), lambda rate, update: 1 + abs(math.log(rate / 100)))))
    assert largest.why == (
        "2.56 wins the race of 5 rates; it is the largest that was tried: 10.2 lies outside of low=0.01 and high=2.56"
    )
    (smallest,) = decided(list(play(replace(POLICY, again=()), lambda rate, update: rate)))
    assert "it is the smallest that was tried: 0.0025 lies outside of low=0.01" in smallest.why


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (RateRace(least=100, again=(), widen=0), "largest that was tried: widen=0 allows no larger one"),
        (RateRace(least=100, again=(), budget=0.17), "largest that was tried: the budget of the race has no room"),
    ],
)
def test_a_winner_at_an_end_says_why_nothing_beyond_it_was_tried(policy: RateRace, words: str) -> None:
    (decision,) = decided(list(play(policy, lambda rate, update: 1 + abs(math.log(rate / 1e9)))))
    assert words in decision.why


@pytest.mark.parametrize(("best", "beyond"), [(100.0, [6.4, 25.6]), (1e-5, [0.0015625, 0.000390625])])
def test_a_winner_at_an_end_of_the_ladder_widens_it_twice(best: float, beyond: list[float]) -> None:
    played = list(play(RateRace(least=100, again=()), lambda rate, update: 1 + abs(math.log(rate / best))))
    assert rates_tried(played)[5:] == pytest.approx(beyond)
    (chosen,) = decided(played)
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(beyond[-1])
    bounded = list(play(replace(POLICY, again=()), lambda rate, update: 1 + abs(math.log(rate / best))))
    assert len(rates_tried(bounded)) == 5, "bounds are bounds"


def test_a_short_training_races_fewer_rates_and_says_so() -> None:
    played = list(play(RateRace(least=100, again=()), lambda rate, update: 1 + abs(math.log(rate / 0.1)), updates=1600))
    assert rates_tried(played) == pytest.approx([0.4, 0.1, 0.025])
    (chosen,) = decided(played)
    assert (chosen.evidence["planned"], chosen.evidence["tried"]) == (5, 3)
    (told,) = decided(list(play(RateRace(), bowl, updates=200)))
    assert told.warns
    assert told.why == (
        "RateRace holds no race, and the rate is 0.1: 200 updates leave no room for two rates, 50 updates each; train for 500 "
        "updates, or lower `least`"
    )
    assert decided(list(play(RateRace(), bowl, updates=500)))[0].evidence["tried"] == 2, "as many as it says"
    assert told.averages == (4.0, 16.0)


def test_epochs_that_end_amid_a_race_say_what_they_report() -> None:
    race = RateRace(low=0.01, high=0.1, ratio=10.0, share=0.2, budget=0.5, least=4, cool=0, again=())
    config = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 8}
    training = Training(Quadratic(horizon=10), race, config)
    whys = [item.text for item in training if item is not None and item.kind == "decision"]
    assert any(
        "epochs 1 to 3 ended during the search: their metrics are those of the weights before it" in why for why in whys
    ), whys


def test_a_trial_ends_early_at_a_loss_beyond_all_measure() -> None:
    def loss(rate: float, update: int) -> float:
        return math.nan if rate > 2 and update > 3 else 5.0 if rate > 0.5 and update > 14 else 1.0

    played = list(play(replace(POLICY, again=()), bowl, loss))
    trials = [signals.samples // 16 for _, action, signals in played if action.explore and signals]
    assert trials == [4, 15, 115, 215]
    assert not any(action.measure for _, action, signals in played[:17])


def test_if_all_diverge_lower_rates_are_raced_once_and_then_the_training_is_given_up() -> None:
    def loss(rate: float, update: int) -> float:
        return 1.0 if rate < 0.001 else math.inf

    played = list(play(replace(POLICY, again=()), lambda rate, update: 1.0, loss))
    assert len(rates_tried(played)) == 10
    (chosen,) = decided(played)
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.01 / 4**2)
    ended = list(play(POLICY, bowl, lambda rate, update: math.nan))
    assert len(rates_tried(ended)) == 10
    assert ended[-1][1].stop
    assert ended[-1][1].why == "all rates diverged, lower ones too"


def test_a_winner_whose_loss_rose_gives_way_to_a_lower_rate() -> None:
    def loss(rate: float, update: int) -> float:
        return 1 + (update % 100) / 100 if rate > 0.1 else 1.0

    (chosen,) = decided(list(play(replace(POLICY, again=()), bowl, loss)))
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.04)
    assert any(name.startswith("rose at") for name in chosen.evidence)


def test_on_a_plateau_no_rate_below_the_configurations_wins() -> None:
    def plateau(rate: float, update: int) -> float:
        return 7 + 0.02 * abs(math.log(rate / 0.01))

    (chosen,) = decided(list(play(replace(POLICY, again=()), plateau)))
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.16), "the middle of the ladder, though 0.01 is better by 0.8 %"
    (chosen,) = decided(list(play(replace(POLICY, again=(), slack=0.001), plateau)))
    assert chosen.knobs is not None
    assert chosen.knobs.learning_rate == pytest.approx(0.01)


# Later races


def stalling(better_rate: float) -> Value:
    return lambda rate, update: (
        bowl(rate, update) if update < 600 else 0.9 if rate == pytest.approx(better_rate) else 1.0
    )


def test_a_stalled_value_starts_a_race_around_the_present_rate() -> None:
    policy = replace(POLICY, again=(0.6,))
    played = list(play(policy, stalling(0.16 / 3)))
    assert rates_tried(played)[5:] == pytest.approx([0.16, 0.16 / 3]), "0.48 is too near to 0.64, which lost"
    second = decided(played)[1]
    assert second.knobs is not None
    assert second.knobs.learning_rate == pytest.approx(0.16 / 3)
    assert next(signals.samples for _, action, signals in played if action is second and signals) == (1560 + 200) * 16
    kept = decided(list(play(policy, stalling(9.0))))[1]
    assert kept.knobs is not None
    assert kept.knobs.learning_rate == pytest.approx(0.16), "of equals the present rate, in mid-training"


def test_a_later_race_tries_a_larger_rate_if_none_has_lost() -> None:
    def value(rate: float, update: int) -> float:
        return 1 + (2.56 - rate) if update < 600 else 0.9 if rate > 2.56 else 1.0

    played = list(play(replace(POLICY, again=(0.6,)), value))
    assert rates_tried(played)[5:] == pytest.approx([7.68, 2.56, 2.56 / 3])
    assert [action.found for action in decided(played)] == [{FOUND_RATE: 2.56}, {FOUND_RATE: pytest.approx(7.68)}]


def test_a_rate_that_proves_too_large_after_the_race_gives_way_to_lower_ones_from_the_last_good_weights() -> None:
    def loss(rate: float, update: int) -> float:
        return 4.0 / (1 + update / 100) if update < 1000 or rate < 0.03 else 3.0

    def value(rate: float, update: int) -> float:
        return bowl(rate, update) if update < 1000 or rate < 0.03 else 1.4

    policy = replace(POLICY, again=(), cool=0)
    played = list(play(policy, value, loss))
    _, *lowered = decided(played)
    assert [action.why[:25] for action in lowered] == ["too large a rate after al"] * 2
    assert [action.found[FOUND_RATE] for action in lowered] == pytest.approx([0.16 / 3, 0.16 / 9])
    assert all(action.roll_back and not action.roll_back_to and not action.replay for action in lowered)
    kept = [signals.samples for _, action, signals in played if action.snapshot and signals]
    assert kept[0] == 500 * 16, "the end of the race"
    assert kept[1] == 600 * 16, "then each epoch that is the best so far"
    for one in (lambda: play(policy, value), lambda: play(policy, bowl, loss)):
        assert len(decided(list(one()))) == 1, "an overfitting value alone changes nothing, nor does a noisy loss"
    assert len(decided(list(play(replace(policy, guard=0), value, loss)))) == 1
    never = list(play(policy, lambda rate, update: bowl(rate, update) if update < 1000 else 1.4, hopeless))
    assert len(decided(never)) == 1 + 3, "it goes back three times at most"


def test_a_training_that_overfits_goes_on_from_its_best_weights_at_lower_rates_if_the_value_is_what_counts() -> None:
    def value(rate: float, update: int) -> float:  # falls until the middle of the training, then rises
        return bowl(rate, update) - min(max(0, update - 500), 500) / 1000 + max(0, update - 1000) / 1000

    policy = replace(POLICY, again=(), cool=0)
    played = list(play(policy, value, tuned="valid_loss"))
    _, *lowered = decided(played)
    assert [action.why for action in lowered] == ["it overfits: a lower one, from the best weights"] * 3
    assert [action.found[FOUND_RATE] for action in lowered] == pytest.approx([0.16 / 3, 0.16 / 9, 0.16 / 27])
    kept = [signals.samples for _, action, signals in played if action.snapshot and signals]
    assert kept == [500 * 16, *(update * 16 for update in range(600, 1001, 200))], (
        "the race's end, then the best epochs"
    )
    assert len(decided(list(play(policy, value, tuned="accuracy")))) == 1, (
        "which may still rise where the loss does not fall"
    )
    noisy = list(play(policy, lambda rate, update: bowl(rate, 0) + 0.02 * (update // 100 % 2), tuned="valid_loss"))
    assert len(decided(noisy)) == 1, "less than the slack"
    assert not has_stalled([[(1.0, 1.0), (2.0, 0.9), (3.0, 1.0)]], 3, 0.03), "what rises is not held up by its rate"


def hopeless(rate: float, update: int) -> float:
    return 4.0 / (1 + update / 100) if update < 1000 else 3.0


@pytest.mark.parametrize("above", [-0.4, 0.5])
def test_the_level_of_the_data_that_a_race_is_judged_on_changes_no_decision(above: float) -> None:
    """Of the winner, of a rate that proves too large, and of a value that has stalled or still falls."""

    def worse(rate: float, update: int) -> float:
        return bowl(rate, update) if update < 1000 or rate < 0.03 else 1.04

    def stalled(rate: float, update: int) -> float:
        return stalling(0.16 / 3)(rate, update) + 0.3 * (update < 600)

    def falling(rate: float, update: int) -> float:
        return 1e4 / update + bowl(rate, 0)

    cases: list[tuple[RateRace, Value, Value]] = [
        (replace(POLICY, again=(), cool=0), worse, hopeless),
        (replace(POLICY, again=(0.6,)), stalled, lambda rate, update: 2.0),
        (POLICY, falling, lambda rate, update: 2.0),
    ]
    for policy, value, loss in cases:
        same, shifted = ([*play(policy, value, loss, above=level)] for level in (0.0, above))
        assert [[action.why, action.knobs, action.roll_back_to] for action in decided(shifted)] == [
            [action.why, action.knobs, action.roll_back_to] for action in decided(same)
        ]
        assert [action.snapshot for _, action, _ in shifted] == [action.snapshot for _, action, _ in same]


def test_a_value_that_falls_starts_no_race() -> None:
    assert len(decided(list(play(POLICY, lambda rate, update: 1e4 / update + bowl(rate, 0))))) == 1


def test_if_all_of_a_later_race_diverge_the_rate_is_lowered() -> None:
    def loss(rate: float, update: int) -> float:
        return 2.0 if update < 1000 or rate < 0.05 else math.nan

    last = decided(list(play(replace(POLICY, again=(0.6,)), stalling(9.0), loss)))[-1]
    assert last.knobs is not None
    assert last.roll_back
    assert not last.stop
    assert last.knobs.learning_rate == pytest.approx(0.16 / 9)


# Momentum and batch as further lanes

LANES = replace(POLICY, again=(), guard=0, cool=0.0)


def played_with(policy: RateRace, value: Callable[[Knobs, int], float], momentum: float = 0.0) -> list[Played]:
    """As `play`, for a value of all knobs and the number of updates of 16 samples."""
    played: list[Played] = []

    def present(rate: float, update: int) -> float:
        return value(next(action.knobs for _, action, _ in reversed(played) if action.knobs), update)

    played.extend(play(policy, present, momentum=momentum))
    return played


def trials(played: list[Played]) -> list[Knobs]:
    return [action.knobs for _, action, _ in played if action.explore and action.knobs]


def test_the_momentum_races_from_the_winners_end_with_as_long_steps() -> None:
    def value(knobs: Knobs, update: int) -> float:  # best at steps of 0.04 / (1 - 0.9) and a momentum of 0.967
        return 1 + abs(math.log(knobs.learning_rate / (1 - knobs.momentum) / 0.4)) + abs(knobs.momentum - 29 / 30)

    played = played_with(replace(LANES, lanes=("momentum",)), value, momentum=0.9)
    raced = trials(played)[5:]
    assert [knobs.momentum for knobs in raced] == pytest.approx([29 / 30, 0.9, 0.7])
    assert [knobs.learning_rate / (1 - knobs.momentum) for knobs in raced] == pytest.approx([0.4] * 3)
    rates, momenta = decided(played)
    assert momenta.why == "momentum 0.967 wins the race of 3 momenta"
    assert momenta.knobs == raced[0]
    assert momenta.roll_back_to == "winner"
    assert momenta.evidence["search_samples"] == 3 * 100 * 16
    assert rates.found == momenta.found == {FOUND_RATE: pytest.approx(0.04)}, "as it would be at the first momentum"
    began = next(index for index, (_, action, _) in enumerate(played) if action is rates)
    following = [action for _, action, _ in played[began + 1 :] if action.explore]
    assert [action.roll_back for action in following] == [False, True, True]


def test_a_momentum_that_is_better_by_less_than_the_slack_does_not_win() -> None:
    def value(knobs: Knobs, update: int) -> float:
        return bowl(0.16, 0) + abs(math.log(knobs.learning_rate / (1 - knobs.momentum) / 1.6)) - 0.02 * knobs.momentum

    last = decided(played_with(replace(LANES, lanes=("momentum",)), value, momentum=0.9))[-1]
    assert last.why == "momentum 0.9 wins the race of 3 momenta"


@pytest.mark.parametrize(
    ("values", "wins"),
    [
        ({8: 1.0, 16: 1.0, 32: 1.0}, 32),
        ({8: 1.0, 16: 1.0, 32: 1.03}, 16),
        ({8: 0.5, 16: 1.0, 32: 1.03}, 8),
        ({8: 1.52, 16: 1.6, 32: 1.51}, 16),
    ],
    ids=[
        "as good",
        "worse by more than the slack",
        "a smaller one better by more than the slack",
        "none brought anything",
    ],
)
def test_of_batches_the_largest_wins_that_brought_as_much_from_the_same_samples(
    values: dict[int, float], wins: int
) -> None:
    def value(knobs: Knobs, update: int) -> float:
        return values[knobs.batch_size] if update > 500 else 1.5 + abs(math.log(knobs.learning_rate / 0.04))

    played = played_with(replace(LANES, lanes=("batch_size",)), value)
    tried = trials(played)[5:]
    assert [knobs.batch_size for knobs in tried] == [32, 16, 8]
    assert [knobs.learning_rate for knobs in tried] == pytest.approx([0.04 * 2**0.5, 0.04, 0.04 * 0.5**0.5])
    ends = [state["probes"][-1][0] for state, action, _ in played if action.why]
    assert ends[1] - ends[0] == pytest.approx(3 * 100 * 16, abs=32), "three trials over the same samples"
    last = decided(played)[-1]
    assert last.why == f"a batch of {wins} wins the race of 3 batch sizes"
    assert last.knobs is not None
    assert (last.knobs.batch_size, last.found[FOUND_RATE]) == (wins, pytest.approx(0.04))


def test_lanes_that_have_no_room_say_so() -> None:
    policy = replace(POLICY, again=(), budget=0.3, cool=0.65, lanes=("momentum",))
    told = decided(list(play(policy, bowl, updates=1000)))[-1]
    assert told.warns
    assert told.why == (
        "momenta do not race: 3 runs of 100 updates would not be over before the cool-down; train longer, or lower `least`"
    )


def test_a_later_race_of_rates_is_followed_by_the_lanes() -> None:
    policy = replace(POLICY, again=(0.5,), cool=0.0, lanes=("momentum", "batch_size"))
    whats = [action.why.split(" race of ")[1] for action in decided(list(play(policy, stalling(9.0))))]
    assert whats == ["5 rates", "3 momenta", "3 batch sizes", "2 rates", "3 momenta", "3 batch sizes"]


# Settings, and what is judged


def test_the_same_signals_give_the_same_decisions() -> None:
    for (before, _, _), (after, action, signals) in pairwise(play(POLICY, stalling(0.48))):
        assert signals is not None
        assert POLICY.act(before, signals) == (after, action)


def test_the_value_is_the_best_of_the_last_weights_and_their_averages() -> None:
    each = {"last": {"loss": 2.0}, "γ=4": {"loss": 1.0}, "γ=16": {"loss": math.nan}}
    assert lowest(each, None, whose="RateRace") == 1.0
    assert lowest({"last": {"loss": math.nan}}, None, whose="RateRace") == math.inf
    assert lowest({"last": {"perplexity": 9.0, "train_loss": 3.0, "valid_loss": 2.0}}, None, whose="RateRace") == 2.0
    assert lowest({"last": {"accuracy": 0.9, "loss": 1.0}}, "accuracy", "max", whose="RateRace") == -0.9
    with pytest.raises(
        ValueError, match=r"RateRace\(metric='top5'\): must be a validation loss, one of .*; add mode='max'"
    ):
        list(play(RateRace(metric="top5"), bowl))


@pytest.mark.parametrize(("settings", "words"), [
    ({"low": 0.1}, "needs low and high, or neither"),
    ({"low": 0.1, "high": 0.01}, r"RateRace\(high=0.01\): must be"),
    ({"low": 0.1, "high": 0.2}, "one rate is no race; try ratio=1.4"),
    ({"budget": 0.8}, "must be over before the cool-down"),
    ({"again": (0.6, 0.3)}, "rising shares"),
    ({"lanes": ("weight_decay",)}, "must be one of 'momentum', 'batch_size'"),
    ({"mode": "least"}, "must be one of 'min', 'max'"),
    ({"data": "old"}, "must be one of 'replay', 'fresh'"),
    ({"gammas": (-1.0,)}, r"gammas=-1.0"),
])  # fmt: skip
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RateRace(**settings)


def test_it_says_what_it_writes_and_when_it_can_be_resumed() -> None:
    assert RateRace().writes == {"learning_rate", "snapshot", "replay", "averages"}
    assert RateRace(data="fresh", gammas=()).writes == {"learning_rate", "snapshot"}
    assert RateRace(lanes=("momentum", "batch_size")).writes > {"momentum", "batch_size"}
    assert not RateRace().resumable
    assert not RateRace(cool=0.0).resumable
    assert RateRace(cool=0.0, share=0.0, again=()).resumable


# In a training

WORKLOAD = Quadratic(horizon=8)
CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 16}
SMALL = RateRace(least=4, budget=0.7, cool=0.2, again=())  # 32 updates: trials of an epoch each
AGAIN = RateRace(least=2, budget=0.25, cool=0.2, again=(0.6,), slack=50.0)  # to which every value has stalled


def test_the_winner_is_where_it_would_be_without_a_race() -> None:
    """Bit for bit: the samples, the optimizer's state and the weights at the end of its trial."""
    training = Training(WORKLOAD, SMALL, CONFIG, seed=1)
    chosen = next(item for item in training if item is not None and item.kind == "decision")
    alone = Training(WORKLOAD, None, {**CONFIG, "learning_rate": chosen.after["learning_rate"]}, seed=1)
    for _ in zip(range(4), alone, strict=False):
        pass
    assert torch.equal(training.model.state_dict()["point"], alone.model.state_dict()["point"])
    assert training.control.position == alone.control.samples == 64
    assert training.control.samples == 64 * chosen.metrics["tried"]


def test_a_report_during_a_race_is_of_the_winner_so_far() -> None:
    training = Training(WORKLOAD, replace(SMALL, slack=50.0), CONFIG, seed=1)
    reports = [item for item in training if item is not None and item.kind == "report"]
    start = WORKLOAD.evaluate(WORKLOAD.model(CONFIG, None), "valid")["loss"]
    assert len({report.metrics["loss"] for report in reports[1:5]}) == 1
    assert reports[1].metrics["loss"] != start


class Probed(Quadratic):
    """A quadratic bowl whose probes see an eighth of the validation data."""

    def probe(self, model: torch.nn.Module, samples: int) -> Mapping[str, float]:
        return super().probe(model, samples // 8)


@pytest.mark.parametrize(
    ("policy", "races"),
    [
        (AGAIN, 2),
        (replace(AGAIN, data="fresh", cool=0.0), 2),
        (Warmup(0.6, then=AGAIN), 1),
        (replace(AGAIN, again=(), lanes=("momentum", "batch_size")), 3),
    ],
    ids=["replay", "fresh", "warm", "lanes"],
)
@pytest.mark.parametrize("kind", [Quadratic, pytest.param(Probed, marks=pytest.mark.slow)])
def test_a_cut_after_any_update_changes_nothing_in_either_loop(
    kind: type[Quadratic], policy: Policy[Any], races: int
) -> None:
    workload = kind(horizon=8)
    whole = Training(workload, policy, CONFIG, seed=1)
    expected, end = told(whole), timeless(whole.state())
    assert sum("race" in getattr(item, "text", "") for item in expected) == races
    by_hand = ByHand(workload, policy, CONFIG, seed=1)
    assert [replace(item, cost_seconds=0.0) for item in by_hand if item] == expected
    training = Training(workload, policy, CONFIG, seed=1)
    seen, states = [], []
    for item in training:
        seen.append(item)
        states.append(training.state())
    for cut, state in enumerate(states):
        resumed = Training(workload, policy, CONFIG, seed=1)
        resumed.load(state)
        before = [replace(item, cost_seconds=0.0) for item in seen[: cut + 1] if item is not None]
        assert before + told(resumed) == expected
        assert timeless(resumed.state()) == end


def test_a_loop_is_told_all_that_the_race_needs_at_once() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"(?s)sampler=.* It .*measure=evaluate.* It .*metric='valid_loss'"):
        Control(RateRace(), model, optimizer, batch_size=16, samples=160, epochs=3)


def test_an_optimizer_without_momentum_is_refused() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    policy = RateRace(lanes=("momentum",), data="fresh", gammas=())
    with pytest.raises(
        ValueError, match=r"RateRace\(.*\) changes the momentum, and Adam has none; leave it out of `lanes`"
    ):
        Control(policy, model, optimizer, batch_size=16, samples=160, epochs=3, measure=dict)
