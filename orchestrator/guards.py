"""What keeps one trial in a worker process from harming the others: its own log, a limit on silence, a limit on memory."""

from __future__ import annotations

import contextlib
import faulthandler
import resource
from collections.abc import Iterator
from pathlib import Path

SILENCE_FILE, LAST_SILENCE = "silence.txt", "silence-last.txt"


@contextlib.contextmanager
def log_to(folder: Path) -> Iterator[None]:
    """What a trial prints goes to its own log."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (
        (folder / "log.txt").open("a") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        yield


@contextlib.contextmanager
def watched(folder: Path, seconds: float | None) -> Iterator[None]:
    """Dump the stack and end the process if a report takes longer than this."""
    if seconds is None:
        yield
        return
    with (folder / SILENCE_FILE).open("w") as trace:
        faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    (folder / SILENCE_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Let a trial that takes more memory than it asked for fail by itself, with a MemoryError."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def data_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def why_lost(folder: Path) -> str:
    """Why the worker of the trial in `folder` is gone: it left its stack behind if it was silent for too long."""
    silence = folder / SILENCE_FILE
    if silence.exists() and silence.stat().st_size:
        silence.replace(folder / LAST_SILENCE)
        return f"it was silent for too long; its stack is in {folder / LAST_SILENCE}"
    return "the process or its node died"
