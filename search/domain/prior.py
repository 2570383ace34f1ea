"""A prior of one parameter: where the user expects the best value, as a density on the unit interval.

With probability `confidence` the best value lies near `centre`, normally distributed with a width of a tenth of the
range (for a choice: it is that option); otherwise it may be anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

MIDDLE = 3.0  # Beta(3, 3): 88 % of it lies in the middle 60 % of the range
PRIOR_WIDTH = 0.1  # of the range: an expert's "about there"


@dataclass(frozen=True)
class Prior:
    """The best value is expected near `centre` with probability `confidence`; otherwise it may be anywhere."""

    centre: Any
    confidence: float = 0.5

    def __str__(self) -> str:
        return f".prior({self.centre!r}, confidence={self.confidence!r})"


def towards_middle(units: Any) -> Any:
    """Uniform places in [0, 1] → places from Beta(3, 3), in the same order.

    A range on a logarithmic scale brackets an order of magnitude: the best value is seldom at its ends. Source: Cauwet et
    al., Fully Parallel Hyperparameter Search: Reshaped Space-Filling, ICML 2020.
    """
    from scipy.special import betaincinv  # 0.2 s, and a command that only reads needs it not

    return betaincinv(MIDDLE, MIDDLE, units)


def mixed(near: Any, confidence: float) -> Any:
    """Prior density from the density `near` the centre; its mean is 1, and it is 0 nowhere."""
    return (1 - confidence) + confidence * near


def normal_density(units: Any, centre: float) -> Any:
    """A normal density around the centre, cut off at the ends of the range."""
    mass = sum(math.erf(side / PRIOR_WIDTH / math.sqrt(2)) / 2 for side in (centre, 1 - centre))
    return np.exp(-0.5 * ((units - centre) / PRIOR_WIDTH) ** 2) / (PRIOR_WIDTH * math.sqrt(2 * math.pi) * mass)


def normal_draw(centre: float, rng: np.random.Generator) -> float:
    """A place in [0, 1] from `normal_density`."""
    while not 0 <= (unit := rng.normal(centre, PRIOR_WIDTH)) <= 1:
        pass
    return float(unit)


def bin_density(units: Any, chosen: int, bins: int) -> Any:
    """A density that lies in one of several equal bins only: its neighbours mean nothing."""
    found = np.minimum((units * bins).astype(int), bins - 1)
    return np.where(found == chosen, float(bins), 0.0)


def bin_draw(chosen: int, bins: int, rng: np.random.Generator) -> float:
    """A place in that bin."""
    return float((chosen + rng.random()) / bins)
