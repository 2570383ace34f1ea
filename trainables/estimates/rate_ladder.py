"""A ladder of learning rates, and which of them wins a race: plain functions of plain numbers.

trial      rate, value (a validation loss; infinite if it diverged), whether its training loss rose at the end
quarters   count, sum and sum of squares of the training losses in the third and in the last quarter of a trial
curve      samples seen and value, in the order in which they were measured
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Trial = tuple[float, float, bool]
Sums = tuple[int, float, float]
Curve = tuple[tuple[float, float], ...]

NO_SUMS: tuple[Sums, Sums] = ((0, 0.0, 0.0), (0, 0.0, 0.0))
_SURE = 2.0  # standard errors


def between(low: float, high: float, ratio: float) -> tuple[float, ...]:
    """Rates from `high` downwards, each `ratio` times the next, none below `low`.

    >>> between(0.01, 0.5, 4)
    (0.5, 0.125, 0.03125)
    """
    count = 1 + math.floor(math.log(high / low) / math.log(ratio) + 1e-9)
    return tuple(high / ratio**rung for rung in range(count))


def nearest(rates: Sequence[float], centre: float, count: int) -> tuple[float, ...]:
    """The `count` rates that are nearest to `centre`, in falling order; of two equally near ones the larger.

    >>> nearest((8.0, 4.0, 2.0, 1.0, 0.5), 2.0, 2)
    (4.0, 2.0)
    """
    near = sorted(rates, key=lambda rate: (round(abs(math.log(rate / centre)), 9), -rate))
    return tuple(sorted(near[:count], reverse=True))


def limit(tried: Sequence[Trial], slack: float) -> float:
    """The largest value that is still as good as the best: `slack` is a share of what the rates differ by.

    On a plateau all losses are alike, and a share of the loss itself would hide what little the rates differ. It is the
    upper bound: a rate that all but diverged must not widen the slack.
    """
    values = [value for _, value, _ in tried if math.isfinite(value)]
    if not values:
        return -math.inf
    best = min(values)
    return best + slack * min(abs(best), max(values) - best)


def better(old: Trial | None, new: Trial, tried: Sequence[Trial], slack: float) -> Trial | None:
    """The larger rate of two, if it is as good as the best of all `tried`, else the other; None if both diverged.

    A trial whose loss rose at its end is at the edge of stability, and loses to any other.
    """
    if not math.isfinite(new[1]):
        return old
    if old is None or old[2] != new[2]:
        return new if old is None or old[2] else old
    large, small = (new, old) if new[0] > old[0] else (old, new)
    return large if large[1] <= limit(tried, slack) else min(large, small, key=lambda trial: trial[1])


def winner_of(
    old: Trial | None, new: Trial, tried: Sequence[Trial], slack: float, centre: float, *, is_first: bool
) -> Trial | None:
    """Of the winner so far and a new trial: in the first race the largest rate that is as good as the best.

    `centre`: the rate in use. It stays in a later race, if it is as good, and in the first one against a lower rate. Then
    the other must be better by more than `slack`; a trial is too short to be sure of less.
    """
    if is_first or old is None:
        best = better(old, new, tried, slack)
        below = best is new and old is not None and new[0] < centre <= old[0] and not old[2]
        return old if below and old and old[1] <= new[1] + slack * abs(new[1]) else best
    if centre in (old[0], new[0]) and math.isfinite(new[1]):
        present, other = (old, new) if centre == old[0] else (new, old)
        return other if present[1] > other[1] + slack * abs(other[1]) and other[2] <= present[2] else present
    return better(old, new, tried, slack)


def by_rate(tried: Sequence[Trial]) -> dict[str, float]:
    """The value of each rate, by names that give the rate exactly."""
    values = {f"at {rate!r}": value for rate, value, _ in tried if math.isfinite(value)}
    values |= {f"diverged at {rate!r}": 1.0 for rate, value, _ in tried if not math.isfinite(value)}
    return values | {f"rose at {rate!r}": 1.0 for rate, value, rose in tried if rose and math.isfinite(value)}


def added(quarters: tuple[Sums, Sums], loss: float, update: int, length: int) -> tuple[Sums, Sums]:
    """The sums with the loss of update 1, 2, … of a trial of `length` updates."""
    quarter = 4 * (update - 1) // length - 2
    if quarter not in (0, 1):
        return quarters
    count, total, squares = quarters[quarter]
    more = (count + 1, total + loss, squares + loss * loss)
    return (more, quarters[1]) if quarter == 0 else (quarters[0], more)


def has_risen(quarters: tuple[Sums, Sums], slack: float) -> bool:
    """Whether the losses of the last quarter are above those of the third, by more than `slack` and than their noise."""
    if min(count for count, _, _ in quarters) < 2:
        return False
    (before, noise), (after, other_noise) = map(_mean, quarters)
    rise = after - before
    return rise > slack * abs(before) and rise > _SURE * math.sqrt(noise + other_noise)


def level(quarters: tuple[Sums, Sums]) -> float:
    """The mean training loss of the last quarter; infinite without one."""
    return _mean(quarters[1])[0] if quarters[1][0] > 1 else math.inf


def _mean(sums: Sums) -> tuple[float, float]:
    """The mean, and the square of its standard error."""
    count, total, squares = sums
    mean = total / count
    return mean, max(0.0, squares / count - mean * mean) / (count - 1)


def has_stalled(curves: Sequence[Curve], samples: int, slack: float) -> bool:
    """Whether the second half of the first `samples` samples brought less than `slack` of the value, and lost no more.

    By the first curve with values in both halves: each was measured on other data, so values of two do not compare.
    """
    for curve in curves:
        early = [value for seen, value in curve if seen <= samples / 2]
        late = [value for seen, value in curve if seen > samples / 2]
        if early and late:
            best = min(early)
            return best - slack * abs(best) < min(late) and late[-1] <= best + slack * abs(best)
    return False
