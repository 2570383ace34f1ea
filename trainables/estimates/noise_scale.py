"""What is monitored while a model trains: the norms of an update's gradients, the gradient noise scale, smoothed numbers.

Plain numbers in, plain numbers out; the loop takes the norms where the tensors are. States are tuples of numbers, as a
policy keeps them.

Notation: B samples make an update, in p parts (micro-batches or workers) of b = B / p; g_j is the mean gradient of part
j, their mean that of the update. G is the true gradient, S the trace of the covariance of one sample's gradient:
E |g_B|^2 = |G|^2 + S / B. The noise scale S / |G|^2 is the batch at which noise and signal are even.

Source     McCandlish et al., An Empirical Model of Large-Batch Training, 2018, appendix A; Mai et al., KungFu, OSDI 2020.
Differs    all parts are averaged, not the local one; a negative estimate is invalid, not turned round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Gradient:
    """The norms of one update's gradients, before clipping, unscaled, without weight decay.

    Batch normalisation makes the samples of a part depend on each other: take the estimates as a rule of thumb then.
    """

    batch_size: int  # B
    part_size: float  # b: the harmonic mean, should the parts be uneven
    square: float  # |mean of all|^2
    part_square: float  # mean over the parts of |g_j|^2, each counting by its size
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
        """Of the gradient of a part, summed over all weights: S / b (the trace that KungFu's monitor takes a norm of)."""
        return self.noise / self.part_size


Smoothed = tuple[float, float]
"""An exponential moving average and the weight that it has collected; value / weight corrects the start's bias."""

UNKNOWN: Smoothed = (0.0, 0.0)


def smoothed(average: Smoothed, value: float, decay: float) -> Smoothed:
    """One more value; one that is not finite is passed over."""
    if not math.isfinite(value):
        return average
    total, weight = average
    return decay * total + (1 - decay) * value, decay * weight + (1 - decay)


def value(average: Smoothed) -> float:
    """NaN before the first value."""
    total, weight = average
    return total / weight if weight else math.nan


NoiseScale = tuple[Smoothed, Smoothed, int]
"""Signal and noise, each smoothed for itself (a mean of ratios would be far off), and how many updates are in them."""

NO_ESTIMATE: NoiseScale = (UNKNOWN, UNKNOWN, 0)


def observed(estimate: NoiseScale, gradient: Gradient | None, decay: float) -> NoiseScale:
    """The estimate after one more update. Neither number depends on the batch size, so that it may change on the way."""
    if gradient is None or not (math.isfinite(gradient.signal) and math.isfinite(gradient.noise)):
        return estimate
    signal, noise, count = estimate
    return smoothed(signal, gradient.signal, decay), smoothed(noise, gradient.noise, decay), count + 1


def noise_scale(estimate: NoiseScale) -> float | None:
    """Samples; None as long as there is no valid estimate: no signal seen, or none that stands out of the noise."""
    signal, noise, _ = estimate
    if not value(signal) > 0 or not value(noise) >= 0:
        return None
    return value(noise) / value(signal)


def gain(times: float, ratio: float) -> float:
    """What an update of `times` the base batch is worth in updates of the base batch, 1 to `times`.

    `ratio`: noise scale / base batch. AdaScale's gain, and McCandlish's best rate at a batch by that at the base batch.
    """
    return times * (1 + ratio) / (times + ratio) if times else 0.0
