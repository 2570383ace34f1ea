"""Gaussian process regression from covariance matrices: the likelihood of the values, and the posterior elsewhere.

For models of up to some hundreds of values with their own kernel and two or three hyper-parameters: the caller chooses
these by the likelihood and then conditions on the values. K: (m, m), the covariance of the observations, noise
included; y: (n,), their values; L: the Cholesky root of K. Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2006, algorithm 2.1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def whitened(covariance: Array, values: Array) -> tuple[Array, float]:
    """L⁻¹ y, and half the log determinant of K; raises LinAlgError if K is not positive definite."""
    from scipy.linalg import solve_triangular

    root = np.linalg.cholesky(covariance)
    half = solve_triangular(root, values, lower=True, check_finite=False)
    return half, float(np.log(np.diag(root)).sum())


def log_likelihood(covariance: Array, values: Array) -> float:
    """log p(y) of a process with mean 0, without the constant n/2 log 2π."""
    half, log_root = whitened(covariance, values)
    return -0.5 * float(half @ half) - log_root


class Posterior:
    """A process with mean 0, given its observations: the first n have `values`, the others are pending."""

    def __init__(self, covariance: Array, values: Array) -> None:
        self._root = np.linalg.cholesky(covariance)
        self._half = np.linalg.solve(self._root[: len(values), : len(values)], values)

    def __call__(self, between: Array) -> tuple[Array, Array]:
        """For k places with covariance `between` the observations and them, (m, k): their means, (k,), and how much
        the observations lower their variances, (k,)."""
        # Not a triangular solver: among rates on a grid the last bits decide ties, and old records must replay exactly.
        across = np.linalg.solve(self._root, between)
        return across[: len(self._half)].T @ self._half, (across**2).sum(axis=0)
