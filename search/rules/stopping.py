"""Stopping by expected improvement: the search ends when nothing is worth the cost of a full training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.contract import generator
from search.history import History
from search.models.acquisition import CurveAcquisition
from search.models.candidates import best_configurations
from search.models.fidelities import Configuration

Array = NDArray[np.float64]


def why_stop(
    history: History, acquisition: CurveAcquisition, resting: Sequence[Configuration], least: float
) -> str | None:
    """Why the search should stop: no configuration should lower the loss by `least` for a full training's cost.

    None if a new or resting configuration should, or if there is no loss yet.
    """
    best = acquisition.transforms.best
    if not math.isfinite(best):
        return None

    def gain(units: Array) -> Array:
        return acquisition.log_improvement(units, 1.0, best)

    candidates = best_configurations(gain, acquisition.centres, history.space, generator(history, "worth"))
    gains = [score for _, _, score in candidates]
    if resting:
        units = np.array([each.unit for each in resting])
        left = np.array([1 - each.step / history.horizon for each in resting])
        gains += list(gain(units) - np.log(left))
    expected = math.exp(max(gains, default=-math.inf)) * acquisition.transforms.slope
    if expected >= least:
        return None
    return f"an expected improvement of {expected:.3g} for a full training's cost is less than {least:g}"
