"""The main function of each worker process of a trial; `trainables.parallel` starts it and holds the pipe's other end.

All workers train, as `trainables.training.workers` describes; the first yields one item for each request.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import cloudpickle
import torch
from torch import distributed
from torch._C._distributed_c10d import TCPStore

from search.work import Assignment, Progress
from trainables.contract import Policy, Workload
from trainables.execution.run import Run, settle
from trainables.training.loop import Training
from trainables.training.workers import Group

HOST = "127.0.0.1"
PATIENCE = timedelta(days=1)  # the others wait while the first evaluates; they need not notice a lost worker themselves


@dataclass(frozen=True)
class Request:
    """A request to the first worker."""

    what: str  # "next" | "save"
    pausing: bool = False  # whether the trial should pause


@dataclass(frozen=True)
class Reply:
    """The first worker's answer to a request, or its step at the start; from the other workers, how they ended."""

    step: int = 0
    item: Progress | None = None
    ended: bool = False  # whether there are no more items
    error: Exception | None = None
    traceback: str = ""

    @property
    def ends(self) -> bool:
        """Whether this is the worker's last reply."""
        return self.ended or self.error is not None


def work(rank: int, pipe: Connection) -> None:
    heard: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, heard), daemon=True).start()
    try:
        workload, policy, assignment, port = cloudpickle.loads(heard.get())

        def begin() -> Training:
            return _training(workload, policy, assignment, rank, TCPStore(HOST, port, is_master=False))

        if rank == 0:
            _lead(begin, assignment, pipe, heard)
        else:
            settle(assignment)
            for _ in begin():
                pass
        pipe.send(Reply(ended=True))
    except Exception as error:
        pipe.send(Reply(error=_portable(error), traceback=f"in worker {rank}:\n{traceback.format_exc()}"))


def _listen(pipe: Connection, heard: SimpleQueue[bytes]) -> None:
    """Pass on messages; when the pipe closes, dump the traceback (for silent trials) and end the process."""
    try:
        while True:
            heard.put(pipe.recv_bytes())
    except (EOFError, OSError):
        faulthandler.dump_traceback()
        os._exit(1)


def _lead(begin: Callable[[], Training], assignment: Assignment, pipe: Connection, heard: SimpleQueue[bytes]) -> None:
    """Carry out the assignment, one item for each request, until no item is left."""
    order = Request("")
    run = Run(begin, assignment, lambda: order.pausing)
    pipe.send(Reply(run.training.step))
    while True:
        order = pickle.loads(heard.get())
        if order.what == "save":
            pipe.send(Reply(item=run.save()))
            continue
        try:
            item = next(run)
        except StopIteration:
            return
        pipe.send(Reply(item=item))


def _training(
    workload: Workload, policy: Policy[Any] | None, assignment: Assignment, rank: int, store: TCPStore
) -> Training:
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        backend, timeout=PATIENCE, store=store, rank=rank, world_size=assignment.workers
    )  # fmt: skip
    return Training(
        workload, policy, assignment.config, seed=assignment.seed, until=assignment.until,
        prepared=assignment.prepared, group=Group(),
    )  # fmt: skip


def _portable(error: Exception) -> Exception:
    """`error` itself if it can be sent to another process, otherwise its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    # Import it under its own name: the classes of messages must be those that the other end knows.
    from trainables.parallel import member

    member.work(int(sys.argv[1]), Connection(int(sys.argv[2])))
