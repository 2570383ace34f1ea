"""Hyperband: successive halving in several brackets, from many short trials to few full ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, NamedTuple

from search.contract import Scheduler, Verdict
from search.history import History, Trial
from search.records import Status, Suggestion, resume
from search.rules.rungs import in_words, promoted, refuse_settings, rested_at, rung, top_step


class Rung(NamedTuple):
    """The number of trials that train to this step."""

    trials: int
    step: int


@dataclass(frozen=True)
class Hyperband(Scheduler):
    """Pauses every trial at the milestones of its bracket and resumes the best of each.

    Use when   you do not know how early a loss curve predicts the end: each bracket assumes another answer.
               With BohbSearch as the searcher it is BOHB.
    Costs      as AshaPromote: checkpoints at the rungs. Some of the trials get a full training in any case.
    Settings   reduction_factor (3): how hard to cut. grace_period (1): the fewest steps that a bracket starts with.
               max_t (None: the horizon): no trial trains longer. synchronous (False): promote from a rung only when
               all trials of its bracket and round are there, exactly as many as the table says.
    Not for    few trials: a round has 143 of them at a horizon of 81; with fewer, use Asha.
    Source     Li et al., Hyperband, JMLR 2018, algorithm 1; asynchronous brackets as in Li et al., A System for
               Massively Parallel Hyperparameter Tuning, MLSys 2020.
    Differs    asynchronous: every bracket is an ASHA that promotes, over all rounds together. A trial's bracket is a
               function of its number; the brackets of a round take turns in proportion to their sizes, so a sweep
               that ends early has run some trials of each.

    >>> scheduler = Hyperband(reduction_factor=3)
    """

    reduction_factor: int = 3
    grace_period: int = 1
    max_t: int | None = None
    synchronous: bool = False

    resumes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        refuse_settings(
            "Hyperband",
            self.max_t,
            reduction_factor=(self.reduction_factor, 2),
            grace_period=(self.grace_period, 1),
        )

    def judge(self, trial: Trial, history: History) -> Verdict:
        top = top_step(self.max_t, history)
        steps = [rung.step for rung in self._table(history)[self.bracket(trial, history)][:-1]]
        return rested_at(trial, steps, top, history)

    def promote(self, history: History) -> Suggestion | None:
        resting = history.having(Status.STOPPED)
        if self.synchronous:
            cohorts = sorted({self._cohort(trial, history) for trial in resting})
            suggestions = (self._promoted_together(cohort, history) for cohort in cohorts)
            return next((suggestion for suggestion in suggestions if suggestion is not None), None)
        table = self._table(history)
        turns = _turns(table)
        groups = {(trial.task, turns[trial.number % len(turns)]) for trial in resting}
        places = [
            (here.step, following.step, task, bracket)
            for task, bracket in groups
            for here, following in pairwise(table[bracket])
        ]
        for step, goal, task, bracket in sorted(places, reverse=True):  # the top rung first

            def belongs(trial: Trial, task: str = task, bracket: int = bracket) -> bool:
                return turns[trial.number % len(turns)] == bracket and trial.task == task

            if (suggestion := promoted(step, goal, self.reduction_factor, history, belongs)) is not None:
                return suggestion
        return None

    def _promoted_together(self, cohort: tuple[int, int, str], history: History) -> Suggestion | None:
        """The cohort's next trial to resume, from the lowest rung up; None while some are still on their way to it."""
        table = self._table(history)[cohort[1]]
        round_size = sum(bracket[0].trials for bracket in self._table(history))
        if history.room and len(history.trials) < (cohort[0] + 1) * round_size:
            return None
        group = {trial.number for trial in history if self._cohort(trial, history) == cohort}
        for here, following in pairwise(table):
            trials = [history.trials[number] for number in group]
            if any(trial.status is Status.RUNNING and trial.step < here.step for trial in trials):
                return None
            losses = rung(here.step, history, lambda trial, group=group: trial.number in group)  # type: ignore[misc]
            best = sorted(losses, key=lambda number: (losses[number], number))[: following.trials]
            for place, number in enumerate(best, start=1):
                trial = history.trials[number]
                if trial.status is Status.STOPPED and trial.step < following.step:
                    evidence = f"place {place} of {len(group)} at step {here.step}, {following.trials} go on"
                    return resume(trial, until=following.step, evidence=evidence)
            group = set(best)
        return None

    def cuts(self, horizon: int) -> str:
        table = brackets(min(self.max_t or horizon, horizon), self.reduction_factor, self.grace_period)
        steps = sorted({rung.step for bracket in table for rung in bracket[:-1]})
        if not steps:
            return ""
        return (
            f"at {in_words(steps)}, depending on its bracket, a trial pauses, and the best 1/{self.reduction_factor} of the "
            "bracket continue"
        )

    def _table(self, history: History) -> tuple[tuple[Rung, ...], ...]:
        return brackets(top_step(self.max_t, history), self.reduction_factor, self.grace_period)

    def bracket(self, trial: Trial, history: History) -> int:
        turns = _turns(self._table(history))
        return turns[trial.number % len(turns)]

    def _cohort(self, trial: Trial, history: History) -> tuple[int, int, str]:
        """Round, bracket and task: the trials that are compared with each other if all wait for each other."""
        return trial.number // len(_turns(self._table(history))), self.bracket(trial, history), trial.task


@lru_cache(maxsize=64)
def brackets(max_t: int, reduction_factor: int = 3, grace_period: int = 1) -> tuple[tuple[Rung, ...], ...]:
    """Hyperband's table of one round: the rungs of each bracket, the bracket with the shortest trials first."""
    most = 0
    while grace_period * reduction_factor ** (most + 1) <= max_t:  # integers, as log(81, 3) is not 4 in floats
        most += 1
    return tuple(_halving(s, most, max_t, reduction_factor) for s in range(most, -1, -1))


def _halving(s: int, most: int, max_t: int, factor: int) -> tuple[Rung, ...]:
    trials = -((most + 1) * factor**s // -(s + 1))  # rounded up
    return tuple(Rung(trials // factor**i, max(1, round(max_t / factor ** (s - i)))) for i in range(s + 1))


@lru_cache(maxsize=64)
def _turns(table: tuple[tuple[Rung, ...], ...]) -> tuple[int, ...]:
    """The bracket of each trial of a round: always the one furthest behind its share."""
    sizes = [bracket[0].trials for bracket in table]
    turns: list[int] = []
    counts = [0] * len(sizes)
    for turn in range(1, sum(sizes) + 1):
        lag = [size * turn / sum(sizes) - count for size, count in zip(sizes, counts, strict=True)]
        chosen = lag.index(max(lag))
        counts[chosen] += 1
        turns.append(chosen)
    return tuple(turns)
