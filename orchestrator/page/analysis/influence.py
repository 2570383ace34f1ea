"""The importance of parameters at each stage of a sweep, conditional parameters among the trials that have them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from orchestrator.page.analysis.columns import Column, columns_of, places
from orchestrator.page.analysis.importance import Importance, TooFew, importance
from orchestrator.page.analysis.stages import Stage, stages
from orchestrator.page.recorded import Recorded
from search.history import History

MOST_STAGES = 3  # the end, the first and a middle one: each costs half a second
_FOUND: WeakKeyDictionary[History, list[Influence]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Bar:
    """The importance of one parameter at one stage; all three are shares of the variance of ranks."""

    name: str
    share: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether the interval lies above zero."""
        return self.low > 0


@dataclass(frozen=True)
class Influence:
    """The parameters at one stage. `missing`: why some have no bar, in words."""

    stage: Stage
    bars: tuple[Bar, ...]  # the most important first
    explained: float | None  # by all parameters that are always active; None: too few trials
    trials: int
    used: int
    missing: tuple[tuple[str, str], ...] = ()  # where, why


def searched_in(run: Recorded) -> list[Column]:
    """The searched parameters that a trial has."""
    return [column for column in columns_of(run.about) if any(column.name in t.config for t in run.history)]


def influences_in(run: Recorded) -> list[Influence]:
    """`influences` of a run, found once: two sections of the page need it."""
    if run.history not in _FOUND:
        columns = searched_in(run)
        _FOUND[run.history] = influences(run.history, columns) if columns else []
    return _FOUND[run.history]


def influences(history: History, columns: Sequence[Column]) -> list[Influence]:
    """For up to `MOST_STAGES` stages, the end of the training last."""
    found = stages(history)
    if len(found) > MOST_STAGES:
        found = [found[0], found[(len(found) - 1) // 2], found[-1]]
    return [influence(history, stage, columns) for stage in found]


def influence(history: History, stage: Stage, columns: Sequence[Column]) -> Influence:
    """Trains nothing again: forests on the recorded results of one stage; a diverged training counts as the worst."""
    numbers = sorted(stage.results.keys() | stage.diverged)
    losses = {n: math.inf if n in stage.diverged else stage.results[n] for n in numbers}
    always = [column for column in columns if not column.when]
    whole = _of(history, numbers, losses, always, columns)
    bars, missing = _bars(whole, [column.name for column in always]), []
    if isinstance(whole, TooFew) and always:
        missing.append((stage.name, str(whole)))
    for condition in dict.fromkeys(column.when for column in columns if column.when):
        own = [column for column in columns if column.when == condition]
        having = [n for n in numbers if all(column.name in history.trials[n].config for column in own)]
        some = _of(history, having, losses, [*always, *own], columns)
        bars += _bars(some, [column.name for column in own])
        if isinstance(some, TooFew):
            missing.append((f"{stage.name} with {condition}", str(some)))
    explained, used = (None, 0) if isinstance(whole, TooFew) else (whole.explained, whole.used)
    order = sorted(bars, key=lambda bar: -bar.share)
    return Influence(stage, tuple(order), explained, len(numbers), used, tuple(missing))


def _of(
    history: History, numbers: Sequence[int], losses: dict[int, float], wanted: Sequence[Column], all_: Sequence[Column]
) -> Importance | TooFew:
    """Of the parameters `wanted`; the others are given to the forest too, so that it need not take them for noise."""
    shown = [*wanted, *(column for column in all_ if column not in wanted)]
    rows = places(shown, [history.trials[n].config for n in numbers])
    return importance([column.name for column in shown], rows, np.array([losses[n] for n in numbers]))


def _bars(found: Importance | TooFew, names: Sequence[str]) -> list[Bar]:
    if isinstance(found, TooFew):
        return []
    each = zip(found.names, found.share, found.low, found.high, strict=True)
    return [Bar(name, share, low, high) for name, share, low, high in each if name in names]
