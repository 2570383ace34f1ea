"""A log that may not fill the disk: beyond a limit its head and its tail are kept, and a line says what is missing."""

from __future__ import annotations

from pathlib import Path

LIMIT, HEAD = 8_000_000, 1_000_000  # bytes of a log, and those of its beginning that always stay


def append(path: Path, data: bytes, limit: int = LIMIT, head: int = HEAD) -> None:
    """Add `data`. The file is rewritten in place, so that others that append to it go on."""
    if not data:
        return
    if len(data) > limit // 2:
        data = data[-limit // 2 :]
    with open(path, "ab+") as log:
        if log.tell() + len(data) > limit:
            size = log.tell()
            log.seek(0)
            first = log.read(head)
            first = first[: first.rfind(b"\n") + 1] or first
            log.seek(size - limit // 4)
            last = log.read()
            last = last[last.find(b"\n") + 1 :]
            gone = size - len(first) - len(last)
            log.truncate(0)
            log.write(first + f"\n… {gone:,} bytes were left out here …\n".encode() + last)
        log.write(data)
