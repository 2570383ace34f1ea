"""Asynchronous successive halving: many trials get a little training, the best of them get more.

Use when   loss curves at an early step tell something about the end, and trials are many.
Costs      no extra training. A report between two milestones costs nothing, one at a milestone a pass over
           its rung.
Settings   grace_period (1): steps every trial is given. reduction_factor (4): how hard to cut; the milestones
           are grace_period * reduction_factor^k. max_t (None: the horizon): no trial trains longer.
Not for    workloads that start slowly by design (long warm-up): raise grace_period.
Source     Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020, algorithm 2; the
           stopping variant as in Ray Tune's ASHAScheduler.
Differs    a trial that does not report at a milestone is judged at its first report beyond it; one report
           beyond several milestones enters all those rungs and is judged at the highest (Ray enters the
           highest only, and judges a later loss against a lower rung). Ties continue. Trials of different
           tasks are not compared; a loss that is not finite takes a place in a rung but never a promotion.

`Asha` lets a trial run on unless it is clearly behind those *before* it, so it never waits and never returns;
`AshaPromote` rests every trial at each milestone and resumes the best, so a decision uses all that is known
by then, at the price of checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from search.base import Scheduler, Verdict
from search.trial import History, Status, Suggestion, Trial, resume


@dataclass(frozen=True)
class Asha(Scheduler):
    """Stops a trial at a milestone if it is not in the best 1/reduction_factor of those before it."""

    grace_period: int = 1
    reduction_factor: int = 4
    max_t: int | None = None

    def __post_init__(self) -> None:
        _check_settings(self)

    def judge(self, trial: Trial, history: History) -> Verdict:
        top = _top(self, history)
        if (verdict := _judged_at_the_ends(trial, top, history)) is not None:
            return verdict
        milestone = _crossed(trial, milestones(self.grace_period, self.reduction_factor, top))
        if milestone is None:
            return Verdict.CONTINUE
        before = [loss for number, loss in _rung(milestone, trial.task, history).items() if number != trial.number]
        if not before:
            return Verdict.CONTINUE
        cutoff = np.quantile(before, 1 / self.reduction_factor)
        return Verdict.STOP if trial.loss > cutoff else Verdict.CONTINUE


@dataclass(frozen=True)
class AshaPromote(Scheduler):
    """Rests every trial at each milestone and resumes the best 1/reduction_factor of a rung, the top rung first."""

    grace_period: int = 1
    reduction_factor: int = 4
    max_t: int | None = None

    def __post_init__(self) -> None:
        _check_settings(self)

    def judge(self, trial: Trial, history: History) -> Verdict:
        top = _top(self, history)
        if (verdict := _judged_at_the_ends(trial, top, history)) is not None:
            return verdict
        crossed = _crossed(trial, milestones(self.grace_period, self.reduction_factor, top))
        return Verdict.CONTINUE if crossed is None else Verdict.STOP

    def promote(self, history: History) -> Suggestion | None:
        if not history.count(Status.STOPPED):
            return None
        top = _top(self, history)
        goal = top
        for milestone in reversed(milestones(self.grace_period, self.reduction_factor, top)):
            for task in sorted({trial.task for trial in history.having(Status.STOPPED)}):
                if (promoted := self._promoted(milestone, goal, task, history)) is not None:
                    return promoted
            goal = milestone
        return None

    def _promoted(self, milestone: int, goal: int, task: str, history: History) -> Suggestion | None:
        """The best resting trial that belongs to the top of its rung and has not gone on to `goal`."""
        size = sum(history.trials[number].task == task for number in history.reached(milestone))
        rung, places = _rung(milestone, task, history), size // self.reduction_factor
        best = sorted(rung, key=lambda number: (rung[number], number))[:places]
        for place, number in enumerate(best, start=1):
            trial = history.trials[number]
            if trial.status is Status.STOPPED and trial.step < goal:
                evidence = f"place {place} of {size} at step {milestone}, {places} go on to step {goal}"
                return resume(trial, until=goal, evidence=evidence)
        return None


def milestones(grace_period: int, reduction_factor: int, top: int) -> list[int]:
    """The steps below `top` at which trials are compared."""
    steps = []
    step = grace_period
    while step < top:
        steps.append(step)
        step *= reduction_factor
    return steps


def _top(settings: Asha | AshaPromote, history: History) -> int:
    return min(settings.max_t or history.horizon, history.horizon)


def _judged_at_the_ends(trial: Trial, top: int, history: History) -> Verdict | None:
    """The verdict where no rung is needed: before the first report, on a broken loss, at the end."""
    if not trial.losses:
        return Verdict.CONTINUE
    if not math.isfinite(trial.loss):
        return Verdict.STOP
    if trial.step >= top:
        return Verdict.CONTINUE if top >= history.horizon else Verdict.STOP
    return None


def _crossed(trial: Trial, steps: list[int]) -> int | None:
    """The highest milestone that the last report reached and the one before did not."""
    before = trial.steps[-2] if len(trial.steps) > 1 else trial.began
    return next((step for step in reversed(steps) if before < step <= trial.step), None)


def _rung(milestone: int, task: str, history: History) -> dict[int, float]:
    """Trial number → loss at the milestone, for this task, without what is not finite."""
    return {
        number: loss
        for number, loss in history.reached(milestone).items()
        if math.isfinite(loss) and history.trials[number].task == task
    }


def _check_settings(settings: Asha | AshaPromote) -> None:
    title = type(settings).__name__
    for name, least in (("grace_period", 1), ("reduction_factor", 2), ("max_t", 1)):
        value = getattr(settings, name)
        if value is None and name == "max_t":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{title}({name}={value!r}): must be a whole number, {least} or more.")
    if settings.max_t is not None and settings.max_t < settings.grace_period:
        raise ValueError(
            f"{title}(grace_period={settings.grace_period}, max_t={settings.max_t}): every trial is given "
            f"grace_period steps, so max_t must be at least as much; try max_t=None."
        )
