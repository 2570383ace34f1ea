"""The correlation between a stage and the full training that the curve model of a sweep has learned, and its prior.

The model's fits are on record, in the memo of a suggestion (`search.models.fits`). From the kernel at the top of
`search/models/gp.py`: a separate task k has the correlation w_k / √(w_k² + v_k) with the full training; a place at the
fidelity s of the same training has (shared + own · M(1 − s)) / (shared + own). The drift is left out: it is common to
all configurations, so it says nothing about their order.

Source     Swersky et al., Multi-Task Bayesian Optimization, NeurIPS 2013; Freeze-Thaw Bayesian Optimization, 2014.
Not for    the rank correlation of noisy results: noise is no part of it, so it is usually higher.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.page.analysis.importance import ENDS
from orchestrator.page.analysis.stages import Stage
from search.history import History
from search.models.fidelities import level
from search.models.fits import CurveFits
from search.task import FULL

Array = NDArray[np.float64]

DRAWS = 4000  # of the prior
SINGLE = 8  # numbers of a fit beside the widths of the dimensions, and the weight and the variance of each other task
# Centre and spread of the normal priors in `CurveKernel`; a test compares them with it.
PRIORS = {"log_shared": (math.log(0.7), 1.0), "log_own": (math.log(0.3), 1.0), "log_reach": (0.0, 0.7)}
WEIGHT, APART = (0.9, 0.4), (math.log(0.1), 1.0)  # of a cheaper task


@dataclass(frozen=True)
class Learned:
    """The learned correlation: the mean and the ends over the model's fits; and the median and ends of the prior."""

    value: float
    low: float
    high: float
    fits: int
    prior: tuple[float, float, float]  # median, and the middle 90 %

    def __str__(self) -> str:
        spread = f" [{self.low:.2f}, {self.high:.2f}]" if self.fits > 1 else ""
        return f"{self.value:.2f}{spread}"


def learned(history: History, stage: Stage) -> Learned | None:
    """What the latest fits on record say of this stage; None if there are none, or for the full training itself."""
    recorded = CurveFits.latest(history)
    if recorded is None or stage.is_end:
        return None
    dimension, tasks, earlier = recorded.shape
    others = tasks + earlier - 1
    if any(len(fit) != SINGLE + dimension + 2 * others for fit in recorded.fits):
        return None  # written by another version of the model
    separate = [task.name for task in history.tasks if task.name != FULL and not task.resumes]
    rng = np.random.default_rng(0)
    if stage.task == FULL:
        at = level(stage.step, history.horizon)
        values = [_between(*_curve(fit, others), at) for fit in recorded.fits]
        shared, own, reach = (np.exp(rng.normal(*PRIORS[name], DRAWS)) for name in PRIORS)
        prior = _between(shared, own, reach, at)
    else:
        index = separate.index(stage.task)
        if index >= others:
            return None
        values = [_across(*_task(fit, index, dimension, others)) for fit in recorded.fits]
        prior = _across(rng.normal(*WEIGHT, DRAWS), np.exp(rng.normal(*APART, DRAWS)))
    found = np.array([float(value) for value in values])
    median, low, high = np.quantile(prior, [0.5, *ENDS])
    ends = (float(found.min()), float(found.max()))
    return Learned(float(found.mean()), *ends, len(found), (float(median), float(low), float(high)))


def _curve(fit: Sequence[float], others: int) -> tuple[float, float, float]:
    """shared, own and reach. A fit holds, in order: growth, log_apart (others), log_drift, log_drift_reach, log_own,
    log_reach, log_shared, log_widths (dimension), weights (others), the mean, the noise."""
    own, reach, shared = fit[1 + others + 2 : 1 + others + 5]
    return math.exp(shared), math.exp(own), math.exp(reach)


def _task(fit: Sequence[float], index: int, dimension: int, others: int) -> tuple[float, float]:
    """The weight of a task, and the variance that it has on its own."""
    return fit[6 + others + dimension + index], math.exp(fit[1 + index])


def _between(shared: float | Array, own: float | Array, reach: float | Array, at: float) -> Array:
    scaled = math.sqrt(5.0) * (1.0 - at) / np.asarray(reach)
    matern = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return np.asarray((shared + own * matern) / (np.asarray(shared) + own))


def _across(weight: float | Array, apart: float | Array) -> Array:
    return np.asarray(weight / np.sqrt(np.square(weight) + apart))
