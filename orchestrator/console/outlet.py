"""Where the display of a sweep goes: a terminal's block, a notebook's block, or plain lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.console.lines import Lines
from orchestrator.console.notebook import Notebook, is_notebook
from orchestrator.console.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Rows = Callable[[int], "list[Text]"]
"""Width in cells → the rows of the block, none of them wider."""

OF_KERNEL = "JPY_PARENT_PID"  # environment: of a Jupyter kernel and its children


class Outlet(Protocol):
    """Shows events as lines, and the present state."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def say(self, text: Text) -> None:
        """Show an event; it stays."""

    def show(self, rows: Rows, line: Callable[[], Text], *, at_once: bool = False) -> None:
        """Show the state if it is time: its rows where it is redrawn in place, or else one line. `at_once`: now."""


def outlet_for(console: Console, surroundings: Mapping[str, str] = os.environ) -> Outlet:
    """The outlet for this console.

    Only a terminal that understands cursor movements gets a block; CI services keep every redrawing in their logs, and so
    does a cell of a notebook for `!python tune.py`, a child of the kernel.
    """
    if is_notebook() and not console.quiet:
        return Notebook()
    can_redraw = _is_terminal(console.file) and not console.quiet and not console.is_dumb_terminal
    is_ci = surroundings.get("CI", "").lower() not in ("", "0", "false")
    keeps_all = is_ci or OF_KERNEL in surroundings
    return Terminal(console) if can_redraw and not keeps_all else Lines(console)


def _is_terminal(stream: Any) -> bool:
    try:
        return os.isatty(stream.fileno())
    except (AttributeError, OSError, ValueError):  # it is no file, or closed
        return False
