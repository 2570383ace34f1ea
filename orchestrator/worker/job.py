"""The work on a trial inside a worker process. Both engines use it; it knows neither Ray nor torch."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import failures
from orchestrator.errors import LeftAtOnce
from orchestrator.money.devices import device_name
from orchestrator.reporting import FOLDER
from orchestrator.secrets import masked
from orchestrator.worker.inherited import Inherited
from orchestrator.worker.isolation import Surroundings
from orchestrator.worker.limits import LOG, log_to
from orchestrator.worker.missing_parameter import missing_parameter
from search.work import Assignment, Killed, Notice, Placed, ProcessError, Progress, Run
from trainables.carry_out import carry_out, measured_on_test, predictions_on_test
from trainables.contract import OwnTraining
from trainables.killed import MEMORY, told_killed

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from trainables.values import Predictions


PREPARE, TEST = "prepare", "test"
WORDS_BYTES = 65536  # at the end of a log, in which to look for a trial's error

NOTHING_LEFT = "its training ended without an answer"  # why a trial that came back as it went counts as a loss


@dataclass(frozen=True)
class Order:
    """Work for a free worker: to train, or one of the jobs around the training."""

    kind: str  # "train" | "prepare" | "test"
    trial: int  # -1 for prepare
    assignment: Assignment | None = None


@dataclass
class Answer:
    """The result of a stretch of work on one trial."""

    trial: int
    progress: list[Progress] = field(default_factory=list)
    done: bool = False  # the assignment is over: finished, paused or failed
    failure: tuple[str, str, str] | None = None  # class of the error, its message, its traceback
    lost: str = ""  # a process of the training was killed from outside, and how
    unable: bool = False  # its node cannot train now, so the trial goes elsewhere


class Job:
    """Carries out one assignment, in its own surroundings and with its own log."""

    def __init__(
        self,
        sweep: Sweep,
        assignment: Assignment,
        should_pause: Callable[[], bool] | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self.trial = assignment.trial
        self._inherited = inherited
        self._config, self._space = assignment.config, sweep.space
        self._until = assignment.until
        self.folder = assignment.folder
        self._gpu = assignment.gpu

        def begin() -> Iterator[Progress | None]:
            workload, policy = sweep.workload_for(assignment.task), sweep.policy_for(assignment.config)
            if isinstance(workload, OwnTraining) and not workload.has_own_process:
                os.environ.update(_environment(assignment))  # the surroundings restore it
            return carry_out(workload, policy, assignment, should_pause)

        self._begin = begin
        self._run: Iterator[Progress | None] | None = None
        self._surroundings = Surroundings()
        self._streams: list[Any] = []

    def advance(self, patience: float) -> Answer:
        """Train until there is a report and `patience` seconds have passed.

        Shorter steps are answered together, so that reports do not slow down a fast trial. The answer comes right after
        the last step, so that the driver can say first whether a checkpoint is worth its time.
        """
        answer = Answer(self.trial)
        try:
            if self._run is None:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if self._gpu:
                    answer.progress.append(Placed(device_name("gpu")))
                answer.progress += [] if self._inherited is None else self._inherited.notices(self._config)
                with self._inside() as call:  # its own stretch, so that imports do not count as the trial's changes
                    self._run = call(self._begin)
            with self._inside() as call:
                if call(self._go_on, answer, time.perf_counter() + patience):
                    return answer
        except BaseException as error:
            if is_for_us(error):
                raise
            kind, says, detail = failure(error, self.folder.parent / LOG)
            answer.lost = killed_from_outside(error)
            if answer.lost:
                return self._left(answer)
            hint = missing_parameter(error, says, self._config, self._space)
            answer.failure = (kind, f"{says}{hint}", f"{detail.rstrip()}{hint}\n")
        return self._left(answer)

    def save(self) -> Answer:
        """Save a checkpoint at the step at which the trial was stopped."""
        answer = Answer(self.trial)
        if isinstance(self._run, Run):  # it has begun, and has a state to save (a recorded curve has none)
            try:
                with self._inside() as call:
                    answer.progress.append(call(self._run.save))
            except BaseException as error:  # the results are safe; only a resumption would cost more
                if is_for_us(error):
                    raise
                answer.progress.append(Notice(text=f"no checkpoint on leaving: {failures.said(error)}"))
        return self._left(answer)

    def leave(self) -> Answer:
        """End what the run has started (a user's script, children) now, not when the garbage collector gets there."""
        return self._left(Answer(self.trial))

    def add_writing(self, seconds: float) -> None:
        """Count time that its checkpoint took on the way to another machine."""
        if isinstance(self._run, Run):
            self._run.writing_seconds += seconds

    def _left(self, answer: Answer) -> Answer:
        told = []
        if isinstance(self._run, (Run, Generator)):
            try:
                with self._inside() as call:
                    call(self._run.close)
            except BaseException as error:  # raised by the user's own `finally`; the reports stand
                if is_for_us(error):
                    raise
                told.append(f"it raised when it was ended: {failures.said(error)}")
        told += self._run.told_at_end if isinstance(self._run, Run) else ()
        told += self._surroundings.leave()
        answer.progress += [Notice(text=text) for text in told]
        answer.done = True
        return answer

    @contextlib.contextmanager
    def _inside(self) -> Iterator[Callable[..., Any]]:
        with self._surroundings.entered() as call, log_to(self.folder.parent, self._streams):
            yield call

    def _go_on(self, answer: Answer, deadline: float) -> bool:
        """Train to the next answer; returns False when the run is over."""
        assert self._run is not None
        for item in self._run:
            if item is not None:
                answer.progress.append(item)
                ends = item.kind == "report" and item.step >= self._until
                if ends or (item.kind == "report" and time.perf_counter() >= deadline):
                    return True
        return False


def _environment(assignment: Assignment) -> dict[str, str]:
    """What a training of the user finds here, as a script finds it in its own process: its folder, seed and last step."""
    folder = assignment.folder / "files"
    folder.mkdir(parents=True, exist_ok=True)
    return {
        FOLDER: str(folder.absolute()),
        "TRIAL_SEED": str(assignment.seed),
        "TRIAL_STEPS": str(assignment.until),
    }


def is_for_us(error: BaseException) -> bool:
    """Whether the error is our own Ctrl-C, or Python's under its default signal handler, and no failure of the trial.

    A KeyboardInterrupt under another handler is a failure of the trial, and so are SystemExit and all other errors.
    """
    is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return isinstance(error, LeftAtOnce) or (isinstance(error, KeyboardInterrupt) and is_pythons)


def failure(error: BaseException, log: Path) -> tuple[str, str, str]:
    """Class of the error, its message and its traceback; for `sys.exit(2)`, the message is the error printed before it.

    The traceback has the user's frames alone; the log gets all frames.
    """
    says = failures.message(error) if isinstance(error, ProcessError) else failures.said(error)  # that class is ours
    if isinstance(error, SystemExit) and not isinstance(error.code, str):
        says = f"SystemExit: exit code {error.code or 0}"
        if words := failures.last_words(_end_of(log)) if error.code else "":
            says = f"{says}: {words}"
    if isinstance(error, ProcessError):
        frames, _, last = failures.last_traceback(_end_of(log)).rpartition("\n")
        message = failures.message(error)
        is_explained = last and message.startswith(last)
        return error_class(error), says, f"{frames}\n{message}" if is_explained else message
    with contextlib.suppress(OSError), open(log, "a", errors="backslashreplace") as file:
        file.write(masked(failures.in_full(error)))
    return error_class(error), says, failures.shown(error)


def error_class(error: BaseException) -> str:
    """The name under which failures are counted and retried; every out-of-memory error gets the same name."""
    text = failures.message(error)
    memory = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    if memory or "can't allocate memory" in text or "CUDA out of memory" in text:
        return "OutOfMemory"
    return type(error).__name__


def killed_from_outside(error: BaseException) -> str:
    """How a process of the training was killed (often for want of memory); empty if the error is the training's own."""
    text = failures.message(error)
    if isinstance(error, Killed):
        return text
    told = told_killed(text)
    return told and f"one of its processes was killed by SIGKILL, {MEMORY}: {failures.said(error)}"


def prepare(sweep: Sweep, folder: Path) -> None:
    """Make the data that all trials share; `.complete` marks it as finished, so a half made one does not count."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    surroundings = Surroundings()
    try:
        with surroundings.entered() as call, log_to(folder):
            call(sweep.workload.prepare, folder)
    finally:
        surroundings.leave()
    (folder / ".complete").touch()


def test(sweep: Sweep, assignment: Assignment) -> dict[str, float]:
    """The metrics of a trial's checkpoint on the test part; its output goes into the trial's log."""
    surroundings = Surroundings()
    try:
        with surroundings.entered() as call, log_to(assignment.folder.parent):
            return dict(call(measured_on_test, sweep.workload, assignment))
    finally:
        surroundings.leave()


def predictions(sweep: Sweep, assignment: Assignment) -> Predictions | None:
    """The answers of a trial's checkpoint to each example of the test part; None if the workload gives none."""
    surroundings = Surroundings()
    try:
        with surroundings.entered() as call, log_to(assignment.folder.parent):
            found: Predictions | None = call(predictions_on_test, sweep.workload, assignment)
            return found
    finally:
        surroundings.leave()


def other(sweep: Sweep, order: Order, shared: Path) -> tuple[dict[str, float], str]:
    """Carry out a prepare or test order; returns the metrics, and the traceback if it failed."""
    try:
        if order.kind == PREPARE:
            prepare(sweep, shared)
            return {}, ""
        assert order.assignment is not None
        return test(sweep, order.assignment), ""
    except BaseException as error:
        if is_for_us(error):
            raise
        return {}, failures.shown(error)


def _end_of(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - WORDS_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
