"""Feasibility: the probability that a training neither fails nor diverges, learned from earlier trainings.

A training is broken if it failed or diverged, else sound. A searcher weighs the expected gain by the probability of a
sound training: Gelbart et al., Bayesian Optimization with Unknown Constraints, UAI 2014. There are two models:

`ProcessFeasibility`: a Gaussian process of labels, 1 for a sound training and −1 for a broken one; where nothing is
known it expects 1. The reach of a broken training, and the share of chance in it, maximise the likelihood. It finds
them for each suggestion, at cubic cost: for searchers that look at a bounded number of results.

`NeighbourFeasibility`: the share of sound trainings nearby. Its reach is fixed and its cost linear: for searchers that
look at every configuration, thousands of them after a little training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.models.exact_gp import Posterior, log_likelihood

Array = NDArray[np.float64]

REACHES = (0.1, 0.2, 0.4)  # of a range, in each dimension
CHANCES = (0.01, 0.1, 1.0)  # variance of a label that its place does not explain
NEARBY = 0.1  # of a range, in each dimension: the distance at which trainings count as near


class ProcessFeasibility:
    """`places`: (n, dimension) encoded configurations; `broken`: (n,), whether the training there broke."""

    def __init__(self, places: Array, broken: NDArray[np.bool_]) -> None:
        self._places, self._any = places, bool(broken.any())
        if self._any:
            labels = np.where(broken, -2.0, 0.0)  # the difference from the expected 1
            fits = [(reach, chance, self._covariance(reach, chance)) for reach in REACHES for chance in CHANCES]
            self._reach, self._chance, covariance = max(fits, key=lambda fit: log_likelihood(fit[2], labels))
            self._posterior = Posterior(covariance, labels)

    def __call__(self, places: Array) -> Array:
        """Log of the probability of a sound training at each place, (n,); zeros if none has ever broken."""
        if not self._any:
            return np.zeros(len(places))
        from scipy.special import log_ndtr

        means, explained = self._posterior(_kernel(self._places, places, self._reach))
        variances = np.maximum(1.0 - explained, 0.0) + self._chance
        return np.asarray(log_ndtr((1.0 + means) / np.sqrt(variances)))

    def _covariance(self, reach: float, chance: float) -> Array:
        return _kernel(self._places, self._places, reach) + chance * np.eye(len(self._places))


class NeighbourFeasibility:
    """`places`: (n, dimension) encoded configurations; `broken`: (n,), whether the training there broke."""

    def __init__(self, places: Array, broken: NDArray[np.bool_]) -> None:
        self._places, self._broken = places, broken

    def __call__(self, places: Array) -> Array:
        """Log of the share of sound trainings near each place, (n,); a place without neighbours counts as sound."""
        if not self._broken.any():
            return np.zeros(len(places))
        near = _kernel(places, self._places, NEARBY)
        return np.asarray(np.log((1 + near[:, ~self._broken].sum(1)) / (1 + near.sum(1))))


def _kernel(a: Array, b: Array, reach: float) -> Array:
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2 * reach**2 * a.shape[1])))
