"""No early stopping: every trial trains to the horizon.

Use when   early steps say nothing about the end, or as the baseline for the other schedulers.
Costs      the full training of every trial.
Settings   none.
Not for    bad configurations that can be told early: use Median or Asha.
Differs    a loss that is NaN or infinite stops, as under every scheduler.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.contract import Scheduler, Verdict
from search.history import History, Trial


@dataclass(frozen=True)
class RunToEnd(Scheduler):
    """Lets every sound trial go on.

    >>> scheduler = RunToEnd()
    """

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.CONTINUE if not trial.losses or math.isfinite(trial.loss) else Verdict.STOP
