"""Keep one trial in a worker process from harming the others: its own log, a limit on silence, a limit on memory."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import io
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

LOG = "log.txt"
SILENCE_FILE, LAST_SILENCE, EXIT_FILE = "silence.txt", "silence-last.txt", "exit.txt"
HEAD_BYTES = TAIL_BYTES = 2**20  # kept at the start and the end of a log that grows too long
LOOK_SECONDS = 1.0  # between two looks at the size of the present log
STATUS = Path("/proc/self/status")  # Linux only
SIGNALS = {
    "Segmentation fault": "segmentation fault (signal 11)",
    "Aborted": "abort (signal 6)",
    "Bus error": "bus error (signal 7)",
    "Floating-point exception": "arithmetic error (signal 8)",
    "Illegal instruction": "illegal instruction (signal 4)",
}


@contextlib.contextmanager
def log_to(folder: Path, streams: list[Any] | None = None) -> Iterator[None]:
    """Send all output to the log in `folder`: that of Python, C code, child processes, and handlers created inside.

    The file descriptors 1 and 2 point to the log meanwhile. `sys.stdout` and `sys.stderr` are two streams that live as
    long as the process: code that keeps one may write to it later, and the output goes to the log that was opened last.
    `streams` keeps streams that the code puts in their place (a tee, for example) until its next stretch.
    """
    global _log, _screen
    before = sys.stdout, sys.stderr
    _flush(*before)
    _flush_c()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = _open(folder / LOG)
    except OSError:  # a full disk must not cost the trial
        target = _open(os.devnull)
    ours = _streams(target)
    kept = [_duplicate(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(target, number)
    os.close(target)
    sys.stdout, sys.stderr = streams or ours
    _log, _screen = folder / LOG, -1 if kept[1] is None else kept[1]
    try:
        yield
    finally:
        _flush(sys.stdout, sys.stderr, *ours)
        _flush_c()
        if streams is not None:
            streams[:] = [sys.stdout, sys.stderr]
        sys.stdout, sys.stderr = before
        _screen = 2
        for number, fd in zip((1, 2), kept, strict=True):
            if fd is None:
                os.close(number)
            else:
                os.dup2(fd, number)
                os.close(fd)
        shorten(folder / LOG)
        _log = None


def to_screen(text: bytes) -> None:
    """Write to the standard error that the user sees, also from a signal handler in the middle of a trial."""
    with contextlib.suppress(OSError):
        os.write(_screen, text)


_screen = 2
_log: Path | None = None  # the present log
_outlet = -1  # the file descriptor of both streams; it is redirected from log to log
_ours: tuple[Any, ...] = ()


class _Outlet(io.RawIOBase):
    """Writes to the present log. If the disk is full, the output is lost, but the training goes on."""

    name = "<log>"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _outlet

    def write(self, data: Any) -> int:
        try:
            return os.write(_outlet, data)
        except OSError:
            return len(data)


class _Stream(io.TextIOWrapper):
    def close(self) -> None:
        """Flush, but stay open: others write here too."""
        self.flush()


def _streams(target: int) -> tuple[Any, ...]:
    """The standard output and error of all trials in this process; from now on they point to `target`."""
    global _outlet, _ours
    if _outlet < 0:
        _outlet = fcntl.fcntl(target, fcntl.F_DUPFD_CLOEXEC, 3)
        _ours = tuple(
            _Stream(io.BufferedWriter(_Outlet()), encoding="utf-8", errors="backslashreplace", line_buffering=True)
            for _ in range(2)
        )
        threading.Thread(target=_keep_short, name="log", daemon=True).start()
        os.register_at_fork(after_in_child=_forget)
    else:
        _flush(*_ours)
        os.dup2(target, _outlet, inheritable=False)
    return _ours


def _open(path: str | Path) -> int:
    """Open for appending, never as one of the three standard descriptors, which may be closed."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if fd > 2:
        return fd
    above = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(fd)
    return above


def _forget() -> None:
    """A forked child has no thread that keeps the log short; its parent's thread does that."""
    global _log
    _log = None


def _duplicate(number: int) -> int | None:
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:  # closed, as in a daemon
        return None


def _flush(*streams: Any) -> None:
    for stream in streams:
        with contextlib.suppress(Exception):  # closed by the trial, None, a full disk
            stream.flush()


def _flush_c() -> None:
    with contextlib.suppress(Exception):
        ctypes.pythonapi.fflush(None)


def _keep_short() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        log = _log
        if log is not None:
            shorten(log, HEAD_BYTES + 2 * TAIL_BYTES)


