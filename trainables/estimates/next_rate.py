"""Choose the learning rate to try next: a Gaussian process over log(rate), the lowest confidence bound.

u = log(rate) between its bounds, scaled to 0 to 1; values are normalised to mean 0 and spread 1. Matern-5/2 kernel with
variance 1; its length and the noise are the likeliest of a few.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.models.exact_gp import Posterior, log_likelihood

Array = NDArray[np.float64]

_PLACES = 201  # rates to choose from, evenly in u
_LENGTHS = (0.1, 0.2, 0.4, 0.8)
_NOISES = (1e-4, 1e-2, 1e-1)  # variance of a value around the curve


def next_rate(tried: Sequence[tuple[float, float]], low: float, high: float, kappa: float) -> float:
    """The untried rate with the smallest mean - kappa * deviation.

    tried: (rate, value), smaller is better, not empty; a value that is not finite counts as worse than all others by
    their range. With kappa far above 1 the mean does not matter, and the rates fill the space.
    """
    places = np.linspace(0, 1, _PLACES)
    known = np.array([math.log(rate / low) / math.log(high / low) for rate, _ in tried])
    mean, deviation = _posterior(known, _normalised(np.array([value for _, value in tried])), places)
    bound = mean - kappa * deviation
    bound[np.abs(places[:, None] - known).min(axis=1) < 0.5 / (_PLACES - 1)] = np.inf
    return float(low * (high / low) ** places[int(np.argmin(bound))])


def _normalised(values: Array) -> Array:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    values = np.where(np.isfinite(values), values, finite.max() + np.ptp(finite))
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros(len(values))


def _posterior(known: Array, values: Array, places: Array) -> tuple[Array, Array]:
    """Mean and standard deviation at `places`."""
    fits = [
        (length, _matern(known, known, length) + noise * np.eye(len(known))) for length in _LENGTHS for noise in _NOISES
    ]
    length, covariance = max(fits, key=lambda fit: log_likelihood(fit[1], values))
    mean, explained = Posterior(covariance, values)(_matern(known, places, length))
    return mean, np.sqrt(np.maximum(1 - explained, 0))


def _matern(a: Array, b: Array, length: float) -> Array:
    distance = math.sqrt(5) * np.abs(a[:, None] - b) / length
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))
