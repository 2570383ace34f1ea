"""Whether the loss falls towards the end of a parameter's range, all other parameters held equal.

A model-based search gathers its trials wherever its first good ones were, also along parameters that do not matter; so
where the good trials lie is weak evidence. A regression on all parameters together is not misled by that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.page.health.prediction import normal_scores
from orchestrator.page.health.ranges import place, searched
from orchestrator.page.recorded import Recorded
from search.history import Trial
from search.space import Choice

Matrix = NDArray[np.float64]
SPARE = 8  # degrees of freedom that must remain


def slope(run: Recorded, name: str, *, up: bool) -> float | None:
    """The t-value of the rank of the loss along `name` at its end, outwards: negative where the loss still falls.

    Squares of the numbers enter too, if there are enough trials for them. None if there are too few trials.
    """
    trials = [trial for trial in run.full if math.isfinite(trial.loss) and name in trial.config]
    losses = normal_scores(np.array([trial.loss for trial in trials]))
    for squares in (True, False):
        table, at = _design(run, trials, name, squares=squares)
        spare = len(trials) - np.linalg.matrix_rank(table)
        if at is None or spare < SPARE:
            continue
        contrast = np.zeros(table.shape[1])
        contrast[at] = 1.0 if up else -1.0
        if squares:
            contrast[at + 1] = 1.0  # the derivative of (u − ½)² at either end, outwards
        inverse = np.linalg.pinv(table.T @ table)
        estimate = inverse @ table.T @ losses
        variance = float(np.sum((losses - table @ estimate) ** 2)) / spare
        error = math.sqrt(max(variance * float(contrast @ inverse @ contrast), 1e-300))
        return float(contrast @ estimate) / error
    return None


def _design(run: Recorded, trials: Sequence[Trial], name: str, *, squares: bool) -> tuple[Matrix, int | None]:
    """(trials, features), and the column of `name`. An inactive parameter is at its middle."""
    columns, at = [np.ones(len(trials))], None
    for each, parameter in searched(run).items():
        places = [place(trial, each, parameter) for trial in trials]
        if isinstance(parameter, Choice):
            for option in sorted({spot for spot in places if spot is not None})[1:]:
                columns.append(np.array([spot == option for spot in places], dtype=np.float64))
            continue
        at = len(columns) if each == name else at
        centred = np.array([0.0 if spot is None else spot - 0.5 for spot in places])
        columns.append(centred)
        if squares:
            columns.append(centred**2)
    return np.column_stack(columns), at
