"""No early stopping: every trial trains to the horizon."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.contract import Scheduler, Verdict
from search.history import History, Trial


@dataclass(frozen=True)
class RunToEnd(Scheduler):
    """Lets every trial continue to the horizon, unless its loss is NaN or infinite.

    Use when   losses at early steps do not predict the end, or as the baseline for the other schedulers.
    Costs      the full training of every trial.
    Settings   none.
    Not for    trials that show early that they are bad: use Median or Asha.
    Differs    stops a trial whose loss is NaN or infinite, as every scheduler does.

    >>> scheduler = RunToEnd()
    """

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.CONTINUE if not trial.losses or math.isfinite(trial.loss) else Verdict.STOP
