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
GROWTH = 1.3  # fit again when the number of results has grown by this factor
FEWEST = 4  # results at a fidelity whose ranks count for the skill
MANY = 8.0  # results at a fidelity beyond which more do not count for more: the deep ones are few
EXPECTED = 0.3  # the skill before any result: half of the turns, because a model that gets no turn cannot show any
UNKNOWN = 5.0  # results that this expectation weighs as much as

Hyperparameters = list[float]
"""All numbers of a fitted model, in a fixed order."""


@dataclass(frozen=True)
class CurveFits:
    """The curve model's fits as recorded in the history, and the size of the data that they were fitted to."""

    shape: list[int]  # columns of an encoded place, tasks, earlier sweeps
    results: int
    fits: list[Hyperparameters]
    skill: float  # rank correlation, among the better half, of results with forecasts made without them, 0 to 1

    @staticmethod
    def latest(history: History) -> CurveFits | None:
        """The latest recorded fits; None if there are none, or if the note has another form."""
        match history.note("curves"):
            case {
                "shape": [*shape],
                "results": int(results),
                "fits": [_, *_] as found,
                "skill": int() | float() as skill,
            }:
                return CurveFits(shape, results, found, skill)
        return None

    @property
    def memo(self) -> str:
        """The note, for `Suggestion.memo`."""
        return json.dumps({"curves": asdict(self)})


def fits(
    history: History, known: Sequence[Configuration], fidelities: Sequence[Fidelity], encode: Encoding
) -> tuple[CurveFits, str]:
    """The fits to choose from, and the memo for the next suggestion ("": nothing new).

    A fit uses the results known when the latest suggestion was made. So it can be made while that suggestion's results
    are still pending, and a decision does not depend on whether it was.
    """
    settled = [each for each in known if history.under_way.isdisjoint(trial.number for trial in each.trials)]
    results = sum(max(1, each.reached + 1) for each in settled if each.reached >= 0 or each.broken)
    shape = [encode.dimension, len({each.task for each in fidelities}), len(history.earlier)]
    latest = CurveFits.latest(history)
    if latest is not None and latest.shape == shape and results < GROWTH * latest.results:
        return latest, ""
    asked, found = _ahead.get(history, (-1, None))
    if asked != history.asked or found is None:
        transforms = OutcomeTransforms(
            [trial for each in settled for trial in each.trials], [each.task for each in fidelities]
        )
        data = training_data(history, settled, fidelities, transforms, encode)
        found = CurveFits(shape, results, *_fitted(data, shape))
        _ahead[history] = history.asked, found
    return found, found.memo


_ahead: WeakKeyDictionary[History, tuple[int, CurveFits]] = WeakKeyDictionary()


def _fitted(data: Observations, shape: Sequence[int]) -> tuple[list[Hyperparameters], float]:
    from search.models.gp import CurveModel

    dimension, tasks, earlier = shape
    found, skills = [], []
    for some in _parts(len(data)):
        model = CurveModel(dimension, tasks=tasks + earlier, earlier=earlier)
        if len(some):
            part = data[some]
            model.fit(part.places, part.fidelities, part.tasks, part.values)
        found.append(model.hyperparameters)
        if len(data):
            model.condition(data.places, data.fidelities, data.tasks, data.values)
            skills.append(_skill(data, model.left_out(data.groups)))
    return found, round(float(np.mean(skills)), 3) if skills else 0.0


def _skill(data: Observations, expected: NDArray[np.float64]) -> float:
    """Rank correlation of the better half of the results at each fidelity with `expected`, 0 to 1.

    Nearly any model tells the good from the many bad; a search has to choose among the good. It is a mean over the
    fidelities and tasks, weighted by their numbers of results, of at most `MANY` each; near `EXPECTED` for few results.
    """
    found, weight = UNKNOWN * EXPECTED, UNKNOWN
    ours = data.groups >= 0
    for fidelity, task in sorted({*zip(data.fidelities[ours].tolist(), data.tasks[ours].tolist(), strict=True)}):
        at = np.flatnonzero(ours & (data.fidelities == fidelity) & (data.tasks == task))
        at = at[np.sort(np.unique(data.groups[at], return_index=True)[1])]  # copies count once
        half = max(FEWEST, (len(at) + 1) // 2)
        at = at[np.argsort(data.values[at], kind="stable")[:half]]
        if len(at) >= FEWEST:
            share = min(MANY, float(len(at)))
            found += share * rank_correlation(data.values[at], expected[at])
            weight += share
    return max(0.0, found / weight)


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's, -1 to 1; 0 for a sample without differences."""
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(np.ptp(rank) for rank in ranks) else 0.0


def _parts(size: int) -> list[NDArray[np.int64]]:
    """The observations of each fit."""
    if size < FEW:
        return [np.arange(size)]
    rng, part = np.random.default_rng(size), min(FITTED, math.ceil(PART * size))
    return [np.sort(rng.permutation(size)[:part]) for _ in range(FITS)]
