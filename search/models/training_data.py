"""The training data of the curve model: a selection of a sweep's results, transformed to a common scale."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.history import History, Trial, lessons
from search.models.candidates import Encoding
from search.models.copies import twins_of
from search.models.fidelities import Configuration, Fidelity, level
from search.models.outcome_transform import WORST, OutcomeTransform, OutcomeTransforms
from search.records import Status
from search.space import Space, Vector
from search.task import FULL

Array = NDArray[np.float64]

MOST = 300  # observations of this sweep
EARLIER = 60  # observations of an earlier one
IN_FULL = 30  # the best configurations whose every rung is shown; with many trials, a quarter of them
UNKNOWN = WORST + 1  # stands for the value of a configuration without any: behind all others


@dataclass(frozen=True)
class Observations:
    """Columns of equal length; `observations[indices]` selects some of the rows."""

    places: Array  # (n, dimension): encoded configurations
    fidelities: Array
    tasks: Array  # whole numbers
    values: Array
    groups: Array  # whole numbers: the configuration of each, or the one that it copies; negative: of earlier sweeps

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, indices: NDArray[np.int64]) -> Observations:
        return Observations(
            self.places[indices], self.fidelities[indices], self.tasks[indices], self.values[indices],
            self.groups[indices],
        )  # fmt: skip


def training_data(
    history: History,
    known: Sequence[Configuration],
    fidelities: Sequence[Fidelity],
    transforms: OutcomeTransforms,
    encode: Encoding,
) -> Observations:
    """The results of `known` and of earlier sweeps, which are numbered as tasks after this sweep's own."""
    rows = _thinned(_rows(known, fidelities, transforms), MOST)
    for task, earlier in enumerate(history.earlier, start=len({each.task for each in fidelities})):
        rows += _earlier_rows(earlier, history.space, task)
    return Observations(
        encode(np.array([row.unit for row in rows]).reshape(len(rows), history.space.dimension)),
        np.array([row.fidelity for row in rows]),
        np.array([row.task for row in rows], dtype=float),
        np.array([row.value for row in rows]),
        np.array([row.group for row in rows], dtype=int),
    )


@dataclass(frozen=True)
class _Row:
    """One observation for the model."""

    unit: Vector
    fidelity: float
    task: int
    value: float  # on the scale of its task
    rank: int  # rank of its configuration by the latest results; 0 is the best
    is_latest: bool  # whether it is its trial's latest observation
    group: int  # index of its configuration, or of the one that it copies; −1: of an earlier sweep


def _rows(known: Sequence[Configuration], fidelities: Sequence[Fidelity], transforms: OutcomeTransforms) -> list[_Row]:
    """The results of the trials: every rung for the best, the first and the latest for the others."""
    horizon = max(each.steps for each in fidelities if each.is_full)
    rungs = {each.steps: each.level for each in fidelities if each.is_full}
    steps = sorted(rungs)
    indices = {each.task: each.index for each in fidelities}
    order = np.argsort(_latest(known, transforms), kind="stable")
    ranks = {int(index): rank for rank, index in enumerate(order)}
    in_full = max(IN_FULL, len(known) // 4)
    rows: list[_Row] = []
    measured: dict[str, list[_Row]] = {}  # task → its rows, with the loss as the value
    twins = twins_of(known)
    for index, configuration in enumerate(known):
        rank, group = ranks[index], twins.get(index, index)
        if configuration.broken:  # its good values before it broke must not attract the search
            last = next(t for t in reversed(configuration.trials) if t.broke)
            at = level(min(max(1, last.step), horizon), horizon) if last.task == FULL else 1.0
            rows.append(_Row(configuration.unit, at, indices[last.task], WORST, rank, True, group))
            continue
        for trial in configuration.trials:
            for step in _shown_steps(trial, steps, rank < in_full):
                at = rungs.get(step, level(min(step, horizon), horizon)) if trial.task == FULL else 1.0
                loss, is_latest = _loss_from(trial, step), step == trial.reach
                row = _Row(configuration.unit, at, indices[trial.task], loss, rank, is_latest, group)
                measured.setdefault(trial.task, []).append(row)
    for task, of_task in measured.items():
        values = transforms(task, np.array([row.value for row in of_task]))
        rows += [replace(row, value=float(value)) for row, value in zip(of_task, values, strict=True)]
    return rows


def _shown_steps(trial: Trial, rungs: Sequence[int], every: bool) -> list[int]:
    """The steps of `trial` that the model sees: all its rungs (`every`) or only the first, and the latest step."""
    step = trial.reach
    if not trial.step or (trial.task != FULL and trial.status is not Status.COMPLETED):
        return []
    if trial.task != FULL:
        return [step]
    passed = bisect_left(rungs, step)
    return [*rungs[: passed if every else min(passed, 1)], step]


def _loss_from(trial: Trial, step: int) -> float:
    """The loss at `step`, or at the first report beyond it."""
    loss = trial.loss_at(step)
    return trial.losses[bisect_left(trial.steps, step)] if loss is None else loss


def _thinned(rows: list[_Row], most: int) -> list[_Row]:
    """At most `most` rows: the latest of the best, a spread of the latest of the others, then the rungs of the best."""
    if len(rows) <= most:
        return rows
    latest = sorted((row for row in rows if row.is_latest), key=lambda row: (row.rank, row.task))
    rungs = sorted((row for row in rows if not row.is_latest), key=lambda row: (row.rank, row.fidelity))
    best, others = latest[: most * 4 // 10], latest[most * 4 // 10 :]
    spread = others[:: math.ceil(len(others) / (most * 3 // 10))] if others else []
    return best + spread + rungs[: most - len(best) - len(spread)]


def _latest(known: Sequence[Configuration], transforms: OutcomeTransforms) -> Array:
    """The latest value of each configuration's latest trial; the worst if there is none."""
    values = np.full(len(known), UNKNOWN)
    last = [None if each.broken else next((t for t in reversed(each.trials) if t.steps), None) for each in known]
    for task in {trial.task for trial in last if trial is not None}:
        of_task = {index: trial.loss for index, trial in enumerate(last) if trial is not None and trial.task == task}
        values[list(of_task)] = transforms(task, np.array(list(of_task.values())))
    return values


def _earlier_rows(earlier: History, space: Space, task: int) -> list[_Row]:
    """The latest result of each trial of an earlier sweep; if there are many, the best and a spread of the others."""
    trials = lessons(earlier, space)
    if not trials:
        return []
    values = OutcomeTransform.of(trials)(np.array([trial.loss for trial in trials]))
    order = sorted(range(len(trials)), key=lambda index: (trials[index].loss, trials[index].number))
    if len(order) > EARLIER:
        others = order[EARLIER // 2 :]
        order = order[: EARLIER // 2] + others[:: math.ceil(len(others) / (EARLIER // 2))]
    return [
        _Row(
            space.to_unit(trials[index].config),
            level(min(trials[index].step, earlier.horizon), earlier.horizon),
            task, float(values[index]), rank, True, -1,
        )
        for rank, index in enumerate(order)
    ]  # fmt: skip
