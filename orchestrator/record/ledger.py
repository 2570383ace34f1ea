"""The ledger: one append-only SQLite file per sweep, the only file that must survive.

`Ledger.write` opens it for the one driver that may write: a file lock keeps out a second driver on this machine, and a
lease (an epoch that only grows, checked inside every transaction) fences off a driver that wakes up on another machine.
`Ledger.read` opens it for anybody else, at any time, without disturbing the writer. Everything appended inside
`with ledger.transaction():` is on the disk when the block ends (WAL, synchronous=FULL). Records are chained by hashes
(chain.py): a damaged record is refused and named, never used. Secrets are masked (secrets.py).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from orchestrator.errors import RunInUse, StorageError
from orchestrator.record import chain, schema
from orchestrator.record.appends import Appends
from orchestrator.record.encoding import (
    DECIDING,
    EVENTS,
    now,
    parsed,
    record_of,
    suggestion_of,
)
from orchestrator.record.file_lock import FileLock
from orchestrator.record.moved import with_present_places
from orchestrator.record.opening import (
    check_version,
    check_whole,
    create,
    last_of,
    lock_run,
    lost_words,
    no_ledger,
    refuse_a_lost_ledger,
)
from orchestrator.record.storage import COPY as COPY
from orchestrator.record.storage import FILE as FILE
from orchestrator.record.storage import LOCK as LOCK
from orchestrator.record.storage import (
    connect,
    damaged,
    host,
    make_folder,
    own_files,
    reading,
    refuse_links,
    storage_errors,
)
from search.history import History
from search.records import Goal, Suggestion
from search.space import Space
from search.task import Task

if TYPE_CHECKING:
    pass


class Fenced(RunInUse):
    """Another driver has taken over this run; this one may write nothing more."""


@dataclass(frozen=True)
class Lease:
    """A driver of the run: one row for each driver that wrote anything."""

    epoch: int
    time: str
    host: str
    pid: int
    started: float


class Ledger(Appends):
    """One run's record. Use `Ledger.write(folder)` or `Ledger.read(folder)`, and `close` it."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: FileLock | None) -> None:
        super().__init__()
        self.folder = folder
        self.notices: list[str] = []  # findings on opening that people should know
        self.epoch = 0  # of our lease; 0 before we write
        self.is_writing = False  # a transaction is open: an exception now would undo it
        self._connection = connection
        self._lock = lock
        self._open = contextlib.ExitStack()  # everything to close
        self._at = chain.Link()  # the last record
        self._head: chain.Head | None = None
        self._found_epoch = 0  # the lease before ours
        self._inode = (0, 0)

    # Opening.

    @classmethod
    def write(cls, folder: Path) -> Ledger:
        """Open for writing, and make the run's folder if necessary. Records nothing before the first transaction.

        Raises RunInUse, StorageError (read-only or full disk, links in the folder) or LedgerDamaged.
        """
        make_folder(folder)
        refuse_links(*own_files(folder))
        lock = lock_run(folder)
        try:
            refuse_a_lost_ledger(folder)
            ledger = cls(folder, connect(folder / FILE), lock)
            ledger._open.callback(ledger._connection.close)
            try:
                with storage_errors(folder):
                    ledger._begin()
                    ledger.copy()
            except BaseException:
                ledger._open.close()
                raise
        except BaseException:
            lock.release()
            raise
        return ledger

    @classmethod
    def read(cls, folder: Path, *, check: bool = True) -> Ledger:
        """Open for reading only. Raises StorageError if there is no ledger, LedgerDamaged if it is damaged.

        `check=False` checks only the end of the chain: for a quick look at a long record.
        """
        with storage_errors(folder, "read"):
            if not (folder / FILE).exists():
                raise no_ledger(folder)
        opened = contextlib.ExitStack()
        try:
            with storage_errors(folder, "read"):
                head = chain.read_head(folder)  # read it before the ledger, which may be growing
                ledger = cls(folder, opened.enter_context(reading(folder / FILE)), None)
                ledger._open = opened
                check_version(ledger._connection, folder)
                with ledger.snapshot():
                    at = check_whole(ledger._connection, folder, head) if check else ledger._last()
            if at.seq < head.seq:
                raise damaged(folder, lost_words(at, head))
        except BaseException:
            opened.close()
            raise
        return ledger

    def close(self, *, abruptly: bool = False) -> None:
        """Close; a writer first makes a fresh copy, and unlocks the run. `abruptly`: without the copy, like a kill."""
        try:
            if not abruptly and self._lock is not None and self._lock.is_locked and self._in_place():
                with storage_errors(self.folder):
                    self.copy()
        finally:
            self._open.close()
            if self._lock is not None:
                self._lock.release()

    def copy(self) -> None:
        """Write a consistent copy beside the ledger, in case the disk damages the ledger."""
        target, half = self.folder / COPY, self.folder / f"{COPY}.tmp"
        half.unlink(missing_ok=True)
        self._connection.execute("VACUUM INTO ?", (str(half),))
        half.chmod(0o600)
        os.replace(half, target)

    # Appending.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything appended inside is durable when the block ends, or nothing is appended."""
        begun, epoch = self._at, self.epoch
        self.is_writing = True
        with storage_errors(self.folder):
            try:
                self._refuse_elsewhere()
                self._connection.execute("BEGIN IMMEDIATE")
                latest = self._latest_epoch()
                if latest != (self.epoch or self._found_epoch):
                    raise Fenced(
                        f"{self.folder}: another driver (epoch {latest}) has taken this run over; this one stops."
                    )
                if not self.epoch:
                    self.epoch, started = self._found_epoch + 1, psutil.Process().create_time()
                    self._insert("lease", host=host(), pid=os.getpid(), started=started)
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._at, self.epoch = begun, epoch
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self.is_writing = False
                raise
        assert self._head is not None
        self._head.set(self._at)
        self.is_writing = False

    # Reading.

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside shows the same moment, whatever the writer does meanwhile."""
        with storage_errors(self.folder, "read"):
            outermost = not self._connection.in_transaction
            if outermost:
                self._connection.execute("BEGIN")
            try:
                yield
            finally:
                if outermost and self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def rows(self, table: str, condition: str = "ORDER BY seq", **values: Any) -> list[dict[str, Any]]:
        """All rows of a table in order, as dicts without their hash and with parsed JSON columns."""
        columns = [name for name in schema.COLUMNS[table] if name != "hash"]
        found = self.query(f"SELECT {', '.join(columns)} FROM {table} {condition}", **values)
        try:
            return [parsed(dict(zip(columns, row, strict=True))) for row in found]
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged(self.folder, f"a {table} cannot be read ({error})") from error

    def query(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows of a SELECT, as SQLite returns them."""
        with storage_errors(self.folder, "write" if self._lock else "read"):
            return self._connection.execute(statement, values).fetchall()

    def sweeps(self) -> list[dict[str, Any]]:
        """Every description of the sweep that has driven this run; the last one is in force."""
        return [with_present_places(row, self.folder) for row in self.rows("sweep")]

    def sweep(self) -> dict[str, Any]:
        """The description in force, the last one. Raises StorageError if there is none yet."""
        rows = self.rows("sweep", "ORDER BY seq DESC LIMIT 1")
        if not rows:
            raise StorageError(f"{self.folder}: nothing is recorded yet; look again in a moment.")
        return with_present_places(rows[0], self.folder)

    def history(
        self,
        space: Space,
        horizon: int,
        seed: int,
        goal: Goal,
        *,
        tasks: Sequence[Task] = (),
        limit: int | None = None,
        earlier: Sequence[History] = (),
    ) -> History:
        """Fold all records into the history that searchers and schedulers see."""
        history = History(space, horizon=horizon, seed=seed, tasks=tasks, limit=limit, earlier=earlier)
        for _, table, row in self.deciding():
            history.append(record_of(table, row, space, goal))
        return history

    def deciding(self, tables: Sequence[str] = DECIDING) -> list[tuple[int, str, dict[str, Any]]]:
        """`seq`, table and row of every record that goes into the history, in order."""
        with self.snapshot():
            found = [(row["seq"], table, row) for table in tables for row in self._records(table)]
        return sorted(found, key=lambda each: each[0])

    def _records(self, table: str) -> list[dict[str, Any]]:
        return self.rows("event", f"WHERE kind = '{table}' ORDER BY seq") if table in EVENTS else self.rows(table)

    @property
    def last(self) -> int:
        """The `seq` of the last record; for a reader, at the moment of the call."""
        return self._last().seq

    def begun(self) -> dict[int, Suggestion]:
        """The first suggestion of every trial: a start or a fork."""
        rows = self.rows("suggestion", "WHERE kind <> 'resume' ORDER BY seq")
        return {row["trial"]: suggestion_of(row) for row in rows}

    def lease(self) -> Lease | None:
        """The last driver's lease."""
        rows = self.rows("lease", "ORDER BY epoch DESC LIMIT 1")
        return Lease(**{name: value for name, value in rows[0].items() if name != "seq"}) if rows else None

    def last_heard(self) -> str:
        """The time of the last record."""
        times = " UNION ALL ".join(f"SELECT seq, time FROM {name} WHERE seq = :last" for name in schema.RECORDS)
        found = self.query(times, last=self.last)
        return str(found[0][1]) if found else ""

    # Internals.

    def _begin(self) -> None:
        head = chain.read_head(self.folder)
        tables = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0 and tables == 0:
            refuse_a_lost_ledger(self.folder, is_empty=True)
            create(self._connection)
        else:
            check_version(self._connection, self.folder)
            with self.snapshot():
                self._at = check_whole(self._connection, self.folder, head)
            copied = last_of(self.folder / COPY)
            if copied > self._at.seq:
                raise damaged(
                    self.folder,
                    f"it ends at record {self._at.seq}, and its copy holds {copied} ({lost_words(self._at, head)})",
                )
            if not self._at.seq:
                refuse_a_lost_ledger(self.folder, is_empty=True)
            if self._at.seq < head.seq:
                self.notices.append(
                    f"{self.folder / FILE}: {lost_words(self._at, head)}; the copy does not hold them either. Their "
                    "steps will be trained again."
                )
        status = os.stat(self.folder / FILE)
        self._inode = (status.st_dev, status.st_ino)
        self._found_epoch = self._latest_epoch()
        self._head = chain.Head(self.folder)
        self._head.set(self._at)
        self._open.callback(self._head.close)

    def _last(self) -> chain.Link:
        ends = (f"SELECT * FROM (SELECT seq, hash FROM {name} ORDER BY seq DESC LIMIT 1)" for name in schema.RECORDS)
        return chain.Link(*max(self.query(" UNION ALL ".join(ends)), default=()))

    def _latest_epoch(self) -> int:
        return int(self._connection.execute("SELECT COALESCE(MAX(epoch), 0) FROM lease").fetchone()[0])

    def _insert(self, table: str, **columns: Any) -> None:
        row = chain.row_of(table, {"seq": self._at.seq + 1, "time": now(), "epoch": self.epoch} | columns)
        following = chain.following(self._at, table, row)
        marks = ", ".join("?" * (len(row) + 1))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", (*row, following.hash))
        self._at = following

    def _in_place(self) -> bool:
        """Whether the file that we write is still the one at its path."""
        try:
            status = os.stat(self.folder / FILE)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._inode

    def _refuse_elsewhere(self) -> None:
        if not self._in_place():
            raise StorageError(
                f"{self.folder / FILE} was moved, removed or replaced while this driver was writing it; it stops, and writes "
                "nothing more. Bring the file back (or run the command again where the run is now) to go on."
            )
