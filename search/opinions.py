"""The settings of a curve model: found now and then, from several parts of the data, and kept with a suggestion.

Most probable settings are too sure of themselves. Those found from different parts of the observations differ where
the data does not say; a search that goes by one of them at each turn does not always look at the same place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from search.arms import Arm, Stage
from search.candidates import Encoding
from search.history import History
from search.observations import Observations, observed
from search.scale import Scales

OPINIONS = 3
PART = 0.8  # of the observations, for each opinion,
FITTED = 160  # but not more
FEW = 30  # observations make one opinion
GROWTH = 1.3  # settings are found again when there are so many times more trials

Settings = list[float]


def opinions(
    history: History, known: Sequence[Arm], ladder: Sequence[Stage], encode: Encoding
) -> tuple[list[Settings], str]:
    """The settings to choose from, and what has to be remembered with the next suggestion ("": nothing new).

    They are found from what was known when the latest suggestion was made. So this can be done while its results are
    still awaited, and a decision does not depend on whether it was.
    """
    settled = [arm for arm in known if history.under_way.isdisjoint(trial.number for trial in arm.trials)]
    trials = sum(arm.stage >= 0 or arm.broken for arm in settled)
    shape = [encode.dimension, len({stage.task for stage in ladder}), len(history.earlier)]
    match history.note("curves"):
        case {"shape": known_shape, "trials": int(then), "settings": [_, *_] as settings}:
            if known_shape == shape and trials < GROWTH * then:
                return settings, ""
    asked, found = _ahead.get(history, (-1, []))
    if asked != history.asked:
        scales = Scales([trial for arm in settled for trial in arm.trials], [stage.task for stage in ladder])
        found = _fitted(observed(history, settled, ladder, scales, encode), shape)
        _ahead[history] = history.asked, found
    return found, json.dumps({"curves": {"shape": shape, "trials": trials, "settings": found}})


_ahead: WeakKeyDictionary[History, tuple[int, list[Settings]]] = WeakKeyDictionary()


def _fitted(data: Observations, shape: Sequence[int]) -> list[Settings]:
    from search.gp import CurveModel

    dimension, tasks, earlier = shape
    found = []
    for some in _parts(len(data)):
        model = CurveModel(dimension, tasks=tasks + earlier, earlier=earlier)
        if len(some):
            part = data[some]
            model.fit(part.places, part.fidelities, part.tasks, part.values)
        found.append(model.settings)
    return found


def _parts(size: int) -> list[NDArray[np.int64]]:
    """The observations that each opinion is made of."""
    if size < FEW:
        return [np.arange(size)]
    rng, part = np.random.default_rng(size), min(FITTED, math.ceil(PART * size))
    return [np.sort(rng.permutation(size)[:part]) for _ in range(OPINIONS)]
