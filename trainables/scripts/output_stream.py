"""Read a script's output line by line from a file, while the script writes it.

We use files, not pipes: the output of a script whose worker was killed is still there for the next worker. On Linux the
place of the output already read is given back to the disk, so that a talkative script does not fill it, but for its end, in which an error may stand.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from trainables.scripts.line import Line
from trainables.scripts.pattern import PatternReader
from trainables.scripts.printed import progress_in
from trainables.scripts.reader import Reader
from trainables.scripts.tables import Tables
from trainables.scripts.trial_folder import TAIL

CHUNK = 1_000_000  # bytes at a time
LAST = 2000  # bytes of the output in which to look for progress bars
GIVEN_BACK = 8_000_000  # bytes to read before their place on the disk is freed
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # of fallocate(2)


class OutputStream:
    """One output file of a training up to `horizon`, read from `position` on; `steps`: those of the last heading before;
    `pattern`: the user's own, see `trainables.scripts.pattern`."""

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        horizon: int,
        position: int = 0,
        steps: dict[str, float] | None = None,
        *,
        pattern: str | None = None,
    ) -> None:
        self._path = path
        self._own = None if pattern is None else PatternReader(pattern, names, steps)
        self._reader = Reader(names, steps, horizon)
        self._tables = Tables(horizon)
        self._begun = b""  # a line whose end has not come yet
        self._last = b""  # the end of the lines before it
        self._freed = position
        self._held = 0  # bytes of a table that has begun
        self._too_long = 0  # bytes already passed over of a line that is longer than CHUNK and has not ended
        self.position = position  # end of the complete lines read
        self.lines = 0

    @property
    def settled(self) -> int:
        """Where to read on in another process: the end of the complete lines, or the beginning of a table or of a line that
        has not ended."""
        return self.position - self._held - self._too_long

    @property
    def steps(self) -> dict[str, float]:
        return (self._own or self._reader).steps

    def poll(self) -> tuple[bytes, list[Line]]:
        """The new complete lines, as bytes and as parsed lines."""
        if not self._path.exists():
            return b"", []
        with open(self._path, "rb") as file:
            file.seek(self.position + len(self._begun))
            data = self._begun + file.read(CHUNK)
        whole = data[: data.rfind(b"\n") + 1]
        self._begun = data[len(whole) :]
        if len(self._begun) > CHUNK and not whole:
            return self._pass_over(), []
        self._last = (self._last + whole[-LAST:])[-LAST:]
        return whole, self._read(self._after_a_long_line(whole))

    def _pass_over(self) -> bytes:
        """Drop, from a megabyte without a line end, what a carriage return or a backspace has overwritten; without one, the
        beginning of a line that is too long. Of neither may a piece count as a line: it could end inside of a number."""
        end = max(self._begun.rfind(sign, 0, -1) for sign in (b"\r", b"\x08")) + 1  # a \r at the end may belong to a \n
        dropped, self._begun = self._begun[: end or None], self._begun[end or len(self._begun) :]
        self._too_long = 0 if end else self._too_long + len(dropped)
        self.position += len(dropped)
        self._last = (self._last + dropped)[-LAST:]
        return dropped

    def _after_a_long_line(self, whole: bytes) -> bytes:
        """The lines in `whole`, without the rest of a line that is too long."""
        self.position += len(whole)
        if not self._too_long or not whole:
            return whole
        rest, _, lines = whole.partition(b"\n")
        self._too_long = 0
        self.lines += 1
        return rest[rest.rfind(b"\r", 0, -1) + 1 :] + b"\n" + lines if b"\r" in rest[:-1] else lines

    @property
    def bars(self) -> dict[int, int]:
        """How far the latest progress bars have come, by their totals; a bar mostly is a line that is still being written."""
        return progress_in((self._last + self._begun)[-LAST:].decode(errors="replace"))

    @property
    def has_more(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > self.position + len(self._begun)

    def rest(self) -> tuple[bytes, list[Line]]:
        """The last line, which has no end, and the rows of a table that has none; they are complete if the script ended by
        itself."""
        rest, self._begun = self._begun, b""
        read = self._read(self._after_a_long_line(rest))
        return rest, [*read, *self._of(self._tables.end())]

    def is_long(self) -> bool:
        """Whether much of the output already read still takes disk space."""
        return self.settled - self._freed >= GIVEN_BACK

    def give_back(self) -> None:
        """Free the disk space of the output already read, but for its end; the file keeps its length, so appending to it
        still works."""
        self._freed = self.settled
        end = self.settled - TAIL
        if end > 0 and sys.platform == "linux" and self._path.exists():
            with open(self._path, "r+b") as file:
                ctypes.CDLL(None).fallocate(
                    file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(end)
                )

    def _read(self, data: bytes) -> list[Line]:
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        self.lines += len(lines)
        if self._own is not None:
            told = (self._own.read(line.decode(errors="replace")) for line in lines)
            return [line for line in told if line is not None]
        found: list[Line] = []
        for line in lines:
            found += self._of(self._tables.take(line.decode(errors="replace")))
            self._held = self._held * (self._tables.held > 1) + (len(line) + 1) * (self._tables.held > 0)
        return found

    def _of(self, parts: list[str | Line]) -> list[Line]:
        """Lines as the reader understands them, and records of tables."""
        read = (self._reader.read(part) if isinstance(part, str) else self._reader.below(part) for part in parts)
        return [line for line in read if line is not None]
