"""How much longer a sweep takes, with an interval, from the pace of the trainings that have ended."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

FEWEST = 3  # trainings that have ended, before anything is said
NORMAL_80 = 1.28  # standard deviations on each side of an 80 % interval


class TimeLeft(NamedTuple):
    """Seconds: the expected, and an 80 % interval, if the trainings to come are like those that have ended."""

    seconds: float
    low: float
    high: float


def time_left(ends: Sequence[tuple[float, float]], left: float) -> TimeLeft | None:
    """The time for `left` units of work; None if too few trainings have ended to tell.

    ends: (seconds, units of work done), both since the first training began, at each end of a training. The pace is the
    ratio of their sums; its scatter between ends gives the interval.
    """
    if len(ends) < FEWEST or left <= 0:
        return None
    seconds, done = ends[-1]
    if done <= 0:
        return None
    pace = seconds / done
    steps = [(t - s, u - v) for (s, v), (t, u) in zip([(0.0, 0.0), *ends], ends, strict=False)]
    scatter = sum((took - pace * units) ** 2 for took, units in steps) / (len(ends) - 1)
    to_come = left / (done / len(ends))  # ends of trainings
    deviation = sqrt(scatter * (to_come + to_come**2 / len(ends)))  # of their sum, and of the pace
    expected = pace * left
    return TimeLeft(expected, max(0.0, expected - NORMAL_80 * deviation), expected + NORMAL_80 * deviation)
