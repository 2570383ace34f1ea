"""The display without a terminal: a line when something begins, then more at growing intervals, if they say more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0  # seconds between the first two lines, and at most between two


class Lines:
    """Prints lines to `console`; `clock` gives seconds."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._pause = FIRST_PAUSE
        self._printed_at, self._printed = clock(), ""

    def open(self) -> None:
        self._printed_at = self._clock()

    def close(self) -> None:
        pass

    def say(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)

    def show(self, rows: object, line: Callable[[], Text], *, at_once: bool = False) -> None:
        """Print the line if it is time."""
        now = self._clock()
        if now - self._printed_at < self._pause and not at_once:
            return
        if not at_once:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        text = line()
        state = text.plain.partition("  ")[2]  # without the time
        if state == self._printed and (at_once or now - self._printed_at < LONGEST_PAUSE):
            return
        self._printed_at, self._printed = now, state
        self._console.print(text, soft_wrap=True)
