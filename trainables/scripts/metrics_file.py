"""Read the rows of a metrics file that a script appends to: CSV, JSON lines, or TensorBoard's events.

A CSV may be sparse (Lightning's logger writes the values of training and validation in different rows), and the script
may rewrite it with each row, so we read it from the beginning whenever it has changed. A last row of a CSV without a line
end is still being written, as its last number may be cut off (0.5 of 0.53); it stays half a row if the script was ended
then. JSON needs no line end: its closing bracket shows that it is whole. Events are read as they are appended.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import json
import math
import re
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.scripts.line import Line, Value
from trainables.scripts.names import STEP_WORDS, key_of
from trainables.scripts.numbers import NOT_FINITE
from trainables.scripts.printed import of_mapping, structure

REST = 20.0  # a file rests this many times as long as reading it took
LATE, MANY = 10.0, 5  # seconds that a file was open without rows, and the rows that come at its end, to tell of it
_NUMBER = rf"[-+]?(?:{NOT_FINITE}|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"  # in a CSV; 1,234 may be 1.234 there


class MetricsFile:
    """All files that match `pattern` below `folder`, none if it is empty; `marks`: the rows or bytes read before the script
    started."""

    def __init__(
        self,
        folder: Path,
        pattern: str,
        marks: Mapping[str, int] | None = None,
        *,
        rest: float = REST,
        late: float = LATE,
    ) -> None:
        self._folder, self._pattern, self._rest, self._late = folder, pattern, rest, late
        self._known = dict(marks or {})  # path → rows, or bytes of events, that are not new
        self._seen: dict[Path, tuple[int, int, int]] = {}  # state of a file when it was read: inode, size, time
        self._last: dict[Path, str] = {}  # its last row then
        self._told: dict[Path, int] = {}  # the number of its rows with the metric
        self._wait_until = 0.0
        self._open_since: dict[Path, float] = {}  # when a file was first seen, until it has a row with the metric
        self.late = ""  # what to tell of a file whose rows came when the script ended
        # New rows without the metric, and how many with it came before each, for the caller to take.
        self.without: list[tuple[Line, int]] = []

    @property
    def marks(self) -> dict[str, int]:
        return dict(self._known)

    @property
    def paths(self) -> list[Path]:
        """The matching files, oldest first."""
        times = []
        for path in map(Path, glob.glob(str(self._folder / self._pattern), recursive=True)):
            with contextlib.suppress(FileNotFoundError):  # it is being replaced
                if path.is_file():
                    times.append((path.stat().st_mtime, str(path)))
        return [Path(path) for _, path in sorted(times)]

    def leave_half_rows(self) -> None:
        """End the row that a killed script has begun, so that the next row does not grow into it. Half a row of a CSV is
        passed over, as its last number may be cut off; JSON shows itself whether it is whole."""
        for path in self.paths:
            if "tfevents" not in path.name and (text := _text(path)) and text[-1] != "\n":
                with contextlib.suppress(OSError), open(path, "a") as file:
                    file.write("\n")
                    if text.lstrip()[:1] not in ("{", "["):
                        self._known[str(path)] = len(list(rows(text)))

    def poll(self, metric: str, ended: bool) -> list[tuple[Line, int]]:
        """The new rows with this metric, each with its number among them; `ended`: the last row is complete, too."""
        begun = time.monotonic()
        if begun < self._wait_until and not ended:
            return []
        news: list[tuple[Line, int]] = []
        for path in self.paths:
            with contextlib.suppress(FileNotFoundError):  # it is being replaced
                state = path.stat()
                now = (state.st_ino, state.st_size, state.st_mtime_ns)
                if self._seen.get(path) != now or ended:
                    news += self._new(path, metric, ended)
                    self._seen[path] = now
        self._wait_until = time.monotonic() + self._rest * (time.monotonic() - begun)
        return news

    def _new(self, path: Path, metric: str, ended: bool) -> list[tuple[Line, int]]:
        found = self._new_events(path) if "tfevents" in path.name else self._new_rows(path, metric, ended)
        news = []
        for line in found:
            if line.value(metric) is None:
                self.without.append((line, self._told.get(path, 0)))
            else:
                self._told[path] = self._told.get(path, 0) + 1
                news.append((line, self._told[path]))
        self._note_if_late(path, ended)
        return news

    def _new_events(self, path: Path) -> list[Line]:
        known = self._known.get(str(path), 0)
        with open(path, "rb") as file:
            file.seek(known)
            found, used = events(file.read())
        self._known[str(path)] = known + used
        return found

    def _new_rows(self, path: Path, metric: str, ended: bool) -> list[Line]:
        """The new rows of a text; all of it if it was rewritten: it has become shorter, or its last known row is another."""
        text, known, last = _text(path), self._known.get(str(path), 0), self._last.get(path)
        skip = 0 if last is None else known - 1  # rows are costly to read: of the known ones, the last is enough
        found = list(rows(text, ended, skip, metric))
        if len(found) < known - skip or (last is not None and found[0].text != last):
            known = skip = self._told[path] = 0
            found = list(rows(text, ended, metric=metric))
        if not found:
            return []  # it is being rewritten
        if last is None:
            self._told[path] = sum(line.value(metric) is not None for line in found[:known])
        self._known[str(path)], self._last[path] = skip + len(found), found[-1].text
        return found[known - skip :]

    def _note_if_late(self, path: Path, ended: bool) -> None:
        told = self._told.get(path, 0)
        seconds = time.monotonic() - self._open_since.setdefault(path, time.monotonic())
        if told:
            self._open_since[path] = math.inf
        if told >= MANY and ended and seconds >= self._late:
            self.late = (
                f"the rows of {path.name} came as the script ended, {seconds:.0f} s after it had opened the file, so no trial can be "
                "stopped early: let the script write each row at once, with file.flush() or print(…, flush=True)"
            )


def rows(text: str, ended: bool = True, skip: int = 0, metric: str = "") -> Iterator[Line]:
    """The rows of a CSV or of columns of numbers with a header, of JSON lines, of a JSON list, or of one JSON object.
    `ended`: the text is not being written any more. `skip`: so many rows are passed over. `metric`: if an object has a list
    of its values, the object is a table."""
    if text.lstrip()[:1] in ("{", "["):
        yield from _rows_of_json(text, ended, skip, metric)
    else:
        yield from _rows_of_table(text if ended else text[: text.rfind("\n") + 1], skip)


def _rows_of_json(text: str, ended: bool, skip: int, metric: str) -> Iterator[Line]:
    whole = text.strip()
    is_list, is_half = whole[0] == "[", whole[-1] != "]"  # half a list takes long to refuse
    found = _history(whole, metric) if not is_list else [] if is_half else structure(whole) or []
    if found is not None:
        table = [row for row in found if isinstance(row, dict)]
        yield from (of_mapping(json.dumps(row, ensure_ascii=False), row) for row in table[skip:])
        return
    *_, last = lines = [line for line in text.split("\n") if line.strip()]
    for line in lines[skip:]:
        row = structure(line.strip())
        if isinstance(row, dict):
            yield of_mapping(line, row)
        elif ended or text.endswith("\n") or line is not last:
            yield Line(line, broken="it is no JSON")


def _rows_of_table(text: str, skip: int) -> Iterator[Line]:
    text = _from_header_on(text.lstrip())
    first = text.partition("\n")[0]
    delimiter = next((sign for sign in (",", ";", "\t", " ") if sign in first.strip()), ",")
    if delimiter == " ":
        text = re.sub(r"^ +| +$", "", text, flags=re.M)
    table = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    header = [name.strip() for name in next(table, [])]
    for cells in table:
        text, is_whole = delimiter.join(cells), len(cells) == len(header)
        if not is_whole and (not text.strip() or text.startswith("#")):
            continue
        if skip:
            skip -= 1
        elif is_whole:
            row = zip(header, map(str.strip, cells), strict=True)
            told = {name if name.strip("#") else "index": cell for name, cell in row if cell not in ("", name)}
            yield of_mapping(text, told, _NUMBER)
        else:
            yield Line(text, broken=f"it has {len(cells)} cells, and the header {len(header)}")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig", errors="replace")  # some programs mark a text as UTF-8 at its beginning


def _from_header_on(text: str) -> str:
    """A table without the comments above its header, which may be a comment itself: `# step loss` above `100 0.5`."""
    lines = text.splitlines(keepends=True)
    above = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if 0 < above < len(lines) and re.match(rf"\s*{_NUMBER}", lines[above], re.I):
        above -= 1
        lines[above] = lines[above].lstrip("# ")
    return "".join(lines[above:])


def _history(text: str, metric: str) -> list[Mapping[Any, Any]] | None:
    """The rows of one JSON object, or none while its end is missing; None for JSON lines.

    A list of rows in it (`log_history` of transformers), or its lists, one for each name (the history of Keras), beside which
    there may be other values, such as the settings.
    """
    first, _, rest = text.partition("\n")
    goes_on = first.rstrip().endswith(("{", "[", ","))  # in the next line, as JSON with an indent does
    if rest and not goes_on:
        return None  # JSON lines: parsing them as one object would be slow
    found = structure(text)
    if not isinstance(found, dict):
        return [] if goes_on else None
    tables = {
        name: value
        for name, value in found.items()
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
    }
    if tables:
        longest = max(tables, key=lambda name: len(tables[name]))
        if goes_on or _is_history(longest, tables[longest][0], found):
            return tables[longest]
    elif (columns := _columns(found, metric)) is not None:
        length = max(map(len, columns.values()), default=0)
        return [{name: value[at] for name, value in columns.items() if at < len(value)} for at in range(length)]
    return [found] if goes_on else None


def _columns(found: Mapping[str, Any], metric: str) -> dict[str, list[Any]] | None:
    """The lists of an object, or of the one object in it, among which is that of the metric; None if there is none, or if
    several objects have one of that name."""
    lists = {name: value for name, value in found.items() if isinstance(value, list)}
    if lists and (len(lists) == len(found) or key_of(metric) in map(key_of, lists)):
        return lists
    inside = [
        {prefix + name: value for name, value in each.items() if isinstance(value, list)}
        for outer, each in found.items()
        if isinstance(each, Mapping)
        for prefix in ("", f"{outer}.")
    ]
    having = [each for each in inside if key_of(metric) in map(key_of, each)]
    return having[0] if len(having) == 1 else None


def _is_history(name: str, row: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether the rows by this name in an object on one line are a training's history: the object itself may be a row of
    JSON lines, with a step and values of its own, and the rows in it may be of its batches or classes."""
    own = {key_of(other) for other, value in found.items() if isinstance(value, (int, float))}
    in_row = set(map(key_of, row))
    has_steps = bool(in_row & set(STEP_WORDS))
    return "history" in name.lower() or not own or (has_steps and not own & {*STEP_WORDS, *in_row})


