"""How the run itself went: whether its search is over, who lost a worker, who was tested, what failed alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.records import Began, End, Lost, Over, Record, Status, Tested

if TYPE_CHECKING:
    from search.history import Trial


class RunState:
    """What the rules of a sweep read beside the trials; grown by the history."""

    def __init__(self) -> None:
        self.over = ""  # why the search is over; empty: it is not
        self.losses: dict[int, list[int]] = {}  # trial → its last recorded step at each time it lost its worker
        self.tested: set[int] = set()
        self.has_reported = False  # something has worked
        self.farthest = 0  # the step that trials have got to for sure
        self.failures: list[str] = []  # since the run was last taken up: why trials failed that got as far as any other

    def add(self, record: Record, trial: Trial | None) -> None:
        """Take `record`, which is no report, in after the history; `trial` is the one it is about."""
        if trial is None:
            if isinstance(record, Over):
                self.over = record.reason
            elif isinstance(record, Began):
                self.failures.clear()
                self.over = "" if record.change else self.over
        elif isinstance(record, End):
            # Beyond its last step, if it was left there in peace.
            self._get_to(trial.step + (record.status in (Status.STOPPED, Status.COMPLETED)))
            if record.status is Status.FAILED and trial.step >= self.farthest:
                self.failures.append(record.reason)
        elif isinstance(record, Lost):
            self.losses.setdefault(trial.number, []).append(trial.step)
        elif isinstance(record, Tested):
            self.tested.add(trial.number)

    def report(self, step: int) -> None:
        """A trial has reported `step`."""
        self.has_reported = True
        self._get_to(step)

    def _get_to(self, step: int) -> None:
        """A trial has got to `step`: what others fail of before it is no mistake that all share."""
        if step > self.farthest:
            self.farthest = step
            self.failures.clear()
