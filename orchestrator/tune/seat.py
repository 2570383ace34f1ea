"""A seat: the worker process that Tune starts. Every worker imports this file, so it imports little."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray import tune

from orchestrator.tune.file_sync import FileSync
from orchestrator.tune.home import DISK, Home
from orchestrator.tune.left_behind import left_behind
from orchestrator.worker.disk import UNWRITABLE, disk_trouble, names_disk
from orchestrator.worker.inherited import Inherited
from orchestrator.worker.job import Answer, Job, Order, other
from orchestrator.worker.limits import data_limit, limited, noted, watched
from search.work import Hosted, Notice
from trainables.ranks import without_ranks

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from search.work import Assignment

PATIENCE = 0.1  # seconds: reports that come faster than this travel together
START_SECONDS = 60.0  # more than `max_silence` for the first report after a trial's start: it loads torch and the data
SENDING_SHARE = 0.02  # of the time may go into sending files that nobody waits for
LOOK_SECONDS = 5.0  # between two looks whether a node can train again …
WAIT_SECONDS = 60.0  # … and before the first, if only another try can tell
IDLE = 0.1  # seconds: how long a seat without work waits before it asks again


class Seat(tune.Trainable):  # type: ignore[misc]
    """A worker process: carries out its orders, one `step` for each answer."""

    def setup(self, config: dict[str, Any]) -> None:
        self._home: Home = config["home"]
        self._home.enter()
        self._sweep: Sweep = ray.get(config["sweep"][0])
        self._inherited = Inherited(self._sweep.workload)
        self._sync = None if self._home.is_seen else FileSync(self._home)
        self._home.check(self._sweep.workload)  # its data and scripts are on this node, too
        self._unable: tuple[str, str] | None = None  # why this node cannot train now
        self._look_at = 0.0  # when to look again
        self._order: Order | None = None
        self._job: Job | None = None
        self._next: Order | None = None
        self._leave = self._save = False
        self._is_new = True
        self._memory_limit: int | None = None
        for name in os.environ.keys() - without_ranks(os.environ):
            del os.environ[name]
        if threading.current_thread() is threading.main_thread():
            # A signal to all processes of the job is the driver's business: it lets the trials save. Ray's handler would
            # end the training. A KeyboardInterrupt here is the training's own.
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.signal(signal.SIGTERM, partial(end_if_forked, os.getpid()))
        # Blocked for Ray's servers (see keeper.py); what a training starts must be able to end by them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})

    def assign(self, order: Order | None, save: bool) -> None:
        """Called by the driver before the next `step`: leave the present trial (saved or not) and start `order`."""
        self._next, self._leave, self._save = order, True, save

    def step(self) -> dict[str, Any]:
        """Work until there is something to report."""
        result: dict[str, Any] = {"pid": os.getpid()}
        if self._home.token:
            result["node"] = ray.get_runtime_context().get_node_id()
        if self._leave:
            if self._job is not None:
                result["left"] = self._sent(self._job.save() if self._save else self._job.leave())
            self._order, self._job = self._next, None
            self._leave = False
        if "left" in result:
            return result  # at once: the trial may be resumed elsewhere
        if self._order is None:
            time.sleep(IDLE)
            self._look_again()
        elif self._order.kind == "train":
            result["answer"] = self._train(self._order)
        else:
            order, self._order = self._order, None
            self._unable = self._home.trouble()
            if self._unable is None:
                result["job"] = self._other(order)
        if self._unable is not None:
            result["unable"] = self._unable
        return result

    def _look_again(self) -> None:
        if self._unable is not None and time.monotonic() >= self._look_at:
            if self._sync is not None:
                self._sync.tidy()
            self._unable, self._look_at = self._home.trouble(), time.monotonic() + LOOK_SECONDS

    def _train(self, order: Order) -> Answer:
        """Begin or continue the order's trial, until it has something to say."""
        assignment, is_first = order.assignment, self._job is None
        assert assignment is not None
        job = self._begin(order.trial, assignment) if self._job is None else self._job
        if isinstance(job, Answer):
            self._order = None
            return job
        self._job = job
        silence, own = self._sweep.silence_seconds, assignment.folder.parent
        patience = 0.0 if self._is_new or (silence and is_first) else PATIENCE
        if silence and is_first:
            silence += START_SECONDS  # a script imports and loads its data at each start
        with contextlib.suppress(OSError):  # a full disk: the job says so
            own.mkdir(parents=True, exist_ok=True, mode=0o700)
        with noted(own), watched(own, silence), limited(self._memory_limit):
            answer = job.advance(patience)
        self._is_new = False
        if is_first and self._home.token:
            answer.progress.insert(0, Hosted(socket.gethostname()))
        return self._told(answer, own)

    def _begin(self, trial: int, assignment: Assignment) -> Job | Answer:
        """The job of the assignment, with its files here; an answer if this node cannot train it."""
        self._unable = self._home.trouble()
        if self._unable is not None:
            return Answer(trial, done=True, unable=True)
        pausing = self._home.places.pause_file.exists
        if self._sync is not None:
            pausing = self._sync.is_pausing
            try:
                self._fetch(self._sync, assignment)
            except OSError as error:
                if error.errno in UNWRITABLE:
                    self._wait(f"it cannot write: {error.strerror}")
                    return Answer(trial, done=True, unable=True)
                return Answer(trial, done=True, lost=f"its files did not get to this node: {error.strerror}")
        job = Job(self._sweep, assignment, pausing, self._inherited)
        self._memory_limit = data_limit(self._sweep.memory_bytes)
        return job

    def _told(self, answer: Answer, own: Path) -> Answer:
        """The answer as the driver gets it, its files sent; after the last one, the seat has no job."""
        if answer.failure is not None and self._home.token:
            answer.unable = self._blame_disk(answer)
        answer = self._sent(answer)
        if answer.done:
            if answer.unable and self._sync is not None and not self._problem:
                shutil.rmtree(own, ignore_errors=True)  # the driver's machine has it all
            self._job = self._order = None
        return answer

    def _blame_disk(self, answer: Answer) -> bool:
        """Whether it failed because something cannot be written here."""
        assert answer.failure is not None
        _, says, detail = answer.failure
        if self._sync is not None and (why := disk_trouble(self._home.places.folder)):
            self._wait(why, 0.0)
        elif names_disk(f"{says}\n{detail}"):
            self._wait(f"trial {answer.trial} could not write there: {says}")
        return self._unable is not None

    def _wait(self, why: str, seconds: float = WAIT_SECONDS) -> None:
        self._unable, self._look_at = (DISK, why), time.monotonic() + seconds

    def _other(self, order: Order) -> tuple[dict[str, float], str]:
        if self._sync is None:
            return other(self._sweep, order, self._home.places.shared)
        if order.assignment is not None:
            self._fetch(self._sync, order.assignment)
        done = other(self._sweep, order, self._home.places.shared)
        self._sync.send(self._home.places.shared if order.assignment is None else order.assignment.folder.parent)
        return done

    def _fetch(self, sync: FileSync, assignment: Assignment) -> None:
        """Bring to this node what the assignment needs."""
        sync.tidy()
        sync.fetch(assignment.folder.parent)
        if assignment.parent is not None:
            sync.add(assignment.parent)
        if assignment.prepared is not None:
            sync.fetch_shared(assignment.prepared)
        self._due, self._problem = 0.0, ""

    def _sent(self, answer: Answer) -> Answer:
        """Send the trial's files before the driver hears of its checkpoint; without one, now and then."""
        if self._sync is None or self._job is None:
            return answer
        has_saved, begun = any(item.kind == "checkpoint" for item in answer.progress), time.monotonic()
        if not (has_saved or answer.done or begun >= self._due):
            return answer
        try:
            self._sync.send(self._job.folder.parent)
            self._problem = ""
            if path := left_behind(self._job.folder, self._sync):
                answer.progress.append(Notice(text=(
                    f"on another node it would start over, for its checkpoint {path!r} is on this node's own disk only; "
                    "save it in the trial's folder (TRIAL_FOLDER in the script, {folder} in the command)"
                ), once=True))  # fmt: skip
        except OSError as error:
            text = f"its files did not get to the driver's machine, tried again later: {error.strerror}"
            told = [] if self._problem == text else [Notice(text=text)]
            self._problem = text
            answer = replace(answer, progress=[*(i for i in answer.progress if i.kind != "checkpoint"), *told])
        took = time.monotonic() - begun
        self._job.add_writing(took)
        order = self._order.assignment if self._order is not None else None
        wait = self._sweep.checkpoint_seconds if order is None else order.checkpoint_seconds
        self._due = time.monotonic() + max(wait, took / SENDING_SHARE)
        return answer

    def cleanup(self) -> None:
        if self._sync is not None:
            self._sync.close()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # a seat has nothing that must survive

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


def end_if_forked(seat: int, number: int, frame: FrameType | None) -> None:
    """A process that the training has forked inherits the seat's handlers, and must be able to end."""
    if os.getpid() != seat:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
