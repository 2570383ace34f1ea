"""The outcome transform: turns losses into values for a model, free of units and robust to a few enormous losses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.history import Trial
from search.origins import COVERING
from search.task import FULL

Array = NDArray[np.float64]

OFFSET = 0.5  # of the logarithmic scale, in units of the distance from the best to the median loss
FEWEST = 5  # with at least this many trials that cover the space, the scale uses only them
WORST = 3.0  # upper bound of the values
DEEPEST = 4.0  # the best loss is not below minus this, even if few trials learn anything


@dataclass(frozen=True)
class OutcomeTransform:
    """Turns losses into values near 0, lower is better: logarithms of the distance from the best, bad ones compressed.

    The values do not depend on the units of the loss, and an accuracy works as its negative.
    """

    low: float  # the best loss; infinite if there is none
    unit: float
    middle: float
    spread: float

    @staticmethod
    def of(trials: Iterable[Trial]) -> OutcomeTransform:
        """From the latest finite losses, and, except for the best, only of trials that cover the space.

        A model's choices gather around the best, so a scale made of them would show nothing else; see `search.origins`.
        """
        finite = [
            (min(losses), losses[-1], t.first_origin in COVERING)
            for t in trials
            if (losses := [x for x in t.losses if math.isfinite(x)])
        ]
        if not finite:
            return OutcomeTransform(math.inf, 1.0, 0.0, 1.0)
        low = min(best for best, _, _ in finite)
        covering = [loss for _, loss, is_covering in finite if is_covering]
        last = np.array(covering if len(covering) >= FEWEST else [loss for _, loss, _ in finite])
        unit = max(float(np.median(last)) - low, 1e-9 * abs(low) + 1e-12)
        logs = np.log((last - low) / unit + OFFSET)
        middle = float(np.median(logs))
        spread = max(middle - float(np.quantile(logs, 0.1)), (middle - math.log(OFFSET)) / DEEPEST, 1e-3)
        return OutcomeTransform(low, unit, middle, spread)

    def __call__(self, losses: Array) -> Array:
        """Values of finite losses; zeros if no loss is known."""
        if not math.isfinite(self.low):
            return np.zeros(len(losses))
        values = (np.log((np.maximum(losses, self.low) - self.low) / self.unit + OFFSET) - self.middle) / self.spread
        return np.asarray(np.where(values > 0, WORST * np.tanh(values / WORST), values))

    @property
    def slope(self) -> float:
        """The loss per unit of the scale, at the best loss."""
        return self.unit * OFFSET * self.spread


class OutcomeTransforms:
    """An outcome transform for each task."""

    def __init__(self, trials: Sequence[Trial], tasks: Iterable[str]) -> None:
        self._of = {
            task: OutcomeTransform.of(t for t in trials if t.task == task and t.in_space and not t.broke)
            for task in dict.fromkeys(tasks)
        }
        bests = {
            task: float(scale(np.array([scale.low]))[0]) for task, scale in self._of.items() if math.isfinite(scale.low)
        }
        self.best = bests.get(FULL, math.inf)
        self.lowest = min(bests.values(), default=math.inf)

    @property
    def slope(self) -> float:
        """The slope of the full training's transform."""
        return self._of[FULL].slope

    def __call__(self, task: str, losses: Array) -> Array:
        return self._of[task](losses)
