"""Work as the process that carries it out sees it. Both engines use it; it knows neither Ray nor torch."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from search.work import Assignment, Progress, Run

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


PREPARE, TEST = "prepare", "test"


@dataclass(frozen=True)
class Order:
    """What a free worker shall do: train, or one of the jobs around the training."""

    kind: str  # "train" | "prepare" | "test"
    trial: int  # -1 for prepare
    assignment: Assignment | None = None


@dataclass
class Answer:
    """What came of a stretch of work on one trial."""

    trial: int
    progress: list[Progress] = field(default_factory=list)
    done: bool = False  # the assignment is over: finished, paused or failed
    failure: tuple[str, str] | None = None  # class of the error, traceback


class Job:
    """One assignment being carried out."""

    def __init__(self, sweep: Sweep, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> None:
        self.trial = assignment.trial
        self._until = assignment.until
        assignment.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

        def begin() -> Run:
            return sweep.workload_for(assignment.task).run(
                sweep.policy_for(assignment.config), assignment, should_pause
            )

        self._begin = begin
        self._run: Run | None = None

    def advance(self, patience: float) -> Answer:
        """Train until there is something to tell and `patience` seconds have gone by.

        Steps that take less are answered together, so that a fast trial is not slowed by its reports. After the
        last step the driver is asked first whether a checkpoint is worth its time.
        """
        answer = Answer(self.trial)
        deadline = time.perf_counter() + patience
        try:
            if self._run is None:
                self._run = self._begin()
            for item in self._run:
                if item is not None:
                    answer.progress.append(item)
                    ends = item.kind == "report" and item.step >= self._until
                    if ends or (item.kind == "report" and time.perf_counter() >= deadline):
                        return answer
        except Exception as error:
            answer.failure = (error_class(error), traceback.format_exc())
        self.leave()
        answer.done = True
        return answer

    def save(self) -> Answer:
        """A checkpoint of where the trial is left by the scheduler."""
        answer = Answer(self.trial, done=True)
        if self._run is None or not hasattr(self._run, "save"):
            return answer  # not begun, or a run that keeps nothing (a recorded curve)
        try:
            answer.progress.append(self._run.save())
        except Exception as error:  # the trial's results are safe; only its resumption costs more
            answer.progress.append(
                Progress("notice", text=f"no checkpoint on leaving: {type(error).__name__}: {error}")
            )
        self.leave()
        return answer

    def leave(self) -> None:
        """End what the run has started (a user's script), now and not when memory is cleaned up."""
        close = getattr(self._run, "close", None)
        if close is not None:
            close()


def error_class(error: BaseException) -> str:
    """The name that failures are counted and retried by; running out of memory has many faces, one name."""
    text = str(error)
    memory = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    if memory or "can't allocate memory" in text or "CUDA out of memory" in text:
        return "OutOfMemory"
    return type(error).__name__


def prepare(sweep: Sweep, folder: Path) -> None:
    """Make what all trials share; complete or not there, whatever interrupts it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    sweep.workload.prepare(folder)
    (folder / ".complete").touch()
