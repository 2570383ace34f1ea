"""Carry out an assignment in this process: the training loop with checkpoints, pauses and forks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from search import work
from search.work import Assignment, Notice, Paused, Progress, Saved
from trainables.contract import Workload
from trainables.execution import gpu_memory
from trainables.execution.store import Store, describe
from trainables.pausing import Pausing
from trainables.training.codec import Unsavable
from trainables.training.device import compute_device, measure, placed, predict
from trainables.training.model_state import measured_weights, put_model
from trainables.values import Predictions

WRITING_SHARE = 0.02  # of the training time may go into checkpoints that nobody asked for
WITHIN_A_STEP = 5.0  # seconds between two checkpoints, if one is due after each step and a step takes longer


class Training(Protocol):
    """A training to carry out: `trainables.training.loop.Training`, or the user's (`execution.generator`)."""

    @property
    def step(self) -> int:
        """Reports so far."""

    @property
    def diverged(self) -> bool: ...

    @property
    def place(self) -> tuple[int, int]:
        """The place in the training: the step, and the samples into the next one."""

    def __iter__(self) -> Iterator[Progress | None]: ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: dict[str, Any]) -> None: ...

    def fork(self, state: dict[str, Any]) -> None: ...


class Run(work.Run):
    """Carries out an assignment; `trainables.carry_out` states the contract."""

    def __init__(
        self, begin: Callable[[], Training], assignment: Assignment, should_pause: Callable[[], bool] | None = None
    ) -> None:
        settle(assignment)
        self.training = begin()
        self._assignment = assignment
        self._store = Store(assignment.folder, assignment.digests)
        self._asked_to_pause = Pausing(should_pause)
        self._saved: Saved | None = None  # the last checkpoint …
        self._saved_at: tuple[int, int] | None = None  # … and its place in the training
        self._started = self._saved_time = time.perf_counter()
        self.writing_seconds = 0.0
        self._problem = ""  # why the latest checkpoint could not be written
        self._items = self._carry_out(_restore(self.training, assignment, self._store))
        for found in self._store.find()[-1:]:  # do not write again what was just loaded
            self._saved, self._saved_at = describe(found), (found.step, found.cursor)

    def __next__(self) -> Progress | None:
        return next(self._items)

    def save(self) -> Saved:
        """Write a checkpoint of the present state, unless there is one; call it between any two items."""
        training, assignment = self.training, self._assignment
        place = training.place
        if self._saved is None or self._saved_at != place:
            begun = time.perf_counter()
            step, cursor = place
            self._saved = self._store.save(training.state(), step=step, cursor=cursor)
            self._saved_at = place
            self._store.prune(recorded=assignment.recorded, pinned=assignment.pinned)
            self._saved_time = time.perf_counter()
            self.writing_seconds += self._saved_time - begun
        return self._saved

    def close(self) -> None:
        """Stop without saving."""
        self._items.close()

    def _carry_out(self, notices: list[str]) -> Generator[Progress | None]:
        for text in notices:
            yield Notice(step=self.training.step, text=text)
        if self.training.step >= self._assignment.until:  # nothing left to train: report the checkpoint again
            yield from self._checkpoint()
        steps = iter(self.training)
        try:
            yield from self._steps(steps)
        finally:
            getattr(steps, "close", lambda: None)()  # now, not when the garbage collector runs

    def _steps(self, steps: Iterator[Progress | None]) -> Iterator[Progress | None]:
        for item in steps:
            kind = "" if item is None else item.kind
            if kind == "ended":  # the training ended by itself, so it is complete; save its checkpoint first
                yield from self._checkpoint()
                yield item
                return
            yield item
            if self.training.diverged or kind in ("decision", "notice"):
                continue  # do not save diverged weights, nor save again after a decision, which trains nothing
            if self.training.step >= self._assignment.until:
                yield from self._checkpoint()
            elif self._asked_to_pause():
                yield from self._checkpoint()
                yield Paused(self.training.step)
                return
            elif self._due(reported=kind == "report"):
                yield from self._checkpoint()

    def _checkpoint(self) -> Iterator[Progress]:
        """Save a checkpoint if possible; if not, the training continues, for its weights are in memory."""
        try:
            saved = self.save()
        except Unsavable:  # no later one will be better, so the trial would lose everything if it were killed
            raise
        except Exception as error:
            self._saved_time = time.perf_counter()  # try again when the next one is due
            problem = f"{type(error).__name__} {getattr(error, 'errno', error)}"
            if problem != self._problem:
                older = "" if self._saved is None else f"; the one of step {self._saved.step} is whole"
                yield Notice(step=self.training.step, text=f"no checkpoint at step {self.training.step}, tried again later{older}: {type(error).__name__}: {error}",
                )  # fmt: skip
            self._problem = problem
        else:
            self._problem = ""
            yield saved

    def _due(self, *, reported: bool) -> bool:
        if self._assignment.checkpoint_seconds == 0 and reported:
            return True
        now = time.perf_counter()
        if now - self._saved_time < (self._assignment.checkpoint_seconds or WITHIN_A_STEP):
            return False
        return self.writing_seconds <= WRITING_SHARE * (now - self._started - self.writing_seconds)


