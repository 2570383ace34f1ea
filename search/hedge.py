"""A way out of a place that a model wrongly believes to be the best: successive halving, which believes nothing.

While nothing gets better, a share of what is spent goes to random configurations and the promotion of the best third
of them at each stage. Whatever they find, the model learns from as well; as soon as something is better, it has all
turns again. A search that is stuck so becomes about as good as successive halving at half of the cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from search.arms import Arm, Stage
from search.history import History, Trial
from search.records import Status
from search.scale import UNCHOSEN, Scales

PATIENCE = 0.5  # of all that was spent may pass without anything better,
LEAST = 3.0  # and so many full trainings' cost
NEXT_TO_NOTHING = 0.01  # on the scale of the losses: who is better by less is no better
ETA = 3  # one in so many goes on, to so many times the cost


def overdue(history: History, known: Sequence[Arm], scale: Scales, share: float) -> str:
    """Why a turn should go to successive halving: `share` of the cost since something got better did not. "": it need not."""
    trials = sorted((trial for arm in known for trial in arm.trials), key=lambda trial: trial.number)
    latest = _latest_improvement(trials, scale)
    if latest is None:
        return ""
    later = [(_cost(trial, history), trial.first_origin in UNCHOSEN) for trial in trials if trial.number > latest]
    since = math.fsum(cost for cost, _ in later)
    if (
        since < max(LEAST, PATIENCE * history.spent)
        or math.fsum(cost for cost, hedged in later if hedged) >= share * since
    ):
        return ""
    return f"nothing better for the cost of {since:.1f} full trainings"


def halved(
    history: History, known: Sequence[Arm], resting: Sequence[Arm], ladder: Sequence[Stage]
) -> tuple[Arm, Stage] | None:
    """What successive halving of the random configurations among `known` takes on next, and to which stage."""
    unchosen = [arm for arm in known if arm.trials[0].first_origin in UNCHOSEN]
    may_go_on = {id(arm) for arm in resting}
    rungs = _rungs(ladder)
    for rung, goal in reversed(list(pairwise(rungs))):
        task, seen = ladder[rung].task, history.reached(ladder[rung].steps)
        losses = {
            index: min(
                (seen.get(t.number, math.inf) for t in arm.trials if t.task == task and not t.broke), default=math.inf
            )
            for index, arm in enumerate(unchosen)
            if arm.stage >= rung
        }
        places = len(losses) // ETA
        for index in sorted(losses, key=lambda index: (losses[index], index))[:places]:
            arm = unchosen[index]
            if id(arm) in may_go_on and arm.stage < goal:
                return arm, ladder[goal]
    return None


def _rungs(ladder: Sequence[Stage]) -> list[int]:
    """Of the stages, the first, those that cost `ETA` times as much as the one before, and the last."""
    rungs = [0]
    for number, stage in enumerate(ladder):
        if stage.cost >= ETA * ladder[rungs[-1]].cost:
            rungs.append(number)
    return rungs if rungs[-1] == len(ladder) - 1 else [*rungs, len(ladder) - 1]


def _latest_improvement(trials: Sequence[Trial], scale: Scales) -> int | None:
    """The number of the last trial that was better, on its task, than all before it by more than next to nothing."""
    found = []
    for task in {trial.task for trial in trials}:
        of = [trial for trial in trials if trial.task == task and trial.losses and not trial.broke]
        values = scale(task, np.array([min(trial.losses) for trial in of]))
        best = math.inf
        for trial, value in zip(of, values, strict=True):
            if value < best - NEXT_TO_NOTHING:
                best, latest = value, trial.number
        if of:
            found.append(latest)
    return max(found, default=None)


def _cost(trial: Trial, history: History) -> float:
    """In full trainings, with what it is going to cost until it comes to rest."""
    steps = history.goal(trial) if trial.status is Status.RUNNING else trial.step
    return steps / history.steps(trial.task) * history.cost_of(trial.task)
