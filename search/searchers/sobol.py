"""Sobol sequence: points that fill the unit cube more evenly than random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from search.contract import Searcher, derived_seed
from search.history import History
from search.records import Suggestion
from search.rules.proposals import propose
from search.space import Space, Vector

ATTEMPTS = 20
FAR_AHEAD = 2**14  # a stride that later trials of the same sweep do not reach
LARGEST_DIMENSION = 21_201  # limit of the direction numbers in SciPy


@dataclass(frozen=True)
class Sobol(Searcher):
    """Suggests one point of the sequence after the other.

    Use when   random search would do: it leaves fewer holes at the same cost. A good start for a model.
    Costs      microseconds.
    Settings   none; the sweep's seed determines the scrambling.
    Not for    spaces of mostly choices, where evenness has no meaning.
    Source     Sobol 1967; scrambling by Owen as in scipy.stats.qmc.Sobol.
    Differs    the place in the sequence is the number of trials so far. If the point breaks a constraint or is
               already known, it tries points from far ahead in the same sequence.

    >>> searcher = Sobol()
    """

    why_full: ClassVar[str | None] = ""

    def check(self, space: Space) -> None:
        if space.dimension > LARGEST_DIMENSION:
            raise ValueError(
                f"Sobol(): {space.dimension} parameters, but the sequence has {LARGEST_DIMENSION}; use Random()."
            )

    def suggest(self, history: History) -> Suggestion | None:
        places = iter(len(history.trials) + attempt * FAR_AHEAD for attempt in range(ATTEMPTS))
        scramble = derived_seed(history.seed, "sobol")

        def draw(seed: int) -> dict[str, Any]:
            return history.space.from_unit(_point(history.space.dimension, next(places), scramble))

        return propose(history, draw, origin="sobol", attempts=ATTEMPTS)


def _point(dimension: int, index: int, scramble: int) -> Vector:
    if dimension == 0:
        return np.empty(0)
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimension, scramble=True, seed=scramble)
    if index:
        sequence.fast_forward(index)
    return np.asarray(sequence.random(1)[0], dtype=np.float64)
