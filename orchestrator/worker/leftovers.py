"""Processes that a trial left running, and files that it left open."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable

import psutil

from orchestrator.worker.limits import EXIT_FILE, LOG, SILENCE_FILE

GRACE_SECONDS = 5.0  # for a process to end after SIGTERM
OURS = tuple(f"/{name}" for name in (LOG, EXIT_FILE, SILENCE_FILE))
NOT_FILES = ("/dev/", "/proc/", "/memfd:", "/tmp/ray/")
POOLS = ("resource_tracker", "forkserver", "loky", "compile_worker")
"""Words in the command lines of processes that a library keeps for the whole process, not for one trial."""


def children() -> set[int]:
    """The living child processes of this process; fast if there are none."""
    if hasattr(os, "waitid"):  # Python has it on macOS since 3.13
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return set()
    found: set[int] = set()
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children") as file:
                found.update(map(int, file.read().split()))
    except OSError:  # the thread has ended, or this is not Linux
        with contextlib.suppress(psutil.Error):
            return {child.pid for child in psutil.Process().children()}
    return found


def end(processes: Iterable[psutil.Process]) -> list[str]:
    """End these processes (not another one that has got the same number since) and everything that they have started."""
    left: dict[int, psutil.Process] = {}
    for child in processes:
        with contextlib.suppress(psutil.Error):
            if not _lives(child) or _serves_all(child):
                continue
            left[child.pid] = child
            left |= {below.pid: below for below in child.children(recursive=True)}
    told = [f"it left a process running, which was ended: {_named(process)}" for process in left.values()]
    for process in left.values():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    while (alive := [process for process in left.values() if _lives(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return told


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _serves_all(process: psutil.Process) -> bool:
    command = " ".join(process.cmdline())
    return any(pool in command for pool in POOLS)


def _named(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{' '.join(process.cmdline())[:80] or process.name()} (pid {process.pid})"
    return f"pid {process.pid}"


def written_files() -> set[str]:
    """Plain files that this process has open for writing; files open for reading are caches and libraries."""
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                name = os.readlink(f"/proc/self/fd/{number}")
                is_file = name.startswith("/") and not name.startswith(NOT_FILES) and not name.endswith(OURS)
                if is_file and _is_written(number):
                    found.add(name)
    return found


def _is_written(number: str) -> bool:
    flags = fcntl.fcntl(int(number), fcntl.F_GETFL)
    return flags & os.O_ACCMODE != os.O_RDONLY
