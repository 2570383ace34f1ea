"""How likely a training is to come through: learned from those that failed or diverged, and those that did not.

A Gaussian process of labels, 1 for a sound training and −1 for a broken one; where nothing is known it expects 1.
How far a break reaches, and how much of it is chance, are what explains the labels best. A searcher weighs what
it expects to gain with this probability: Gelbart et al., Bayesian Optimization with Unknown Constraints, UAI 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACHES = (0.1, 0.2, 0.4)  # of a range, in each dimension
CHANCES = (0.01, 0.1, 1.0)  # variance of a label that its place does not explain


class Soundness:
    """`places`: (n, dimension) encoded configurations; `broken`: (n,), whether the training there broke."""

    def __init__(self, places: Array, broken: NDArray[np.bool_]) -> None:
        self._places, self._any = places, bool(broken.any())
        if self._any:
            labels = np.where(broken, -2.0, 0.0)  # the difference from what is expected
            fits = [_fitted(places, labels, reach, chance) for reach in REACHES for chance in CHANCES]
            _, self._reach, self._chance, covariance = max(fits, key=lambda fit: fit[0])
            self._inverse = np.linalg.inv(covariance)
            self._weights = self._inverse @ labels

    def __call__(self, places: Array) -> Array:
        """Log of the probability that a training at each place is sound, (n,); zeros if none has ever broken."""
        if not self._any:
            return np.zeros(len(places))
        from scipy.special import log_ndtr

        near = _kernel(places, self._places, self._reach)
        means = 1.0 + near @ self._weights
        variances = np.maximum(1.0 - ((near @ self._inverse) * near).sum(1), 0.0) + self._chance
        return np.asarray(log_ndtr(means / np.sqrt(variances)))


def _fitted(places: Array, labels: Array, reach: float, chance: float) -> tuple[float, float, float, Array]:
    """Log likelihood of the labels but for a constant, the settings, and the covariance."""
    from scipy.linalg import cho_factor, cho_solve

    covariance = _kernel(places, places, reach) + chance * np.eye(len(places))
    factor = cho_factor(covariance, lower=True)
    misfit = 0.5 * float(labels @ cho_solve(factor, labels)) + float(np.log(np.diag(factor[0])).sum())
    return -misfit, reach, chance, covariance


def _kernel(a: Array, b: Array, reach: float) -> Array:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2 * reach**2 * a.shape[1])))
