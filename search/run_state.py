"""The state of the run: whether its search is over, which trials lost a worker or were tested, what failed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from search.records import Began, End, Lost, Over, Record, Retry, Status, Suggestion, Tested

if TYPE_CHECKING:
    from search.history import Trial


OUT_OF_BUDGET = "the budget of "  # how the reason begins with which a spent budget stops a trial
FOR_THE_SEARCH = "were for the search and are used up"  # in the reason of a search that leaves its finalists the rest
TARGET = "the target is reached"


class RunState:
    """What the rules of a sweep need to know beside the trials; the history updates it."""

    def __init__(self) -> None:
        self.over = ""  # why the search is over; empty: it is not
        self.losses: dict[int, list[int]] = {}  # trial → its last recorded step at each loss of its worker
        self.tested: set[int] = set()
        self.has_reported = False  # whether any trial has reported
        self.farthest = 0  # the step that trials have certainly reached
        self.unpaid: dict[int, None] = {}  # trials that a spent budget stopped, in order
        self.to_retry: dict[int, None] = {}  # failed trials that wait for another try, in order
        self.retried: set[int] = set()  # trials for which another try was asked
        self.failures: list[str] = []  # of this run: why trials failed that had got as far as any other
        self.is_measured = False  # whether any report was finite
        self.diverged_at_once: list[str] = []  # of this run: why trials diverged at their first report

    def add(self, record: Record, trial: Trial | None) -> None:
        """Add `record`, which is not a report, after the history has; `trial` is the one it concerns."""
        if trial is None:
            if isinstance(record, Over):
                self.over = record.reason
            elif isinstance(record, Began):
                self.failures.clear()
                self.diverged_at_once.clear()
                self.over = "" if record.change else self.over
        elif isinstance(record, Suggestion):
            self.unpaid.pop(trial.number, None)
            self.to_retry.pop(trial.number, None)
        elif isinstance(record, End):
            if record.status is Status.STOPPED and record.reason.startswith(OUT_OF_BUDGET):
                self.unpaid[trial.number] = None
            # A trial that ended without an error got beyond its last step.
            self._get_to(trial.step + (record.status in (Status.STOPPED, Status.COMPLETED)))
            if record.status is Status.FAILED and trial.step >= self.farthest:
                self.failures.append(record.reason)
            if record.status is Status.DIVERGED and len(trial.steps) == 1:
                self.diverged_at_once.append(record.reason)
        elif isinstance(record, Lost):
            self.losses.setdefault(trial.number, []).append(trial.step)
        elif isinstance(record, Retry):
            self._retry(trial.number)
        elif isinstance(record, Tested):
            self.tested.add(trial.number)

    def report(self, step: int, loss: float) -> None:
        """Record that a trial has reported `step`."""
        self.has_reported = True
        self.is_measured = self.is_measured or math.isfinite(loss)
        self._get_to(step)

    def _retry(self, number: int) -> None:
        """Record that a failed trial is to be tried again: the search goes on, unless its target is reached."""
        self.to_retry[number] = None
        self.retried.add(number)
        if number in self.losses:
            self.losses[number] = []  # what cost it its workers is mended
        self.over = self.over if self.over.startswith(TARGET) else ""

    def _get_to(self, step: int) -> None:
        """Record that a trial reached `step`; failures before that step are then not common to all trials."""
        if step > self.farthest:
            self.farthest = step
            self.failures.clear()
