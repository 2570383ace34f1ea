"""Fits of the curve model's hyper-parameters, made occasionally on several subsets of the data and kept in a memo.

The most probable hyper-parameters (MAP) are overconfident. Fits to different subsets differ where the data say nothing;
a search that uses one of them at each turn does not always look at the same place (bagging).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from search.history import History
from search.models.candidates import Encoding
from search.models.fidelities import Configuration, Fidelity
from search.models.outcome_transform import OutcomeTransforms
from search.models.training_data import Observations, training_data

FITS = 3
PART = 0.8  # of the observations, for each fit, …
FITTED = 160  # … but not more
FEW = 30  # fewer observations get only one fit
GROWTH = 1.3  # fit again when the number of trials has grown by this factor

Hyperparameters = list[float]
"""All numbers of a fitted model, in a fixed order."""


@dataclass(frozen=True)
class CurveFits:
    """The curve model's fits as recorded in the history, and the size of the data that they were fitted to."""

    shape: list[int]  # columns of an encoded place, tasks, earlier sweeps
    trials: int
    fits: list[Hyperparameters]

    @staticmethod
    def latest(history: History) -> CurveFits | None:
        """The latest recorded fits; None if there are none, or if the note has another form."""
        match history.note("curves"):
            case {"shape": [*shape], "trials": int(trials), "fits": [_, *_] as found}:
                return CurveFits(shape, trials, found)
        return None

    @property
    def memo(self) -> str:
        """The note, for `Suggestion.memo`."""
        return json.dumps({"curves": asdict(self)})


def fits(
    history: History, known: Sequence[Configuration], fidelities: Sequence[Fidelity], encode: Encoding
) -> tuple[list[Hyperparameters], str]:
    """The fits to choose from, and the memo for the next suggestion ("": nothing new).

    A fit uses the results known when the latest suggestion was made. So it can be made while that suggestion's results
    are still pending, and a decision does not depend on whether it was.
    """
    settled = [each for each in known if history.under_way.isdisjoint(trial.number for trial in each.trials)]
    trials = sum(each.reached >= 0 or each.broken for each in settled)
    shape = [encode.dimension, len({each.task for each in fidelities}), len(history.earlier)]
    latest = CurveFits.latest(history)
    if latest is not None and latest.shape == shape and trials < GROWTH * latest.trials:
        return latest.fits, ""
    asked, found = _ahead.get(history, (-1, []))
    if asked != history.asked:
        transforms = OutcomeTransforms(
            [trial for each in settled for trial in each.trials], [each.task for each in fidelities]
        )
        found = _fitted(training_data(history, settled, fidelities, transforms, encode), shape)
        _ahead[history] = history.asked, found
    return found, CurveFits(shape, trials, found).memo


_ahead: WeakKeyDictionary[History, tuple[int, list[Hyperparameters]]] = WeakKeyDictionary()


def _fitted(data: Observations, shape: Sequence[int]) -> list[Hyperparameters]:
    from search.models.gp import CurveModel

    dimension, tasks, earlier = shape
    found = []
    for some in _parts(len(data)):
        model = CurveModel(dimension, tasks=tasks + earlier, earlier=earlier)
        if len(some):
            part = data[some]
            model.fit(part.places, part.fidelities, part.tasks, part.values)
        found.append(model.hyperparameters)
    return found


def _parts(size: int) -> list[NDArray[np.int64]]:
    """The observations of each fit."""
    if size < FEW:
        return [np.arange(size)]
    rng, part = np.random.default_rng(size), min(FITTED, math.ceil(PART * size))
    return [np.sort(rng.permutation(size)[:part]) for _ in range(FITS)]
