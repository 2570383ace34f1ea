"""Asynchronous successive halving: many trials get a little training, the best of them get more."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from search.contract import Scheduler, Verdict
from search.history import History, Trial
from search.records import Status, Suggestion
from search.rules.rungs import (
    crossed,
    in_words,
    judged_at_the_ends,
    milestones,
    promoted,
    refuse_settings,
    rested_at,
    rung,
    top_step,
)


@dataclass(frozen=True)
class Asha(Scheduler):
    """Stops a trial at a milestone if it is not in the best 1/reduction_factor of those before it.

    Use when   losses at an early step predict the end, and there are many trials.
    Costs      no extra training. A report between two milestones costs nothing, one at a milestone a pass over
               its rung.
    Settings   grace_period (1): steps that every trial gets. reduction_factor (4): how hard to cut; the milestones
               are grace_period * reduction_factor^k. max_t (None: the horizon): no trial trains longer.
    Not for    workloads that start slowly by design (long warm-up): raise grace_period.
    Source     Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020, algorithm 2; the
               stopping variant as in Ray Tune's ASHAScheduler.
    Differs    a trial that does not report at a milestone is judged at its first report beyond it; one report
               beyond several milestones enters all those rungs and is judged at the highest (Ray enters only the
               highest, and judges a later loss against a lower rung). Ties continue. Trials of different
               tasks are not compared; a loss that is not finite takes a place in a rung but never a promotion.

    A trial continues unless it is clearly behind those *before* it, so the scheduler never waits and never goes back to a
    stopped trial. `AshaPromote` pauses every trial at each milestone instead.

    >>> scheduler = Asha(grace_period=2, reduction_factor=3)
    """

    grace_period: int = 1
    reduction_factor: int = 4
    max_t: int | None = None

    def __post_init__(self) -> None:
        _check_settings(self)

    def judge(self, trial: Trial, history: History) -> Verdict:
        top = top_step(self.max_t, history)
        if (verdict := judged_at_the_ends(trial, top, history)) is not None:
            return verdict
        milestone = crossed(trial, milestones(self.grace_period, self.reduction_factor, top))
        if milestone is None:
            return Verdict.CONTINUE
        losses = rung(milestone, history, partial(_is_of, trial.task))
        before = [loss for number, loss in losses.items() if number != trial.number]
        if not before:
            return Verdict.CONTINUE
        cutoff = np.quantile(before, 1 / self.reduction_factor)
        return Verdict.STOP if trial.loss > cutoff else Verdict.CONTINUE

    def cuts(self, horizon: int) -> str:
        steps = milestones(self.grace_period, self.reduction_factor, min(self.max_t or horizon, horizon))
        if not steps:
            return ""
        return (
            f"at {in_words(steps)} (or the next report), a trial stops unless it is in the best 1/{self.reduction_factor} so far; "
            "raise grace_period if early results are noisy"
        )


@dataclass(frozen=True)
class AshaPromote(Scheduler):
    """Pauses every trial at each milestone and resumes the best 1/reduction_factor of a rung, the top rung first.

    A decision uses everything known by then, where `Asha` compares a trial with those before it. It needs checkpoints.
    The settings and the source are those of `Asha`.

    >>> scheduler = AshaPromote(grace_period=2)
    """

    grace_period: int = 1
    reduction_factor: int = 4
    max_t: int | None = None

    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_settings(self)

    def judge(self, trial: Trial, history: History) -> Verdict:
        top = top_step(self.max_t, history)
        return rested_at(trial, milestones(self.grace_period, self.reduction_factor, top), top, history)

    def promote(self, history: History) -> Suggestion | None:
        if not history.count(Status.STOPPED):
            return None
        top = top_step(self.max_t, history)
        tasks = sorted({trial.task for trial in history.having(Status.STOPPED)})
        goal = top
        for milestone in reversed(milestones(self.grace_period, self.reduction_factor, top)):
            for task in tasks:
                suggestion = promoted(milestone, goal, self.reduction_factor, history, partial(_is_of, task))
                if suggestion is not None:
                    return suggestion
            goal = milestone
        return None

    def cuts(self, horizon: int) -> str:
        steps = milestones(self.grace_period, self.reduction_factor, min(self.max_t or horizon, horizon))
        if not steps:
            return ""
        return f"at {in_words(steps)}, every trial pauses, and the best 1/{self.reduction_factor} continue"


def _is_of(task: str, trial: Trial) -> bool:
    return trial.task == task


def _check_settings(settings: Asha | AshaPromote) -> None:
    title = type(settings).__name__
    refuse_settings(
        title,
        settings.max_t,
        grace_period=(settings.grace_period, 1),
        reduction_factor=(settings.reduction_factor, 2),
    )
    if settings.max_t is not None and settings.max_t < settings.grace_period:
        raise ValueError(
            f"{title}(grace_period={settings.grace_period}, max_t={settings.max_t}): every trial gets "
            f"grace_period steps, so max_t must be at least as large; try max_t=None."
        )
