"""Measurements while a model trains: the norms of an update's gradients, the gradient noise scale, smoothed numbers.

Plain numbers in, plain numbers out; the loop computes the norms where the tensors are. States are tuples of numbers, so
that a policy can keep them.

Notation: B samples make an update, in p parts (micro-batches or workers) of b = B / p. g_j is the mean gradient of part
j; their mean is the update's. G is the true gradient, S the trace of the covariance of one sample's gradient:
E |g_B|^2 = |G|^2 + S / B. The noise scale S / |G|^2 is the batch at which noise and signal are equal.

Source     McCandlish et al., An Empirical Model of Large-Batch Training, 2018, appendix A; Mai et al., KungFu, OSDI
           2020.
Differs    averages all parts, not only the local one; treats a negative estimate as invalid and does not flip its sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Gradient:
    """The norms of one update's gradients, before clipping, unscaled, without weight decay.

    Batch normalisation makes the samples of a part depend on each other; the estimates are then only a rule of thumb.
    """

    batch_size: int  # B
    part_size: float  # b; the harmonic mean if the parts are uneven
    square: float  # |mean of all|^2
    part_square: float  # mean of |g_j|^2 over the parts, weighted by their size
    part_norms: tuple[float, ...] = ()  # |g_j|, by worker or by micro-batch

    @property
    def norm(self) -> float:
        return math.sqrt(self.square)

    @property
    def signal(self) -> float:
        """Unbiased estimate of |G|^2; may be negative. NaN with one part."""
        if self.batch_size <= self.part_size:
            return math.nan
        return (self.batch_size * self.square - self.part_size * self.part_square) / (self.batch_size - self.part_size)

    @property
    def noise(self) -> float:
        """Unbiased estimate of S. NaN with one part."""
        if self.batch_size <= self.part_size:
            return math.nan
        return (self.part_square - self.square) / (1 / self.part_size - 1 / self.batch_size)

    @property
    def variance(self) -> float:
        """The variance of a part's gradient, summed over all weights: S / b (KungFu's monitor takes a norm of it)."""
        return self.noise / self.part_size


Smoothed = tuple[float, float]
"""An exponential moving average and its collected weight; value / weight corrects the bias of the start."""

UNKNOWN: Smoothed = (0.0, 0.0)


def smoothed(average: Smoothed, value: float, decay: float) -> Smoothed:
    """The average after one more value; skips a value that is not finite."""
    if not math.isfinite(value):
        return average
    total, weight = average
    return decay * total + (1 - decay) * value, decay * weight + (1 - decay)


def value(average: Smoothed) -> float:
    """The bias-corrected average; NaN before the first value."""
    total, weight = average
    return total / weight if weight else math.nan


NoiseScale = tuple[Smoothed, Smoothed, int]
"""Signal and noise, smoothed separately (a mean of ratios would be far off), and the number of updates in them."""

NO_ESTIMATE: NoiseScale = (UNKNOWN, UNKNOWN, 0)


def observed(estimate: NoiseScale, gradient: Gradient | None, decay: float) -> NoiseScale:
    """The estimate after one more update. It does not depend on the batch size, which may change on the way."""
    if gradient is None or not (math.isfinite(gradient.signal) and math.isfinite(gradient.noise)):
        return estimate
    signal, noise, count = estimate
    return smoothed(signal, gradient.signal, decay), smoothed(noise, gradient.noise, decay), count + 1


def noise_scale(estimate: NoiseScale) -> float | None:
    """The noise scale in samples; None without a valid estimate: no signal yet, or none above the noise."""
    signal, noise, _ = estimate
    if not value(signal) > 0 or not value(noise) >= 0:
        return None
    return value(noise) / value(signal)


def gain(times: float, ratio: float) -> float:
    """The worth of an update at `times` the base batch, in updates of the base batch: 1 to `times`.

    `ratio`: noise scale / base batch. This is AdaScale's gain, and McCandlish's best rate relative to the base batch's.
    """
    return times * (1 + ratio) / (times + ratio) if times else 0.0
