"""Rungs: the steps at which successive halving compares trials, and the choice of those that continue."""

from __future__ import annotations

import math
from collections.abc import Callable

from search.contract import Verdict
from search.history import History, Trial
from search.records import Status, Suggestion, resume
from search.settings import whole

Group = Callable[[Trial], bool]
"""Says which trials are compared with each other."""


def milestones(grace_period: int, reduction_factor: int, top: int) -> list[int]:
    """The steps below `top` at which trials are compared."""
    steps = []
    step = grace_period
    while step < top:
        steps.append(step)
        step *= reduction_factor
    return steps


def in_words(steps: list[int]) -> str:
    """
    >>> in_words([1]), in_words([1, 4, 16])
    ('step 1', 'steps 1, 4 and 16')
    """
    *others, last = map(str, steps)
    return f"steps {', '.join(others)} and {last}" if others else f"step {last}"


def top_step(max_t: int | None, history: History) -> int:
    return min(max_t or history.horizon, history.horizon)


def judged_at_the_ends(trial: Trial, top: int, history: History) -> Verdict | None:
    """The verdict in cases that need no rung: before the first report, at a loss that is not finite, at the end."""
    if not trial.losses:
        return Verdict.CONTINUE
    if not math.isfinite(trial.loss):
        return Verdict.STOP
    if trial.step >= top:
        return Verdict.CONTINUE if top >= history.horizon else Verdict.STOP
    return None


def crossed(trial: Trial, steps: list[int]) -> int | None:
    """The highest milestone that the last report reached and the report before did not."""
    before = trial.steps[-2] if len(trial.steps) > 1 else trial.began
    return next((step for step in reversed(steps) if before < step <= trial.step), None)


def rested_at(trial: Trial, steps: list[int], top: int, history: History) -> Verdict:
    """Stop at every milestone: the verdict of the promoting schedulers."""
    if (verdict := judged_at_the_ends(trial, top, history)) is not None:
        return verdict
    return Verdict.CONTINUE if crossed(trial, steps) is None else Verdict.STOP


def rung(milestone: int, history: History, belongs: Group) -> dict[int, float]:
    """Trial number → loss at the milestone, finite losses only."""
    return {
        number: loss
        for number, loss in history.reached(milestone).items()
        if math.isfinite(loss) and belongs(history.trials[number])
    }


def promoted(milestone: int, goal: int, factor: int, history: History, belongs: Group) -> Suggestion | None:
    """Resume the best resting trial in the top 1/factor of its rung that has not continued to `goal`; None if none."""
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
    """Raise ValueError for a setting, (value, least), that is not a whole number or too small."""
    checked = dict(least) if max_t is None else {**least, "max_t": (max_t, 1)}
    for name, (value, smallest) in checked.items():
        whole(title, smallest, **{name: value})