_LEFT_OUT = re.compile(r"\[… (\d+) bytes are left out here …\]\n".encode())


def shorten(log: Path, most: int = HEAD_BYTES + TAIL_BYTES + 4096) -> None:
    """Cut the middle out of a log longer than `most`, while others append to it."""
    with contextlib.suppress(OSError):
        if log.stat().st_size <= most:
            return
        with open(log, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the runner of a script waits for it; direct output cannot
            size = file.seek(0, os.SEEK_END)
            file.seek(HEAD_BYTES)
            start = file.read(8192)
            head = HEAD_BYTES + start.find(b"\n", 0, 4096) + 1
            before = _LEFT_OUT.match(start, head - HEAD_BYTES)
            file.seek(max(head, size - TAIL_BYTES))
            begin = file.tell() + file.read(4096).find(b"\n") + 1  # begin with a whole line
            left_out = begin - head + (int(before[1]) - len(before[0]) if before else 0)
            end = head + os.pwrite(file.fileno(), f"[… {left_out} bytes are left out here …]\n".encode(), head)
            while chunk := os.pread(file.fileno(), TAIL_BYTES, begin):  # up to the end, which moves meanwhile
                end += os.pwrite(file.fileno(), chunk, end)
                begin += len(chunk)
            file.truncate(end)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone would leave the lock to a child forked meanwhile


@contextlib.contextmanager
def watched(folder: Path, seconds: float | None) -> Iterator[None]:
    """Dump the stack and end the process if a report takes longer than `seconds`."""
    if seconds is None:
        yield
        return
    with _opened(folder / SILENCE_FILE) as trace:
        faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    (folder / SILENCE_FILE).unlink(missing_ok=True)


def _opened(path: Path) -> IO[str]:
    """Open for writing; if that is impossible (a full disk), the output is lost."""
    try:
        return path.open("w")
    except OSError:
        return open(os.devnull, "w")


@contextlib.contextmanager
def noted(folder: Path) -> Iterator[None]:
    """If this process ends by `os._exit` or a crash, leave a note with the reason. Use it inside `log_to`."""
    pid, leave, was_enabled = os.getpid(), os._exit, faulthandler.is_enabled()

    def noted_exit(status: int) -> NoReturn:
        if os.getpid() == pid:  # a forked child may exit in this way
            _flush(*_ours)
            with contextlib.suppress(OSError):
                (folder / EXIT_FILE).write_text(f"os._exit: exit code {status}")
        leave(status)

    note: io.FileIO | None = None
    with contextlib.suppress(OSError):
        note = io.FileIO(folder / EXIT_FILE, "w")
        faulthandler.enable(note)
    os._exit = noted_exit
    try:
        yield
    finally:
        if os._exit is noted_exit:
            os._exit = leave
        faulthandler.disable()
        if note is not None:
            note.close()
            with contextlib.suppress(OSError):
                (folder / EXIT_FILE).unlink(missing_ok=True)
        if was_enabled:
            with contextlib.suppress(Exception):
                faulthandler.enable()


@contextlib.contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Make a trial that takes more memory than it asked for fail with a MemoryError."""
    if limit is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def data_limit(budget: int | None) -> int | None:
    """The most bytes of data that this process may have if it is to take `budget` more; None where nothing limits them,
    as on macOS."""
    if budget is not None:
        with contextlib.suppress(OSError):
            for line in STATUS.read_text().splitlines():
                if line.startswith("VmData:"):
                    return int(line.split()[1]) * 1024 + budget
    return None


def why_lost(folder: Path) -> str:
    """Why the worker of the trial in `folder` is gone, if it left a note, and where its log is."""
    silence, note = folder / SILENCE_FILE, folder / EXIT_FILE
    if silence.exists() and silence.stat().st_size:
        silence.replace(folder / LAST_SILENCE)
        return f"it was silent for too long; the stack of its worker is in {folder / LAST_SILENCE}"
    why = "it was killed from outside (signal 9: often for want of memory), or its node died"
    with contextlib.suppress(OSError):
        if text := note.read_text(errors="replace").strip():
            why = _ended_by(text)
            with open(folder / LOG, "a") as log:
                log.write(f"\n{text}\n")
        note.unlink()
    return f"{why}; its log is {folder / LOG}"


def _ended_by(note: str) -> str:
    fatal = re.search(r"Fatal Python error: (.+)", note)
    if fatal is None:
        return note
    return SIGNALS.get(fatal[1].strip(), fatal[1].strip())
