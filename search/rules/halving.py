"""Fallback halving: insurance against a misled model. While nothing improves, it gets a share of the cost.

Successive halving of random configurations has no model that could be wrong: at each fidelity the best third of them
continues. The model learns from their results, too, and gets every turn again as soon as something improves. A search
that is stuck becomes about as good as successive halving at half of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from search.history import History, Trial
from search.models.fidelities import Configuration, Fidelity
from search.models.outcome_transform import OutcomeTransforms
from search.origins import COVERING
from search.records import Status

PATIENCE = 0.5  # halving starts after this share of all cost without an improvement, …
LEAST = 3.0  # … and at least this many full trainings' cost
NEXT_TO_NOTHING = 0.01  # of a transformed loss: a smaller improvement does not count
ETA = 3  # one in this many continues, to this many times the cost


def overdue(history: History, known: Sequence[Configuration], transforms: OutcomeTransforms, share: float) -> str:
    """Why this turn should go to halving, whose cost since the last improvement is below its `share`; "" if not."""
    trials = sorted(
        (trial for configuration in known for trial in configuration.trials), key=lambda trial: trial.number
    )
    latest = _latest_improvement(trials, transforms)
    if latest is None:
        return ""
    later = [(_cost(trial, history), trial.first_origin in COVERING) for trial in trials if trial.number > latest]
    since = math.fsum(cost for cost, _ in later)
    if (
        since < max(LEAST, PATIENCE * history.spent)
        or math.fsum(cost for cost, is_random in later if is_random) >= share * since
    ):
        return ""
    return f"nothing better for the cost of {since:.1f} full trainings"


def halved(
    history: History, known: Sequence[Configuration], resting: Sequence[Configuration], fidelities: Sequence[Fidelity], first: int = 0
) -> tuple[Configuration, Fidelity] | None:
    """The next promotion by halving among the random ones of `known`: configuration and fidelity; or None."""
    random = [each for each in known if each.trials[0].first_origin in COVERING]
    may_go_on = {id(each) for each in resting}
    rungs = _rungs(fidelities, first)
    for rung, goal in reversed(list(pairwise(rungs))):
        task, seen = fidelities[rung].task, history.reached(fidelities[rung].steps)
        losses = {
            index: min(
                (seen.get(t.number, math.inf) for t in each.trials if t.task == task and not t.broke), default=math.inf
            )
            for index, each in enumerate(random)
            if each.reached >= rung
        }
        places = len(losses) // ETA
        for index in sorted(losses, key=lambda index: (losses[index], index))[:places]:
            best = random[index]
            if id(best) in may_go_on and best.reached < goal:
                return best, fidelities[goal]
    return None


def _rungs(fidelities: Sequence[Fidelity], first: int) -> list[int]:
    """The fidelity `first`, then each that costs `ETA` times as much as the one before, and the last."""
    rungs = [first]
    for number, fidelity in enumerate(fidelities):
        if fidelity.cost >= ETA * fidelities[rungs[-1]].cost:
            rungs.append(number)
    return rungs if rungs[-1] == len(fidelities) - 1 else [*rungs, len(fidelities) - 1]


def _latest_improvement(trials: Sequence[Trial], transforms: OutcomeTransforms) -> int | None:
    """The number of the last trial that was, on its task, better than all before it by `NEXT_TO_NOTHING` or more."""
    found = []
    for task in {trial.task for trial in trials}:
        of = [trial for trial in trials if trial.task == task and trial.losses and not trial.broke]
        values = transforms(task, np.array([min(trial.losses) for trial in of]))
        best = math.inf
        for trial, value in zip(of, values, strict=True):
            if value < best - NEXT_TO_NOTHING:
                best, latest = value, trial.number
        if of:
            found.append(latest)
    return max(found, default=None)


def _cost(trial: Trial, history: History) -> float:
    """The trial's cost in full trainings; of a running one, its cost until it comes to rest."""
    steps = history.goal(trial) if trial.status is Status.RUNNING else trial.step
    return steps / history.steps(trial.task) * history.cost_of(trial.task)
