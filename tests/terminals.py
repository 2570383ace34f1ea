"""A terminal for tests: what this process, or a process of its own, leaves on the screen of a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pyte

from tests.support import ROOT

PLAIN = ("NO_COLOR", "CI", "COLUMNS", "LINES", "FORCE_COLOR", "TERM")  # variables that change what is drawn


class Window:
    """A terminal of `columns` × `lines`; a thread reads what is written to it."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=5000, ratio=0.5)
        self._emulated = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._marks = 0
        self._ours, self.theirs = pty.openpty()
        self.resize(columns, lines)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, lines: int) -> None:
        with self._lock:
            lost = max(0, self._screen.lines - lines)
            self._screen.resize(lines, columns)
            self._screen.cursor.y = max(
                0, self._screen.cursor.y - lost
            )  # as terminals do, the cursor stays with its text
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def stream(self) -> TextIO:
        """A stream of this process to the terminal."""
        return os.fdopen(os.dup(self.theirs), "w", encoding="utf-8")

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def settle(self, stream: TextIO) -> None:
        """Wait until everything written to `stream` is on the screen."""
        self._marks += 1
        stream.write(f"\x1b]2;{self._marks}\x07")  # sets the window's title
        stream.flush()
        self.until(lambda window: window.title == str(self._marks))

    @property
    def title(self) -> str:
        return str(self._screen.title)

    @property
    def colours(self) -> set[str]:
        """The colours of all text on the screen."""
        with self._lock:
            return {cell.fg for row in self._screen.buffer.values() for cell in row.values()}

    @property
    def cells(self) -> list[list[tuple[str, str, bool]]]:
        """The rows of the screen: each character, its colour ("default", a name or six hexadecimal digits), and if it is bold."""
        with self._lock:
            rows = [[self._screen.buffer[y][x] for x in range(self._screen.columns)] for y in range(self._screen.lines)]
        return [[(cell.data, cell.fg, cell.bold) for cell in row] for row in rows]

    @property
    def shown(self) -> list[str]:
        """The rows of the screen, without empty ones at its end."""
        with self._lock:
            return "\n".join(row.rstrip() for row in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """Everything from the first row that scrolled away to the end of the screen."""
        with self._lock:
            columns = range(self._screen.columns)
            gone = ["".join(row[x].data for x in columns).rstrip() for row in self._screen.history.top]
        return "\n".join([*gone, *self.shown])

    def until(self, holds: Callable[[Window], bool], seconds: float = 60.0) -> None:
        """Wait for the screen to show it."""
        deadline = time.monotonic() + seconds
        while not holds(self):
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)

    def close(self) -> None:
        os.close(self.theirs)
        self._reader.join(10)
        os.close(self._ours)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self._emulated.feed(data)


@contextlib.contextmanager
def process_in(window: Window, *command: str, cwd: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose standard streams are the terminal, and which Ctrl-C reaches; killed at the end."""
    plain = {name: value for name, value in os.environ.items() if name not in PLAIN}
    process = subprocess.Popen(
        command, cwd=cwd, stdin=window.theirs, stdout=window.theirs, stderr=window.theirs, start_new_session=True,
        env=plain | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)} | environment,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
