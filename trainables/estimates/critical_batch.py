"""Compare two arms of a training, from the same weights over the same samples, by their validation losses.

The larger batch costs c times the samples of the smaller one if its loss fell c times less. By McCandlish's law a batch
of B needs 1 + B / B_crit times the samples that the smallest batches need, which gives the critical batch B_crit.

Notation: v is the loss at the start; b_i and o_i are those of the base arm and of the other after the shares s_i = i / m
of the arm, i = 1 … m. Progress and difference are lines through the start, by least squares; the difference's standard
error is that of the o_i - b_i around their line.

Source     Merrill et al., Critical Batch Size Revisited, 2025 (branching); McCandlish et al., An Empirical Model of
           Large-Batch Training, 2018 (the law).
Differs    the law gives the two arms a common scale, so that other batches are predicted; Merrill et al. ask only
           whether the loss of the larger batch is within a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Arms:
    """What two arms say about `times` the batch. `errors`: standard errors to add to the difference."""

    batch_size: int  # of the base arm
    times: float
    first: int  # the batch for which the training was tuned; costs are relative to it
    progress: float  # by how much the base arm lowered the loss
    difference: float  # by how much the other arm ends above it; inf: it diverged
    error: float = 0.0  # the difference's standard error

    @property
    def tells(self) -> bool:
        """Whether the loss fell by more than the noise; else the arms are too short to tell anything."""
        return self.progress > self.error

    def is_free(self, tolerance: float) -> bool:
        """Whether the larger batch needs at most 1 + tolerance times the samples, or noise hides that it does not."""
        if not self.tells:
            return False
        # With x = batch / B_crit the law asks for (1 + times x) / (1 + x first / batch) <= 1 + tolerance.
        room = self.times - (1 + tolerance) * self.first / self.batch_size
        limit = self.times  # of the samples relative to the base arm
        if room > 0:
            x = tolerance / room
            limit = (1 + self.times * x) / (1 + x)
        return self.difference - self.error <= self.progress * (1 - 1 / limit)

    def more_samples(self, errors: float = 0.0) -> float:
        """The other arm's samples for the same loss, relative to the base arm: 1 to `times`, as the law has it."""
        difference = self.difference + errors * self.error
        if difference <= 0:
            return 1.0
        left = self.progress - difference
        return float(min(self.times, self.progress / left) if left > 0 else self.times)

    def critical_batch(self, errors: float = 0.0) -> float:
        """B_crit: inf if the larger batch costs nothing, 0 if it costs as many more samples as it is larger."""
        cost = self.more_samples(errors)
        return math.inf if cost <= 1 else self.batch_size * (self.times - cost) / (cost - 1)

    def cost_of(self, batch_size: float, errors: float = 0.0) -> float:
        """The samples that this batch needs for the same loss, relative to the first batch."""
        return more_samples(batch_size, self.first, self.critical_batch(errors))

    def largest_free(self, tolerance: float, errors: float = 0.0) -> float:
        """The largest batch that needs at most 1 + tolerance times the samples of the first."""
        return (1 + tolerance) * self.first + tolerance * self.critical_batch(errors)


def more_samples(batch_size: float, first: float, critical_batch: float) -> float:
    """The samples that a batch needs for the same loss, relative to the batch `first`: by the law, at this B_crit."""
    return 1.0 if critical_batch == math.inf else (critical_batch + batch_size) / (critical_batch + first)


def compared(
    batch_size: int, times: float, start: float, base: Sequence[float], other: Sequence[float], first: int | None = None
) -> Arms:
    """The arms with these losses; the other one may have fewer if its last is not finite."""
    first = batch_size if first is None else first
    shares = [(i + 1) / len(base) for i in range(len(base))]
    progress, _ = _line(shares, [start - loss for loss in base])
    if len(other) < len(base) or not all(map(math.isfinite, other)):
        return Arms(batch_size, times, first, progress, math.inf)
    difference, error = _line(shares, [o - b for o, b in zip(other, base, strict=True)])
    return Arms(batch_size, times, first, progress, difference, error)


def _line(shares: Sequence[float], heights: Sequence[float]) -> tuple[float, float]:
    """The height at share 1 of the line through 0 that fits best, and its standard error; 0 for a single point."""
    squares = sum(share**2 for share in shares)
    end = sum(share * height for share, height in zip(shares, heights, strict=True)) / squares
    if len(shares) == 1:
        return end, 0.0
    rest = sum((height - share * end) ** 2 for share, height in zip(shares, heights, strict=True))
    return end, math.sqrt(rest / (len(shares) - 1) / squares)
