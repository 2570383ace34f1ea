"""What a torn write-ahead log has lost: SQLite skips the torn tail silently, we want to say so.

The format is SQLite's (https://www.sqlite.org/fileformat2.html, section 4): a 32-byte header, then frames of a
24-byte header and one page. A frame counts if its salts equal the header's and its running checksum is right; the
last valid frame that carries a database size ends the last complete transaction. Frames after it with the same
salts were begun and never finished: nobody was told that they are safe.
"""

from __future__ import annotations

import struct
from pathlib import Path

HEADER, FRAME = 32, 24


def torn_bytes(wal: Path) -> int:
    """Bytes after the last complete transaction that belong to this log; 0 for a clean or absent one."""
    try:
        data = wal.read_bytes()
    except FileNotFoundError:
        return 0
    if len(data) < HEADER:
        return len(data)
    magic, _, page, _, salt1, salt2, sum1, sum2 = struct.unpack(">8I", data[:HEADER])
    order = {0x377F0682: "<", 0x377F0683: ">"}.get(magic)
    if order is None or _checksum(data[:24], order, (0, 0)) != (sum1, sum2):
        return len(data)  # SQLite ignores a log whose header is damaged
    running, position, complete = (sum1, sum2), HEADER, HEADER
    while position + FRAME + page <= len(data):
        _, size, s1, s2, c1, c2 = struct.unpack(">6I", data[position : position + FRAME])
        if (s1, s2) != (salt1, salt2):
            return position - complete  # the rest is left over from before the log was restarted
        body = data[position : position + 8] + data[position + FRAME : position + FRAME + page]
        running = _checksum(body, order, running)
        if running != (c1, c2):
            return len(data) - complete
        position += FRAME + page
        if size:
            complete = position
    tail = data[position : position + FRAME]
    own_tail = len(tail) < 16 or struct.unpack(">2I", tail[8:16]) == (salt1, salt2)
    return (len(data) if own_tail else position) - complete


def _checksum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    first, second = start
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
