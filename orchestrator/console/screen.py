"""A sweep outlives its screen: somebody may close the terminal, or the reader of a pipe may exit."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Unbreakable:
    """A stream that drops its output once the reader is gone (a closed terminal, the end of a pipe)."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def go_on_without_a_screen() -> None:
    """From now on a failed print cannot end this process."""
    for number in range(3):
        _fill(number)
    # Python has no stream for one that was closed before it began: `cmd >&-`
    sys.stdout = Unbreakable(sys.stdout or os.fdopen(1, "w", closefd=False))
    sys.stderr = Unbreakable(sys.stderr or os.fdopen(2, "w", closefd=False))


def _fill(number: int) -> None:
    """Put /dev/null in the place of a closed standard stream, so that no file of ours gets its number."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != number:
            os.dup2(null, number)
            os.close(null)


def tell(console: Console, text: Text | str) -> None:
    """Print a message. A terminal gets it broken between words, unless that would break a path or another long word."""
    plain = text if isinstance(text, str) else text.plain
    whole = not console.is_terminal or any(len(word) >= console.width for word in plain.split())
    console.print(text, soft_wrap=whole, highlight=False, markup=False)
