"""A sweep outlives its screen: somebody may close the terminal, or the reader of a pipe may exit."""

from __future__ import annotations

import contextlib
import sys
from typing import IO, Any


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
    sys.stdout, sys.stderr = Unbreakable(sys.stdout), Unbreakable(sys.stderr)
