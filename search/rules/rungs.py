"""Rungs: the steps at which successive halving compares trials, and who of them may go on."""

from __future__ import annotations

import math
from collections.abc import Callable

from search.contract import Verdict
from search.history import History, Trial
from search.records import Status, Suggestion, resume
from search.settings import whole

Group = Callable[[Trial], bool]
"""Which trials are compared with each other."""


def milestones(grace_period: int, reduction_factor: int, top: int) -> list[int]:
    """The steps below `top` at which trials are compared."""
    steps = []
    step = grace_period
    while step < top:
        steps.append(step)
        step *= reduction_factor
    return steps


def top_step(max_t: int | None, history: History) -> int:
    return min(max_t or history.horizon, history.horizon)


def judged_at_the_ends(trial: Trial, top: int, history: History) -> Verdict | None:
    """The verdict where no rung is needed: before the first report, on a broken loss, at the end."""
    if not trial.losses:
        return Verdict.CONTINUE
    if not math.isfinite(trial.loss):
        return Verdict.STOP
    if trial.step >= top:
        return Verdict.CONTINUE if top >= history.horizon else Verdict.STOP
    return None


def crossed(trial: Trial, steps: list[int]) -> int | None:
    """The highest milestone that the last report reached and the one before did not."""
    before = trial.steps[-2] if len(trial.steps) > 1 else trial.began
    return next((step for step in reversed(steps) if before < step <= trial.step), None)


def rested_at(trial: Trial, steps: list[int], top: int, history: History) -> Verdict:
    """Rest at every milestone; the promoting schedulers' judgement."""
    if (verdict := judged_at_the_ends(trial, top, history)) is not None:
        return verdict
    return Verdict.CONTINUE if crossed(trial, steps) is None else Verdict.STOP


def rung(milestone: int, history: History, belongs: Group) -> dict[int, float]:
    """Trial number → loss at the milestone, without what is not finite."""
    return {
        number: loss
        for number, loss in history.reached(milestone).items()
        if math.isfinite(loss) and belongs(history.trials[number])
    }


def promoted(milestone: int, goal: int, factor: int, history: History, belongs: Group) -> Suggestion | None:
    """The best resting trial that belongs to the top 1/factor of its rung and has not gone on to `goal`."""
    size = sum(belongs(history.trials[number]) for number in history.reached(milestone))
    losses, places = rung(milestone, history, belongs), size // factor
    best = sorted(losses, key=lambda number: (losses[number], number))[:places]
    for place, number in enumerate(best, start=1):
        trial = history.trials[number]
        if trial.status is Status.STOPPED and trial.step < goal:
            evidence = f"place {place} of {size} at step {milestone}, {places} go on to step {goal}"
            return resume(trial, until=goal, evidence=evidence)
    return None


def refuse_settings(title: str, max_t: int | None, **least: tuple[object, int]) -> None:
    """Raise ValueError for a setting, (value, least), that is no whole number or too small."""
    checked = dict(least) if max_t is None else {**least, "max_t": (max_t, 1)}
    for name, (value, smallest) in checked.items():
        whole(title, smallest, **{name: value})
