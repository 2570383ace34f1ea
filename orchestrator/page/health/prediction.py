"""How well an early result predicts the end, although only the survivors are seen at the end.

Selection hides correlation: among the best quarter of a rung, the rung's own losses hardly differ. A trial's survival
depends only on results that are on record, so regressions of each stage on the one before are not biased by it. Their
product along the stages gives the correlation for all trials (Anderson 1957 for monotone missing data; for two stages
this is Thorndike's correction for restricted range). The stages are taken as a Markov chain: a later result depends on
the earlier ones only through the latest.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key")
Vector = NDArray[np.float64]
RESAMPLED = 400  # bootstrap samples; the interval's ends then vary by about 0.02
LEAST_PAIRS = 4  # between two stages in a bootstrap sample
LEAST = 10  # trials at the last stage, for a verdict
WEAK, SURELY = 0.3, 0.75  # worthless: at most the first by its estimate, and below the second by its interval


@dataclass(frozen=True)
class Prediction:
    """Rank correlation of the first stage with the last, for all trials; the interval holds it with 90 % confidence."""

    correlation: float
    low: float
    high: float
    ended: int  # trials with a result at the last stage
    began: int  # trials with a result at the first stage

    @property
    def is_worthless(self) -> bool:
        """Whether the first stage says next to nothing about the last, on enough trials to say so."""
        return self.ended >= LEAST and self.correlation <= WEAK and self.high < SURELY

    def __str__(self) -> str:
        return f"{self.correlation:.2f} (90 % interval {self.low:.2f} to {self.high:.2f})"


def prediction(stages: Sequence[Mapping[Key, float]]) -> Prediction | None:
    """`stages`: trial → loss, from the first to the last; each holds some of the trials of the one before.

    None if the losses of a stage do not differ, or if too few trials connect two stages.
    """
    keys = [key for key, loss in stages[0].items() if math.isfinite(loss)]
    table = np.full((len(keys), len(stages)), np.nan)  # (trials, stages)
    for column, losses in enumerate(stages):
        values = [losses.get(key, math.nan) for key in keys]
        table[:, column] = normal_scores(np.array(values, dtype=np.float64))
    found = _along(table)
    if found is None:
        return None
    rng = np.random.default_rng(0)
    samples = [_along(table[rng.integers(0, len(keys), len(keys))]) for _ in range(RESAMPLED)]
    known = [each for each in samples if each is not None]
    if len(known) < RESAMPLED / 2:
        return None
    low, high = np.quantile(known, (0.05, 0.95))
    return Prediction(found, float(low), float(high), int(np.isfinite(table[:, -1]).sum()), len(keys))


def _along(table: Vector) -> float | None:
    """The correlation of the first column with the last, through the columns between."""
    first = table[:, 0]
    variance = covariance = start = float(np.var(first))
    for before, after in zip(table.T[:-1], table.T[1:], strict=True):
        both = np.isfinite(before) & np.isfinite(after)
        if both.sum() < LEAST_PAIRS:
            return None
        x, y = before[both], after[both]
        spread = float(np.var(x))
        if not spread:
            return None
        slope = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread
        residual = float(np.var(y - y.mean() - slope * (x - x.mean())))
        variance, covariance = slope**2 * variance + residual, slope * covariance
    return covariance / math.sqrt(start * variance) if start and variance else None


def normal_scores(values: Vector) -> Vector:
    """The normal quantile of each rank, equal values at the mean of their ranks; NaN stays."""
    scores = np.full(len(values), np.nan)
    known = np.isfinite(values)
    if known.any():
        _, places, counts = np.unique(values[known], return_inverse=True, return_counts=True)
        quantile = statistics.NormalDist().inv_cdf
        middle = (np.cumsum(counts) - counts / 2) / known.sum()  # of the ranks of each value, in (0, 1)
        scores[known] = np.array([quantile(float(rank)) for rank in middle])[places]
    return scores
