"""What a script prints, read from the file to which it goes: line by line, while it is being written.

Files and not pipes: what was printed before a worker was killed is still there for the next one. What has been read is
given back to the disk (on Linux), so that a talkative script does not fill it.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from trainables.scripts.printed import Line, Reader

CHUNK = 1_000_000  # bytes at a time
GIVEN_BACK = 8_000_000  # bytes that are read before their place on the disk is freed
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)


class OutputStream:
    """One file of output, from `position` on; `steps`: of the last heading before it."""

    def __init__(
        self, path: Path, names: tuple[str, ...], position: int = 0, steps: dict[str, float] | None = None
    ) -> None:
        self._path = path
        self._reader = Reader(names, steps)
        self._begun = b""  # a line without its end
        self._freed = position
        self.position = position  # up to where whole lines have been read
        self.lines = 0

    @property
    def steps(self) -> dict[str, float]:
        return self._reader.steps

    def poll(self) -> tuple[bytes, list[Line]]:
        """What has come since, whole lines only: as it is, and as it reads."""
        if not self._path.exists():
            return b"", []
        with open(self._path, "rb") as file:
            file.seek(self.position + len(self._begun))
            data = self._begun + file.read(CHUNK)
        whole = data[: data.rfind(b"\n") + 1]
        self._begun = data[len(whole) :]
        if len(self._begun) > CHUNK and not whole:  # no line, and nobody reads it: progress without an end
            whole, self._begun = self._begun, b""
        self.position += len(whole)
        return whole, self._read(whole)

    @property
    def has_more(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > self.position + len(self._begun)

    def rest(self) -> tuple[bytes, list[Line]]:
        """The last line, which has no end: whole if the script came to its own."""
        rest, self._begun = self._begun, b""
        self.position += len(rest)
        return rest, self._read(rest)

    def is_long(self) -> bool:
        """Whether much has been read that still lies on the disk."""
        return self.position - self._freed >= GIVEN_BACK

    def give_back(self) -> None:
        """Free the place of what has been read; the file keeps its length, so whoever appends goes on."""
        self._freed = self.position
        if sys.platform == "linux":
            with open(self._path, "r+b") as file:
                ctypes.CDLL(None).fallocate(
                    file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(self.position)
                )

    def _read(self, data: bytes) -> list[Line]:
        lines = data.decode(errors="replace").split("\n")
        if lines and not lines[-1]:
            lines.pop()
        self.lines += len(lines)
        return [found for line in lines if (found := self._reader.read(line)) is not None]
