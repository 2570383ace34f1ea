"""How messages show what the user has passed."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def named(thing: Any) -> str:
    """A function by its name and place, anything else by its `repr`.

    >>> named(named)
    'named (wording.py:9)'
    """
    code = getattr(thing, "__code__", None)
    if code is None:
        return repr(thing)
    return f"{thing.__qualname__.replace('<locals>.', '')} ({Path(code.co_filename).name}:{code.co_firstlineno})"
