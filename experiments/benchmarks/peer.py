"""Our searchers and schedulers for the harness whose optimisers have suggest/started/report/finished.

Such a harness owns the clock and the curves. It asks `suggest(now)` when a worker is free, and is answered
("start", config), ("resume", trial) or None (wait); it says `started` for each new trial and `report` for each
epoch, and is answered "continue", "pause" (the trial may be resumed at its last epoch) or "stop" (it may not).
The optimiser learns of costs only from the times of its reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import History, Trial
from search.records import Status
from search.space import Float, Int, Space
from search.task import FULL, Task


class Peer:
    """Any searcher with any scheduler, as one optimiser."""

    def __init__(
        self,
        params: Sequence[Mapping[str, Any]],
        max_epoch: int,
        seed: int = 0,
        *,
        searcher: Searcher,
        scheduler: Scheduler | None = None,
        tasks: Sequence[Task] = (),
        earlier: Sequence[History] = (),
    ) -> None:
        self.tuning = AskAndTell(
            space_of(params), searcher, scheduler, horizon=max_epoch, seed=seed, tasks=tasks, earlier=earlier
        )
        self._asked: Trial | None = None  # handed out, its harness number not known yet
        self._ours: dict[Any, Trial] = {}  # their number → our trial
        self._theirs: dict[int, Any] = {}
        self._since: dict[int, float] = {}  # our number → when its step under way began

    def suggest(self, now: float) -> tuple[str, Any] | None:
        trial = self.tuning.ask()
        if trial is None:
            return None
        self._since[trial.number] = now
        suggestion = trial.suggestion
        if suggestion.kind == "resume":
            return "resume", self._theirs[trial.number]
        if suggestion.kind == "fork" or not self._is_full(trial):
            what = "a fork" if suggestion.kind == "fork" else f"the task {trial.task!r}"
            raise ValueError(
                f"{self.tuning.searcher!r} suggested {what}, and recorded curves have none; use Task.epochs."
            )
        self._asked = trial
        return "start", dict(trial.config)

    def started(self, trial_id: Any, config: Mapping[str, Any]) -> None:
        assert self._asked is not None
        assert dict(config) == dict(self._asked.config)
        self._ours[trial_id] = self._asked
        self._theirs[self._asked.number] = trial_id
        self._asked = None

    def report(self, trial_id: Any, epoch: int, value: float, elapsed: float) -> str:
        trial = self._ours[trial_id]
        cost = elapsed - self._since[trial.number]
        self._since[trial.number] = elapsed
        if self.tuning.tell(trial, epoch, float(value), cost_seconds=cost):
            return "continue"
        return "pause" if trial.status is Status.STOPPED else "stop"

    def finished(self, trial_id: Any, epoch: int, value: float) -> None:
        """The curve has ended; its last report said so already."""

    def _is_full(self, trial: Trial) -> bool:
        task = next((task for task in self.tuning.history.tasks if task.name == trial.task), None)
        return trial.task == FULL if task is None else task.name == FULL or task.resumes


def space_of(params: Sequence[Mapping[str, Any]]) -> Space:
    """The space of a table: for each parameter its name, type ("int" or "float"), low, high and log."""
    return Space({str(given["name"]): _parameter(given) for given in params})


def _parameter(given: Mapping[str, Any]) -> Any:
    low, high, log = given["low"], given["high"], bool(given.get("log", False))
    if low == high:
        return low
    return Int(int(low), int(high), log) if given["type"] == "int" else Float(low, high, log)
