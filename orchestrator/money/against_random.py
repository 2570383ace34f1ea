"""What random search would need for the same result, from the sweep's own random configurations.

Every configuration that was drawn at random (or for the initial design) either came as far as the best, or did not; one
that was stopped, diverged or failed did not. The share p of those that did, with its Clopper–Pearson interval, gives
1/p full trainings on average until random search gets there. If none did, only the lower end is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from search.history import History, Trial
from search.records import Status
from search.task import FULL

DRAWN = ("random", "initial", "fallback")  # origins of configurations that no model has chosen
LEAST = 5  # of them: with fewer, nothing can be said
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Needed:
    """Full trainings of random search until it gets as far, on average."""

    drawn: int  # configurations of this sweep that were drawn at random
    reached: int  # of them, as good as the best
    at_least: float  # the ends of the interval of 95 %
    at_most: float  # infinite if none came as far

    @property
    def estimate(self) -> float | None:
        return self.drawn / self.reached if self.reached else None


def needed(history: History, best: Trial | None) -> Needed | None:
    """None while there are too few random configurations, or no best one."""
    if best is None or not math.isfinite(best.loss):
        return None
    drawn = [t for t in history if t.first_origin in DRAWN and t.status is not Status.RUNNING and t.task == FULL]
    return share_that_reached([t.status is Status.COMPLETED and t.loss <= best.loss for t in drawn])


def share_that_reached(reached: Sequence[bool]) -> Needed | None:
    """The same from whether each random configuration came as far."""
    from scipy.special import betaincinv

    n, k = len(reached), sum(reached)
    if n < LEAST:
        return None
    outside = (1 - CONFIDENCE) / 2
    high = float(betaincinv(k + 1, n - k, 1 - outside)) if k < n else 1.0
    low = float(betaincinv(k, n - k + 1, outside)) if k else 0.0
    return Needed(n, k, 1 / high, 1 / low if low else math.inf)
