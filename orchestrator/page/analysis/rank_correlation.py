"""How well the order at an early stage predicts the order at the end, with an interval.

Source     Spearman, 1904; the interval is the middle 90 % of `RESAMPLES` bootstrap samples of the configurations
           (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3).
Not for    a sweep that trained only the best to the end: among them the correlation is lower than among all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.page.analysis.importance import ENDS

Array = NDArray[np.float64]

RESAMPLES = 400
FEWEST = 10  # configurations; fewer give an interval that says nothing
MOST = 400  # configurations; more change the second digit only


@dataclass(frozen=True)
class Correlation:
    """A correlation and the ends of its interval; `pairs` configurations have both results."""

    value: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(early: Array, late: Array) -> Correlation | None:
    """The rank correlation of two rows of results; None for fewer than `FEWEST` pairs or equal results.

    >>> print(spearman(np.arange(20.0), np.arange(20.0)))
    1.00 [1.00, 1.00]
    """
    rows_kept = _spread(len(early))
    early, late = early[rows_kept], late[rows_kept]
    if not _enough(early, late):
        return None
    rows = _resampled(len(early))
    values = _pearson(_ranks(early[rows]), _ranks(late[rows]))
    return _correlation(float(_pearson(_ranks(early[None]), _ranks(late[None]))[0]), values, len(early))


def partial(middle: Array, late: Array, given: Array) -> Correlation | None:
    """The rank correlation of `middle` and `late` that is left when both are freed of what `given` predicts."""
    rows_kept = _spread(len(middle))
    middle, late, given = middle[rows_kept], late[rows_kept], given[rows_kept]
    if not (_enough(middle, late) and _enough(given, late)):
        return None
    rows = _resampled(len(middle))
    values = _partial(middle[rows], late[rows], given[rows])
    return _correlation(float(_partial(middle[None], late[None], given[None])[0]), values, len(middle))


def _spread(count: int) -> NDArray[np.int64]:
    """At most `MOST` rows, evenly spread over the sweep."""
    return np.asarray(np.linspace(0, count - 1, min(count, MOST)).round(), dtype=np.int64)


def _enough(a: Array, b: Array) -> bool:
    return len(a) >= FEWEST and float(np.ptp(a)) > 0 and float(np.ptp(b)) > 0


def _partial(middle: Array, late: Array, given: Array) -> Array:
    a, b, c = _ranks(middle), _ranks(late), _ranks(given)
    ab, ac, bc = _pearson(a, b), _pearson(a, c), _pearson(b, c)
    rest = np.sqrt(np.maximum((1 - ac**2) * (1 - bc**2), 1e-12))
    return np.asarray(np.clip((ab - ac * bc) / rest, -1.0, 1.0))


def _correlation(value: float, values: Array, pairs: int) -> Correlation:
    low, high = np.quantile(values, ENDS)
    return Correlation(value, min(float(low), value), max(float(high), value), pairs)


def _resampled(count: int) -> NDArray[np.int64]:
    """(resamples, count): rows of each bootstrap sample, always the same."""
    return np.random.default_rng(count).integers(count, size=(RESAMPLES, count))


def _ranks(values: Array) -> Array:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1), dtype=np.float64)


def _pearson(a: Array, b: Array) -> Array:
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.asarray((a * b).sum(1) / np.maximum(size, 1e-12))
