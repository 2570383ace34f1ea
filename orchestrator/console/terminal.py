"""A block at the end of a terminal's output that is redrawn in place, below lines that stay.

Between two drawings the cursor rests on an empty line above the block, so a drawing only erases from there to the end of
the screen. It needs no memory of how many rows the block takes, which a resized terminal changes by wrapping them anew.
What others print to the terminal lands on that line and stays; the block moves down.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from orchestrator.console.screen import tell

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

REFRESH = 0.5  # seconds between two drawings
ERASE = "\r\x1b[J"  # from the cursor's line to the end of the screen
SPARE = 2  # rows of the screen that the block leaves: the cursor's, and one of what was before


class Terminal:
    """Draws the block, and prints lines above it. While it is open, Python's own output goes above the block too.

    It draws nothing while the process is in the background, or while the terminal takes no output (Ctrl-S), so that
    neither stops the sweep.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._fd = console, console.file.fileno()
        self._lock = threading.RLock()  # other threads may print
        self._waiting: list[str] = []  # what stays on the screen, and is not written yet
        self._rows: Callable[[int], list[Text]] | None = None
        self._is_up = False  # whether the block is on the screen
        self._drawn_at = float("-inf")
        self._closing = contextlib.ExitStack()

    def open(self) -> None:
        global _open
        _open = self
        self._fd = os.dup(self._fd)  # a trial in this process sends the standard streams elsewhere meanwhile
        self._closing.callback(os.close, self._fd)
        self._closing.enter_context(_printed_above(self))
        self._closing.enter_context(_on_suspension(self))

    def close(self) -> None:
        """Take the block away."""
        global _open
        self._rows = None
        self._draw(patiently=True)
        self._closing.close()
        _open = None

    def say(self, text: Text) -> None:
        with self._console.capture() as drawn:
            tell(self._console, text)
        self.print(drawn.get())

    def show(self, rows: Callable[[int], list[Text]], line: Callable[[], Text], *, at_once: bool = False) -> None:
        """Draw the block if it is time; in the background, nothing."""
        self._rows = rows
        if at_once or self._waiting or time.monotonic() - self._drawn_at >= REFRESH:
            self._draw()

    def print(self, text: str) -> None:
        """Write whole lines above the block."""
        with self._lock:
            self._waiting.append(text)
            self._draw()

    def erase(self) -> str:
        """The code that takes the block away, for whoever writes to the terminal past this object; call it in order."""
        is_up, self._is_up = self._is_up, False
        return ERASE if is_up else ""

    def _draw(self, *, patiently: bool = False) -> None:
        with self._lock:
            if not patiently and not _takes_output(self._fd):
                return
            written = self.erase() + "".join(self._waiting)
            self._waiting.clear()
            if self._rows is not None and _in_foreground(self._fd):
                written += self._block(self._rows, *_size(self._fd, self._console))
                self._is_up = True
            self._drawn_at = time.monotonic()
            self.write(written)

    def write(self, text: str) -> None:
        """Write at the cursor; what a terminal that is gone cannot take is lost."""
        data = text.encode(errors="replace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._fd, data) :]

    def _block(self, rows: Callable[[int], list[Text]], columns: int, lines: int) -> str:
        drawn = []
        for row in rows(max(1, columns - 1))[: max(1, lines - SPARE)]:  # a full row would wrap in some terminals
            with self._console.capture() as one:
                self._console.print(row, end="", no_wrap=True, overflow="crop", width=max(1, columns - 1))
            drawn.append(one.get())
        return ERASE + "".join(f"\r\n{row}" for row in drawn) + f"\x1b[{len(drawn)}A\r"


_open: Terminal | None = None


def erase_block() -> bytes:
    """What to write before a message that does not go through the terminal's object, as from a signal handler."""
    return b"" if _open is None else _open.erase().encode()


class _Above:
    """A standard stream whose whole lines go above the block."""

    def __init__(self, stream: IO[str], terminal: Terminal) -> None:
        self._stream, self._terminal, self._rest = stream, terminal, ""

    def write(self, text: str) -> int:
        lines, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._terminal.print(lines + newline)
        return len(text)

    def finish(self) -> None:
        """Write the line that has no end yet."""
        if self._rest:
            self._stream.write(self._rest)
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _printed_above(terminal: Terminal) -> Iterator[None]:
    """Within this block, `print` and logging write above the terminal's block."""
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    ours = {name: _Above(stream, terminal) for name, stream in before.items() if _is_terminal(stream)}
    moved = []
    for handler in _handlers():
        for name, above in ours.items():
            if handler.stream is before[name]:
                handler.setStream(above)
                moved.append((handler, above, before[name]))
    for name, above in ours.items():
        setattr(sys, name, above)
    try:
        yield
    finally:
        for name, above in ours.items():
            if getattr(sys, name) is above:  # else somebody has put another one there
                setattr(sys, name, before[name])
        for handler, above, stream in moved:
            if handler.stream is above:
                handler.setStream(stream)
        for above in ours.values():
            above.finish()


def _handlers() -> list[logging.StreamHandler[Any]]:
    loggers = [logging.root, *(each for each in logging.root.manager.loggerDict.values())]
    found = [handler for each in loggers for handler in getattr(each, "handlers", ())]
    return [handler for handler in found if isinstance(handler, logging.StreamHandler)]


@contextlib.contextmanager
def _on_suspension(terminal: Terminal) -> Iterator[None]:
    """Within this block, Ctrl-Z takes the block away before it suspends the process."""

    def suspend(number: int, frame: FrameType | None) -> None:
        terminal.write(terminal.erase())
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns when the process goes on
        signal.signal(signal.SIGTSTP, suspend)

    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, OSError, ValueError):  # None, gone, closed
        return False


def _takes_output(fd: int) -> bool:
    """Whether writing would not block; a terminal that is gone takes it too, and drops it."""
    try:
        return bool(select.select([], [fd], [], 0)[1])
    except (OSError, ValueError):
        return True


def _in_foreground(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # not the controlling terminal, as in a container
        return True


def _size(fd: int, console: Console) -> tuple[int, int]:
    """Columns and lines at this moment."""
    with contextlib.suppress(OSError, ValueError):
        columns, lines = os.get_terminal_size(fd)
        if columns > 0 and lines > 0:
            return columns, lines
    return console.width, console.height