def events(data: bytes) -> tuple[list[Line], int]:
    """The scalars of TensorBoard's records, and the number of bytes in complete records.

    A record: length (8 bytes), its checksum (4), that many bytes of a protocol buffer, their checksum (4).
    """
    lines, position = [], 0
    while position + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        if position + 16 + length > len(data):
            break
        event = dict(_fields(data[position + 12 : position + 12 + length]))
        position += 16 + length
        step, summary = event.get(2, 0), event.get(5, b"")
        for number, value in _fields(summary) if isinstance(summary, bytes) else ():
            if number == 1 and (scalar := _scalar(value)) is not None:
                name, shown = scalar
                lines.append(Line(f"{name}={shown} step={step}", (Value(name, shown),), {"step": float(step)}))
    return lines, position


def _scalar(message: bytes) -> tuple[str, str] | None:
    """Name and number of a summary's value, in the old form or as a tensor of one number (TensorFlow 2)."""
    found = dict(_fields(message))
    name = found.get(1, b"").decode(errors="replace")
    if 2 in found:
        return name, repr(_short(struct.unpack("<f", found[2])[0]))
    tensor = dict(_fields(found.get(8, b"")))
    content = tensor.get(4) or tensor.get(5) or tensor.get(6) or b""
    if tensor.get(1) == 1 and len(content) == 4:
        return name, repr(_short(struct.unpack("<f", content)[0]))
    if tensor.get(1) == 2 and len(content) == 8:
        return name, repr(struct.unpack("<d", content)[0])
    return None


def _short(value: float) -> float:
    """A 32-bit number with its own digits, not those of the nearest 64-bit number."""
    return float(f"{value:.8g}")


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The numbers and contents of a protocol buffer's fields."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            content, position = _varint(message, position)
            yield number, content
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield number, message[position : position + size]
            position += size
        elif kind == 2:
            size, position = _varint(message, position)
            yield number, message[position : position + size]
            position += size
        else:
            return


def _varint(message: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return result, position
