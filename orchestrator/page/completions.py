"""The completed full trainings of a run in order, each with what the run had cost by then: the axis of every curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.page.recorded import Recorded
from search.history import Trial
from search.records import FINALIST


@dataclass(frozen=True)
class Completion:
    """A full training of the search that has ended with a finite loss."""

    trial: Trial
    cost: float  # of the whole run until then, in full trainings
    seconds: float  # of training until then, over all workers
    incumbent: float  # the lowest loss so far, this one included


@dataclass(frozen=True)
class Completions:
    """All of them in order, and the cost of the run."""

    each: tuple[Completion, ...]
    cost: float
    seconds: float


def completions(run: Recorded, *, repetitions: bool = False) -> Completions:
    """One pass over the reports in order of their arrival. `repetitions` of finalists cost, or are left out."""
    history, ends = run.history, {trial.number: trial.step for trial in run.full}
    shares = {task: history.cost_of(task) / history.steps(task) for task in {trial.task for trial in history}}
    reached = {trial.number: trial.began for trial in history}
    found: list[Completion] = []
    cost, seconds, best = 0.0, 0.0, math.inf
    for row in run.rows["report"]:
        trial = history.trials[row["trial"]]
        if trial.first_origin == FINALIST and not repetitions:
            continue
        cost += (row["step"] - reached[trial.number]) * shares[trial.task]
        seconds += row["cost_seconds"]
        reached[trial.number] = row["step"]
        if ends.get(trial.number) == row["step"] and math.isfinite(trial.loss):
            best = min(best, trial.loss)
            found.append(Completion(trial, cost, seconds, best))
    return Completions(tuple(found), cost, seconds)
