"""The hash chain that detects and locates damage in a ledger.

Every record carries the SHA-256 of the previous hash, its table and its columns: a record that was changed, lost or
inserted does not fit and is named. `ledger.head` beside the ledger holds the number and the hash of the last
acknowledged record, so a loss at the end is detected too. It is written after each commit and not forced to the disk:
after a power cut it may lag behind, but it never claims a record that was not safe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.record import schema

HEAD = "ledger.head"
DIGITS = 32  # of a hash, hexadecimal

Row = tuple[Any, ...]


class Broken(Exception):
    """The chain breaks before the last record; the message names the place."""


class Link(NamedTuple):
    """A link of the chain: the number of a record, and its hash."""

    seq: int = 0
    hash: str = ""


def row_of(table: str, values: Mapping[str, Any]) -> Row:
    """The columns in order, as SQLite will return them, without the hash."""
    columns = list(schema.COLUMNS[table].items())[:-1]
    return tuple(None if values[name] is None else _AS_STORED[kind](values[name]) for name, kind in columns)


def following(before: Link, table: str, row: Row) -> Link:
    """The link of a record that comes after `before`."""
    text = f"{before.hash}{table}{_encode(row)}"
    return Link(before.seq + 1, hashlib.sha256(text.encode()).hexdigest()[:DIGITS])


def walk(connection: sqlite3.Connection) -> Iterator[tuple[str, Row]]:
    """All records in order, as (table, row with its hash); raises Broken at the first damaged one."""
    at, last = Link(), ("", ())  # type: tuple[Link, tuple[str, Row]]
    try:
        upcoming: dict[int, tuple[str, Row, Iterator[Row]]] = {}  # seq → the next record of a table

        def advance(table: str, rows: Iterator[Row]) -> None:
            row = next(rows, None)
            if row is not None:
                if row[0] in upcoming:
                    raise Broken(f"record {row[0]} is there twice")
                upcoming[row[0]] = (table, row, rows)

        for table in schema.RECORDS:
            columns = ", ".join(schema.COLUMNS[table])
            advance(table, connection.execute(f"SELECT {columns} FROM {table} ORDER BY seq"))
        while upcoming:
            if at.seq + 1 not in upcoming:
                raise Broken(f"record {at.seq + 1} is missing, {_after(last)}")
            table, row, rows = upcoming.pop(at.seq + 1)
            at = following(at, table, row[:-1])
            if row[-1] != at.hash:
                raise Broken(f"the {name_of(table, row)} differs from what was written")
            last = (table, row)
            yield last
            advance(table, rows)
    except (sqlite3.Error, UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise Broken(f"what comes {_after(last)} cannot be read: {error}") from error


def _after(last: tuple[str, Row]) -> str:
    return f"after the {name_of(*last)}" if last[1] else "at the beginning"


def name_of(table: str, row: Row) -> str:
    """The name of a record for people: "report of trial 3 at step 5 (record 17)"."""
    columns = dict(zip(schema.COLUMNS[table], row, strict=True))
    trial = "" if columns.get("trial") is None else f" of trial {columns['trial']}"
    step = "" if columns.get("step") is None else f" at step {columns['step']}"
    return f"{table}{trial}{step} (record {columns['seq']})"


def schema_problem(connection: sqlite3.Connection) -> str:
    """The first table, view or trigger that was altered; empty if none was."""
    fresh = sqlite3.connect(":memory:")
    for statement in schema.statements():
        fresh.execute(statement)
    query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    wanted, found = dict(fresh.execute(query)), dict(connection.execute(query))
    fresh.close()
    return next((f"{name} is not as it was made" for name, sql in wanted.items() if found.get(name) != sql), "")


class Head:
    """The writer's open file `ledger.head`."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / HEAD, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)

    def set(self, link: Link) -> None:
        """Note the last acknowledged record. If the disk refuses, only this check is lost, not a record."""
        with contextlib.suppress(OSError):
            os.pwrite(self._file, _sealed(link), 0)

    def close(self) -> None:
        os.close(self._file)


def read_head(folder: Path) -> Link:
    """The last acknowledged record; the start of the chain if nothing (or nothing legible) is noted."""
    try:
        data = (folder / HEAD).read_bytes()
        seq, value, _ = data.split()
        link = Link(int(seq), value.decode())
        return link if data == _sealed(link) else Link()
    except (OSError, ValueError):
        return Link()


def _sealed(link: Link) -> bytes:
    text = f"{link.seq:012d} {link.hash}"
    return f"{text} {hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}\n".encode()


def _storable(value: Any) -> str:
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # file names may hold stray bytes


# SQLite has no -0.0: adding 0.0 gives the zero that SQLite will return.
_AS_STORED: dict[str, Callable[[Any], Any]] = {
    "INTEGER": int, "REAL": lambda value: float(value) + 0.0, "TEXT": _storable,
}  # fmt: skip
_encode = json.JSONEncoder(separators=(",", ":")).encode
