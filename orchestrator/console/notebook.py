"""The display in a notebook: one output that is updated in place, with the latest events below the state."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 100  # characters in a line
EVENTS = 12  # latest events to show; the ledger holds all
REFRESH = 1.0  # seconds between two updates: the kernel sends each to the browser, and keeps the last
STYLE = "white-space: pre-wrap; line-height: 1.35"


def is_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Notebook:
    """Keeps one display up to date: HTML, and the same as text for frontends without HTML."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._untold = 0  # events that are no longer shown
        self._draw: Callable[[int], list[Text]] | None = None
        self._rows: list[str] = []
        self._shown_at = float("-inf")

    def open(self) -> None:
        pass

    def close(self) -> None:
        """Leave the state as it is now, and the events."""
        if self._draw is not None:
            self._rows = [row.plain for row in self._draw(WIDTH)]
        self._update()

    def say(self, text: Text) -> None:
        self._untold += len(self._events) == EVENTS
        self._events.append(text.plain)
        self._update()

    def show(self, rows: Callable[[int], list[Text]], line: object, *, at_once: bool = False) -> None:
        """Update the state if it is time."""
        self._draw = rows
        if time.monotonic() - self._shown_at >= REFRESH or at_once:
            self._rows = [row.plain for row in rows(WIDTH)]
            self._update()

    def _update(self) -> None:
        from IPython.display import display

        self._shown_at = time.monotonic()
        earlier = [f"({self._untold} earlier events are in the ledger)"] if self._untold else []
        title, rest = "\n".join(self._rows[:1]), "\n".join([*self._rows[1:], "", *earlier, *self._events])
        shown = {
            "text/plain": f"{title}\n{rest}".rstrip(),
            "text/html": f'<pre style="{STYLE}"><b>{escape(title)}</b>\n{escape(rest).rstrip()}</pre>',
        }
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
