"""One race of values of a knob, from the same weights over the same samples: its state, and what each update makes of it.

Plain functions of plain data; the trials and who wins are those of `trainables.estimates.rate_ladder`. A lane is the knob
whose values race: the learning rate, or the momentum or the batch size, which take the rate with them.

rate           alone
momentum m     the rate in proportion to 1 - m, so that a gradient moves the weights as far in all
batch size b   the rate in proportion to the root of b; all trials see the same number of samples
"""

from __future__ import annotations

import math
from typing import TypedDict

from trainables.estimates.rate_ladder import NO_SUMS, Sums, Trial, added, by_rate, has_risen, level, winner_of

RATE, MOMENTUM, BATCH = "learning_rate", "momentum", "batch_size"
LANES = (MOMENTUM, BATCH)  # beside the rate

_WIDER = 3.0  # factor of the momentum's memory, 1 / (1 - m) updates, from one candidate to the next


class Race(TypedDict):
    lane: str
    present: float  # the knob's value in use; of the first race of rates the middle of its ladder
    start: float  # the value at the weights that all start from; infinite if it was not measured
    ladder: tuple[float, ...]  # values yet to be tried
    trying: float
    tried: tuple[Trial, ...]
    winner: Trial | None
    level: float  # training loss in the last quarter of the winner's trial
    updates: int  # of this trial
    length: int  # updates of a trial at the present batch
    quarters: tuple[Sums, Sums]
    begun: int  # samples seen when this race began
    planned: int  # values of the ladder before it was cut to the budget
    widened: int
    lowered: bool  # whether lower rates are being tried because all others diverged


def begun(
    lane: str, present: float, values: tuple[float, ...], planned: int, length: int, samples: int, start: float = math.inf
) -> Race:  # fmt: skip
    """A race of these values, the first of them on trial."""
    return {
        "lane": lane, "present": present, "start": start, "ladder": values[1:], "trying": values[0], "tried": (),
        "winner": None, "level": math.inf, "updates": 0, "length": length, "quarters": NO_SUMS, "begun": samples,
        "planned": planned, "widened": 0, "lowered": False,
    }  # fmt: skip


def next_trial(race: Race) -> Race:
    """The race with the next value of its ladder on trial."""
    return {**race, "trying": race["ladder"][0], "ladder": race["ladder"][1:], "updates": 0, "quarters": NO_SUMS}


def updated(race: Race, loss: float) -> Race:
    """The race after an update of this trial with this training loss."""
    updates = race["updates"] + 1
    return {**race, "updates": updates, "quarters": added(race["quarters"], loss, updates, trial_updates(race))}


def trial_updates(race: Race) -> int:
    """The updates of this trial."""
    if race["lane"] != BATCH:
        return race["length"]
    return max(1, round(race["length"] * race["present"] / race["trying"]))


def ended(race: Race, value: float, slack: float, *, is_first: bool) -> tuple[Race, bool]:
    """The race with the result of this trial, and whether that leads now.

    The present momentum stays unless another is better by more than `slack`, as a rate in mid-training does. Of batches
    the largest wins that brought as much as the best, to `slack` of what that brought; the present one if none brought
    anything.
    """
    trial: Trial = (race["trying"], value, has_risen(race["quarters"], slack))
    tried, leader, present = (*race["tried"], trial), race["winner"], race["present"]
    if race["lane"] == BATCH and value >= race["start"] and trial[0] != present:
        won = leader
    elif race["lane"] == BATCH:
        known = (*tried, (present, race["start"], False))
        won = winner_of(leader, trial, known, slack, present, is_first=True)
    else:
        won = winner_of(leader, trial, tried, slack, present, is_first=is_first and race["lane"] == RATE)
    leads = won is trial
    return {**race, "tried": tried, "winner": won, "level": level(race["quarters"]) if leads else race["level"]}, leads


