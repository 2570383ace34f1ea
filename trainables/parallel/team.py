"""A trial on several workers of one machine: processes that share every batch (PyTorch's DDP).

The trial's own process only watches the workers, and asks the first for one item after the other. If a worker is lost,
all start again from the last checkpoint, and nothing is reported twice. If that does not help, they continue with one
worker fewer: the same batches, in larger shares. The trial's process does not train itself, because a process group may
wait for a dead member until its timeout (Gloo misses one such death in a hundred), and only the end of the process
interrupts that.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle
from torch._C._distributed_c10d import TCPStore

from search.work import Assignment, Notice, Progress, Run
from trainables.cached import store_by_value
from trainables.contract import Policy, Workload
from trainables.killed import exit_in_words
from trainables.parallel.member import HOST, Reply, Request
from trainables.pausing import Pausing

store_by_value(cloudpickle.Pickler)
RESTARTS = 2  # with the same number of workers, without a report in between; then with one fewer
LOOPBACK = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo0" if sys.platform == "darwin" else "lo")
LOSS_SECONDS = 1.0  # time to notice the end of a worker here after the others have


class ParallelRun(Run):
    """Carries out an assignment with `assignment.workers` processes; `trainables.carry_out` states the contract."""

    def __init__(
        self,
        workload: Workload,
        policy: Policy[Any] | None,
        assignment: Assignment,
        should_pause: Callable[[], bool] | None = None,
    ) -> None:
        self._workload, self._policy, self._asked_to_pause = workload, policy, Pausing(should_pause)
        self._restarts = 0
        self._assignment = assignment
        self._notices: list[Progress] = []
        try:
            self._team = _Team(workload, policy, assignment)
        except WorkerLost as lost:
            self._notices.append(self._begin_again(lost))

    def __next__(self) -> Progress | None:
        if self._notices:
            return self._notices.pop()
        try:
            told = self._team.ask("next", self._asked_to_pause())
        except WorkerLost as lost:
            return self._begin_again(lost)
        if told.ended:
            self.close()
            raise StopIteration
        item = told.item
        if item is not None and item.kind == "report":
            self._restarts = 0
            self._assignment = replace(self._assignment, recorded=max(self._assignment.recorded, item.step))
        return item

    def save(self) -> Progress:
        item = self._team.ask("save").item
        assert item is not None
        return item

    def close(self) -> None:
        self._team.close()

    def _begin_again(self, lost: WorkerLost) -> Progress:
        while True:
            how = self._fewer(lost)
            try:
                self._team = _Team(self._workload, self._policy, self._assignment)
            except WorkerLost as again:
                lost = again
            else:
                return Notice(step=self._team.step, text=f"{lost}: {how} from step {self._team.step}")

    def _fewer(self, lost: WorkerLost) -> str:
        """Remove one worker if restarts do not help; returns a description of the action."""
        self._restarts += 1
        if self._restarts <= RESTARTS:
            return "all workers started again"
        if self._assignment.workers == 1:
            raise lost
        self._restarts = 0
        self._assignment = replace(self._assignment, workers=self._assignment.workers - 1)
        return f"{RESTARTS} restarts did not help; going on with {self._assignment.workers}"


class WorkerLost(RuntimeError):
    """A worker has ended too early."""


def _store() -> TCPStore:
    """The store where the workers meet; torch's own would listen on every address without asking for a credential."""
    listening = socket.socket()
    listening.bind((HOST, 0))
    listening.listen()
    port = listening.getsockname()[1]
    return TCPStore(HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())


class _Team:
    """The workers, from their start until one of them fails or is lost."""

    def __init__(self, workload: Workload, policy: Policy[Any] | None, assignment: Assignment) -> None:
        assignment.folder.mkdir(parents=True, exist_ok=True)
        self._folder = assignment.folder
        self._store = _store()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: dict[int, Connection] = {}  # of workers that may still send something
        work = cloudpickle.dumps((workload, policy, assignment, self._store.port))
        try:
            for rank in range(assignment.workers):
                self._start(rank, assignment.threads)
            for pipe in self._pipes.values():
                with suppress(ConnectionError):  # it has ended; `_answered` notices that
                    pipe.send_bytes(work)
            self.step = self._answered().step
        except BaseException:
            self.close()
            raise

    def _start(self, rank: int, threads: int) -> None:
        self._pipes[rank], theirs = Pipe()
        command = [sys.executable, "-m", "trainables.parallel.member", str(rank), str(theirs.fileno())]
        environment = {
            **LOOPBACK,
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with theirs, open(self._output(rank), "wb") as output:
            # In its own session, otherwise the Ctrl-C that asks for a pause would end it.
            self._processes.append(subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            ))  # fmt: skip

    def ask(self, what: str, pausing: bool = False) -> Reply:
        """The first worker's reply; raises a worker's error, or WorkerLost. After an error all workers have ended."""
        if not self._pipes:
            raise RuntimeError("the workers of this trial have ended")
        try:
            with suppress(ConnectionError):
                self._pipes[0].send(Request(what, pausing))
            return self._answered()
        except BaseException:
            self.close()
            raise

    def _answered(self) -> Reply:
        while True:
            for rank, answer in self._heard():
                if answer is None:
                    raise self._lost(rank)
                if answer.error is not None:
                    self._raise(answer)
                if rank == 0:
                    return answer

    def _heard(self, seconds: float | None = None) -> Iterator[tuple[int, Reply | None]]:
        """The workers' replies, the first worker's first; None for a worker that ended without one."""
        ready = wait([*self._pipes.values()], seconds)
        for rank, pipe in [*self._pipes.items()]:
            if pipe not in ready:
                continue
            answer: Reply | None = None
            with suppress(EOFError, ConnectionError):
                answer = pipe.recv()
            if answer is None or answer.ends:
                del self._pipes[rank]
            yield rank, answer

    def _raise(self, answer: Reply) -> NoReturn:
        """Raise a worker's error; but raise the loss of another worker first: it looks like a failed exchange."""
        assert answer.error is not None
        deadline = time.perf_counter() + LOSS_SECONDS
        while isinstance(answer.error, RuntimeError) and self._pipes and (left := deadline - time.perf_counter()) > 0:
            for rank, other in self._heard(left):
                if other is None:
                    raise self._lost(rank)
        raise answer.error from RuntimeError(answer.traceback)

    def _lost(self, rank: int) -> WorkerLost:
        code = self._processes[rank].wait()
        said = self._output(rank).read_text(errors="replace").strip().splitlines()[-1:]
        return WorkerLost(f"worker {rank} was lost ({exit_in_words(code)})" + "".join(f": {line}" for line in said))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for pipe in self._pipes.values():
            pipe.close()
        self._processes, self._pipes = [], {}

    def _output(self, rank: int) -> Path:
        return self._folder / f"worker-{rank}.txt"
