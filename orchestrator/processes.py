"""No process is left behind: what a driver started is noted, and ended by its next start if the driver was killed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

PROCESSES = "processes.txt"


def remember_processes(folder: Path) -> None:
    """Note what was started, so that the next start can end what a SIGKILL of this driver leaves behind."""
    children = psutil.Process().children(recursive=True)
    (folder / PROCESSES).write_text("".join(f"{child.pid} {child.create_time()}\n" for child in children))


def end_left_over_processes(folder: Path) -> int:
    """End what an earlier driver of this run left running: by pid *and* start time, never by name."""
    ended = 0
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / PROCESSES).read_text().splitlines():
            pid, created = line.split()
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                if abs(process.create_time() - float(created)) < 0.01:
                    for child in [*process.children(recursive=True), process]:
                        child.kill()
                    ended += 1
        (folder / PROCESSES).unlink()
    return ended