def widened(race: Race, ratio: float, times: int, low: float | None, high: float | None) -> Race:
    """The race with more rates on the ladder, if it should go on beyond its end: `times` at most, from `low` to `high`.

    If all diverged, lower ones are tried once.
    """
    rates, winner = [rate for rate, _, _ in race["tried"]], race["winner"]
    if winner is None:
        if race["lowered"]:
            return race
        lower = tuple(min(rates) / ratio**rung for rung in range(1, len(rates) + 1))
        return {**race, "ladder": lower, "lowered": True}
    beyond = _beyond(winner[0], rates, ratio)
    if winner[0] not in (max(rates), min(rates)) or race["widened"] >= times or not _is_inside(beyond, low, high):
        return race
    return {**race, "ladder": (beyond,), "widened": race["widened"] + 1}


def _beyond(rate: float, rates: list[float], ratio: float) -> float:
    """The next rate beyond the end of the ladder at which this one is."""
    return rate * ratio if rate == max(rates) else rate / ratio


def _is_inside(rate: float, low: float | None, high: float | None) -> bool:
    return (
        low is None or high is None or low * 0.999 <= rate <= high * 1.001
    )  # a rate that was multiplied up to a limit is rounded


def end_of_ladder(race: Race, ratio: float, times: int, low: float | None, high: float | None) -> str:
    """What to add to the decision if the winner is at an end of its ladder, and why none beyond it was tried; else "".

    The last four as in `widened`.
    """
    winner, values = race["winner"], [value for value, _, _ in race["tried"]]
    if winner is None or race["lane"] != RATE or len(values) < 2 or winner[0] not in (max(values), min(values)):
        return ""
    which, wider = ("largest", "larger") if winner[0] == max(values) else ("smallest", "smaller")
    if race["widened"] >= times:
        why = f"widen={times} allows no {wider} one"
    elif not _is_inside(beyond := _beyond(winner[0], values, ratio), low, high):
        why = f"{beyond:.3g} lies outside of low={low:g} and high={high:g}"
    else:
        why = f"the budget of the race has no room for a {wider} one; a higher `budget`, or a longer training, has"
    return f"; it is the {which} that was tried: {why}"


def evidence(race: Race, samples: int, whole: int) -> dict[str, float]:
    """What the race took of the training's `whole` samples until so many were seen, and each value's result."""
    return {
        "search_samples": float(samples - race["begun"]), "of_samples": float(whole), "trial_updates": float(race["length"]),
        "planned": float(race["planned"]), "tried": float(len(race["tried"])), **by_rate(race["tried"]),
    }  # fmt: skip


def candidates(lane: str, present: float, largest_batch: float) -> tuple[float, ...]:
    """The values that race with the present one, in falling order; the present one alone if there is no other.

    >>> candidates("batch_size", 64, 1000), candidates("batch_size", 1, 1000), candidates("batch_size", 64, 100)
    ((128, 64, 32), (2, 1), (64, 32))
    >>> [round(value, 3) for value in candidates("momentum", 0.9, 0)], candidates("momentum", 0.0, 0)
    ([0.967, 0.9, 0.7], (0.8888888888888888, 0.6666666666666667, 0.0))
    """
    if lane == BATCH:
        each = (2 * present, present, present // 2)
        return tuple(value for value in each if value == present or 1 <= value <= largest_batch)
    memory = 1 / (1 - present)
    shortest = memory / _WIDER if memory >= _WIDER else memory
    others = [1 - 1 / (shortest * _WIDER**power) for power in (2, 1, 0)]
    return tuple(present if math.isclose(value, present, abs_tol=1e-9) else value for value in others)


def rate_factor(lane: str, value: float, present: float) -> float:
    """By what the rate is multiplied where the momentum or the batch size becomes `value`.

    >>> round(rate_factor("momentum", 0.95, 0.9), 3), rate_factor("batch_size", 256, 64)
    (0.5, 2.0)
    """
    return (1 - value) / (1 - present) if lane == MOMENTUM else math.sqrt(value / present)


def words(lane: str, value: float) -> tuple[str, str]:
    """The value, and what raced, in words: ("a batch of 64", "batch sizes")."""
    if lane == BATCH:
        return f"a batch of {value:.0f}", "batch sizes"
    return (f"momentum {value:.3g}", "momenta") if lane == MOMENTUM else (f"{value:.3g}", "rates")
