"""A trial on several workers of one machine: processes with a share of every batch each (PyTorch's DDP).

The process that has the trial is the first worker. It starts the others, which do what it does until it ends them;
if one of them is lost, all start again from the last checkpoint, and nothing is reported twice. If that does not help they
go on with one fewer: the same batches, in larger shares.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from torch import distributed
from torch._C._distributed_c10d import TCPStore

from search.work import Assignment, Progress
from trainables.base import Policy, Workload
from trainables.group import Group
from trainables.loop import Training
from trainables.run import Run

HOST = "127.0.0.1"
RESTARTS = 2  # with as many workers, without a report in between; then one fewer


class ParallelRun(Iterator["Progress | None"]):
    """An assignment carried out by `assignment.workers` processes; the contract is written at `Workload.run`."""

    def __init__(
        self,
        workload: Workload,
        policy: Policy[Any] | None,
        assignment: Assignment,
        should_pause: Callable[[], bool] | None = None,
    ) -> None:
        self._workload, self._policy, self._should_pause = workload, policy, should_pause
        self._restarts = 0
        self._assignment = assignment
        self._team = _Team(workload, policy, assignment)
        self._run = self._begun()

    def __next__(self) -> Progress | None:
        try:
            item = next(self._run)
        except StopIteration:
            self.close()
            raise
        except Exception as error:
            return self._begin_again(error)
        if item is not None and item.kind == "report":
            self._restarts = 0
            self._assignment = replace(self._assignment, recorded=max(self._assignment.recorded, item.step))
        return item

    def save(self) -> Progress:
        return self._run.save()

    def close(self) -> None:
        self._run.close()
        self._team.close()

    def _begun(self) -> Run:
        try:
            return Run(self._team.begin, self._assignment, self._should_pause)
        except BaseException:
            self._team.close()
            raise

    def _begin_again(self, error: Exception) -> Progress:
        lost = self._team.lost()
        self.close()
        if not lost:
            raise error
        how = "all workers started again"
        self._restarts += 1
        if self._restarts > RESTARTS:
            self._restarts = 0
            self._assignment = replace(self._assignment, workers=self._assignment.workers - 1)
            how = f"{RESTARTS} restarts did not help; going on with {self._assignment.workers}"
        self._team = _Team(self._workload, self._policy, self._assignment)
        self._run = self._begun()
        step = self._run.training.step
        return Progress("notice", step, text=f"{lost}: {how} from step {step}")


class _Team:
    """The other workers, and the process group that this process forms with them."""

    def __init__(self, workload: Workload, policy: Policy[Any] | None, assignment: Assignment) -> None:
        self._given = workload, policy, assignment
        self._processes: list[subprocess.Popen[bytes]] = []

    def begin(self) -> Training:
        """Start the others; the training as this worker sees it."""
        workload, policy, assignment = self._given
        store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        assignment.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(assignment.threads)}
        for rank in range(1, assignment.workers):
            with open(_output(assignment, rank), "wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "trainables.parallel"], env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.PIPE, stdout=output, stderr=output,
                )  # fmt: skip
            self._processes.append(process)
            assert process.stdin is not None
            with process.stdin as pipe:
                pipe.write(cloudpickle.dumps((workload, policy, assignment, rank, store.port, os.getpid())))
        return _training(workload, policy, assignment, 0, store)

    def lost(self) -> str:
        """Which worker has ended, and its last words; "" if all are there."""
        for rank, process in enumerate(self._processes, start=1):
            try:
                process.wait(1.0)  # its end is noticed here a moment later than in the group
            except subprocess.TimeoutExpired:
                continue
            said = _output(self._given[2], rank).read_text(errors="replace").strip().splitlines()[-1:]
            return f"worker {rank} was lost (exit code {process.returncode})" + "".join(f": {line}" for line in said)
        return ""

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes = []
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _training(
    workload: Workload, policy: Policy[Any] | None, assignment: Assignment, rank: int, store: TCPStore
) -> Training:
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        torch.cuda.set_device(rank)
    distributed.init_process_group(backend, store=store, rank=rank, world_size=assignment.workers)
    return Training(
        workload, policy, assignment.config, seed=assignment.seed, until=assignment.until,
        prepared=assignment.prepared, group=Group(),
    )  # fmt: skip


def _output(assignment: Assignment, rank: int) -> Path:
    return assignment.folder / f"worker-{rank}.txt"


def _follow() -> None:
    """What another worker's process does: everything that the first one does, but for telling about it."""
    workload, policy, assignment, rank, port, parent = cloudpickle.loads(sys.stdin.buffer.read())
    from trainables.run import settle

    settle(assignment)
    store = TCPStore(HOST, port, is_master=False)
    for _ in _training(workload, policy, assignment, rank, store):
        if os.getppid() != parent:
            return


if __name__ == "__main__":
    _follow()
