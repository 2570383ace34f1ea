"""How messages show what the user has passed."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from search.wording import shown
from trainables.contract import CommandLine

WIDEST = 300  # characters of a command


def named(thing: Any) -> str:
    """A function by its name and place, anything else by its `repr`.

    >>> named(named)
    'named (wording.py:15)'
    """
    code = getattr(thing, "__code__", None)
    if code is None:
        return repr(thing)
    return f"{thing.__qualname__.replace('<locals>.', '')} ({Path(code.co_filename).name}:{code.co_firstlineno})"


def trained(workload: Any) -> str:
    """The workload; the user's own function by its name and place, a command as one types it."""
    if isinstance(workload, CommandLine):
        joined = workload.command.replace("\\\n", " ")
        return f"`{textwrap.shorten(joined, WIDEST, placeholder=' …')}`"
    function = getattr(workload, "train", None)
    return named(function) if callable(function) else shown(workload)
