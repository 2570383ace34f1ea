"""How far trials get if their results come in random order: what a scheduler saves, before anything is measured."""

from __future__ import annotations

import numpy as np

from search.contract import Scheduler, derived_seed
from search.history import History
from search.records import Began, End, Judged, Report, Status, Suggestion
from search.rules.conduct import Rules, after_report, next_move
from search.schedulers.run_to_end import RunToEnd
from search.searchers.random import Random
from search.space import Space, uniform

TRIALS = 40
LEFT_OUT = 5  # the first trials get further than all later ones, because nobody is there to compare them with
MOST_REPORTS = 2000
SPACE = Space({"rank": uniform(0.0, 1.0)})


_known: dict[
    tuple[int, int], tuple[Scheduler, tuple[int, ...]]
] = {}  # by id: a scheduler with a list in it has no hash


def lengths_in_random_order(scheduler: Scheduler, horizon: int) -> tuple[int, ...]:
    """The steps at which `TRIALS` trials come to rest, one after the other, each with a loss that does not change."""
    key = id(scheduler), horizon
    if key not in _known:
        _known[key] = scheduler, _lengths(scheduler, horizon)  # with the scheduler, so that its id stays its own
    return _known[key][1]


def _lengths(scheduler: Scheduler, horizon: int) -> tuple[int, ...]:
    if isinstance(scheduler, RunToEnd):
        return (horizon,)
    history, rules = History(SPACE, horizon=horizon, seed=1, limit=TRIALS), Rules()
    history.append(Began())
    reports = 0
    while reports < MOST_REPORTS and isinstance(move := next_move(history, Random(), scheduler, rules), Suggestion):
        trial = history.append(move)
        loss = derived_seed("loss", trial.number) / 2**32
        while trial.status is Status.RUNNING and reports < MOST_REPORTS:
            reports += 1
            history.append(Report(trial.number, trial.step + 1, loss + 1 / (trial.step + 1)))
            for record in after_report(trial, history, scheduler, rules):
                if isinstance(record, (End, Judged)):
                    history.append(record)
            if trial.status is Status.RUNNING and trial.step >= history.goal(trial):
                history.append(End(trial.number, Status.STOPPED, "rests"))
    rested = [trial.step for trial in history if trial.status is not Status.RUNNING]
    return tuple(rested[LEFT_OUT:] or rested or [horizon])


def full_trainings_of(scheduler: Scheduler, horizon: int, trials: int) -> tuple[float, float, float]:
    """Full trainings that so many trials take in that order: the mean, and the ends of an interval of 80 %."""
    lengths = np.array(lengths_in_random_order(scheduler, horizon)) / horizon
    rng = np.random.default_rng(0)
    drawn = rng.choice(lengths, size=(500, trials)).sum(axis=1)
    low, high = np.quantile(drawn, [0.1, 0.9])
    return float(drawn.mean()), float(low), float(high)
