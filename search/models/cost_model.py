"""The cost model: how the cost of a step depends on the configuration, learned from the trials' measured seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.models.candidates import Encoding
from search.models.fidelities import Configuration

Array = NDArray[np.float64]

FEWEST = 3  # measured trials to learn from


class StepCostModel:
    """Encoded places (n, dimension) → log of a step's cost, relative to the mean, (n,).

    Zeros before `FEWEST` measurements. A ridge regression on the coordinates and their squares, clipped to the measured
    range, widened by a factor e^0.5.
    """

    def __init__(self, known: Sequence[Configuration], encode: Encoding) -> None:
        full = [(each.unit, each.full) for each in known if each.full is not None]
        measured = [(unit, trial) for unit, trial in full if trial.step and trial.cost_seconds > 0]
        self._weights: Array | None = None
        if len(measured) < FEWEST:
            return
        logs = np.log([trial.cost_seconds / trial.step for _, trial in measured])
        inputs = _features(encode(np.array([unit for unit, _ in measured])))
        ridge = np.diag(np.r_[1e-6, np.ones(inputs.shape[1] - 1)])
        logs -= logs.mean()
        self._weights = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ logs)
        self._lowest, self._highest = logs.min() - 0.5, logs.max() + 0.5

    def __call__(self, places: Array) -> Array:
        if self._weights is None:
            return np.zeros(len(places))
        return np.clip(_features(places) @ self._weights, self._lowest, self._highest)


def _features(places: Array) -> Array:
    return np.column_stack([np.ones(len(places)), places, places**2])
