"""The median rule: stop a trial whose best loss so far is worse than the median of the others' mean losses."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from statistics import median
from weakref import WeakKeyDictionary

from search.contract import Scheduler, Verdict
from search.history import History, Trial
from search.settings import whole


@dataclass(frozen=True)
class Median(Scheduler):
    """Stops trials whose best loss is worse than the median of the others' running means.

    Use when   trials should be judged at every step with little risk: it stops only trials that are clearly behind.
    Costs      no extra training; one look at every trial for each report.
    Settings   grace_period (1): no trial is stopped before this step. min_trials (5): how many others must have
               got as far before a trial is judged.
    Not for    cutting hard: about half of the trials run to the end; use Asha.
    Source     Golovin et al., Google Vizier, KDD 2017, section 3.2.2.
    Differs    the others are all trials of the same task that got at least as far, running ones included; a mean
               that is not finite counts as infinitely bad; ties continue.

    >>> scheduler = Median(grace_period=3)
    """

    grace_period: int = 1
    min_trials: int = 5

    def __post_init__(self) -> None:
        whole("Median", 1, grace_period=self.grace_period, min_trials=self.min_trials)

    def judge(self, trial: Trial, history: History) -> Verdict:
        if not trial.losses:
            return Verdict.CONTINUE
        if not math.isfinite(trial.loss):
            return Verdict.STOP
        if trial.step < self.grace_period or trial.step >= history.horizon:
            return Verdict.CONTINUE
        means = [
            _mean_up_to(trial.step, other)
            for other in history.trials
            if other is not trial and other.task == trial.task and other.reach >= trial.step
        ]
        if len(means) < self.min_trials:
            return Verdict.CONTINUE
        return Verdict.STOP if min(trial.losses) > median(means) else Verdict.CONTINUE

    def cuts(self, horizon: int) -> str:
        if self.grace_period >= horizon:
            return ""
        return (
            f"from step {self.grace_period}, once {self.min_trials} others got as far: a trial stops whose best result is "
            "worse than the median of their means"
        )


_running_means: WeakKeyDictionary[Trial, list[float]] = WeakKeyDictionary()


def _mean_up_to(step: int, trial: Trial) -> float:
    """The mean of the losses up to `step`; memoised, because every judgement needs it for every trial."""
    means = _running_means.setdefault(trial, [])
    for count in range(len(means) + 1, len(trial.losses) + 1):
        before = means[-1] if means else 0.0
        mean = before + (trial.losses[count - 1] - before) / count
        means.append(mean if math.isfinite(mean) else math.inf)
    index = bisect_right(trial.steps, step) - 1
    return means[index] if index >= 0 else math.inf