def test(workload: Workload, assignment: Assignment) -> Mapping[str, float]:
    """Metrics on "test" of the newest checkpoint at a step <= `assignment.recorded`."""
    return measure(workload, _restored(workload, assignment), "test")


def predictions(workload: Workload, assignment: Assignment) -> Predictions | None:
    """The answers of that checkpoint to each example of "test"; None if the workload is no classifier."""
    return predict(workload, _restored(workload, assignment), "test")


def _restored(workload: Workload, assignment: Assignment) -> torch.nn.Module:
    settle(assignment)
    state = saved(assignment)
    model = workload.model(assignment.config, assignment.prepared)
    put_model(model, measured_weights(state))
    return placed(model, workload.execution, compute_device())


def saved(assignment: Assignment) -> dict[str, Any]:
    """The state of the newest checkpoint at a step <= `assignment.recorded`; FileNotFoundError if there is none."""
    state, notices = Store(assignment.folder, assignment.digests).newest(assignment.recorded)
    if state is None:
        raise _missing(assignment.folder, f"up to step {assignment.recorded}", notices)
    return state


def _restore(training: Training, assignment: Assignment, store: Store) -> list[str]:
    """Bring the training to the trial's last usable checkpoint; returns notices for the user."""
    limit = max(assignment.recorded, assignment.parent_step if assignment.parent else 0)
    state, notices = store.newest(limit)
    if state is not None:
        training.load(state)
        store.clean(*training.place)
        if state["threads"] != assignment.threads:
            torch.set_num_threads(assignment.threads)
            change = f"saved with {state['threads']}, going on with {assignment.threads}"
            notices.append(f"another number of threads ({change}): the last digits may differ")
        return notices
    store.clean(-1, 0)
    if assignment.parent is not None:
        notices += _fork(training, Store(assignment.parent, assignment.digests), assignment.parent_step)
    if assignment.recorded > training.step:
        notices.append(_without_checkpoint(assignment, training.step))
    torch.set_num_threads(assignment.threads)
    return notices


def _without_checkpoint(assignment: Assignment, step: int) -> str:
    if any(Path(path).is_relative_to(assignment.folder) for path in assignment.digests):
        return f"no usable checkpoint: trained again from step {step}"
    return (
        f"no checkpoint yet, so trained again from step {step}: a trial whose state can be saved writes its first one when it is as "
        "old as Sweep(checkpoint_seconds=…), 5 s by default"
    )


def _fork(training: Training, parent: Store, step: int) -> list[str]:
    """Fork from the parent's state at exactly this step; an older one would give another training."""
    state, notices = parent.newest(step, on_the_way=False)
    if state is None or state["step"] != step:
        raise _missing(parent.folder, f"at step {step}", notices)
    training.fork(state)
    return notices


def _missing(folder: Path, where: str, notices: list[str]) -> FileNotFoundError:
    return FileNotFoundError("; ".join([f"{folder} has no usable checkpoint {where}", *notices]))


def settle(assignment: Assignment) -> None:
    """Make the process compute identical bits each time, on the CPUs and the share of a GPU granted to the trial."""
    torch.set_num_threads(assignment.threads)
    gpu_memory.claim(assignment.gpu / assignment.workers)
    torch.backends.cudnn.benchmark = False  # it would pick the kernel that happened to be fastest
    torch.backends.cudnn.deterministic = True
