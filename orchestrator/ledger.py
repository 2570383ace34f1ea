"""The ledger: one append-only SQLite file a sweep, the only thing that must survive.

`Ledger.write` opens it for the one driver that may write: a lock on the file system keeps a second driver on
this machine out, and a lease (an epoch that only grows, checked inside every transaction) fences one that comes
back from the dead elsewhere. `Ledger.read` opens it for anybody else, at any time, without disturbing the writer.
What was appended inside `with ledger.transaction():` is on the disk when the block ends (WAL, synchronous=FULL).
Records are chained by hashes (chain.py): what is not what was written is refused and named, never used. Secrets are
masked (secrets.py).
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import psutil

from orchestrator import chain, schema
from orchestrator.errors import LedgerDamaged, OrchestratorError, RunInUse, StorageError
from orchestrator.record.encoding import (
    DECIDING,
    distributions,
    kind_of,
    now,
    parsed,
    record_of,
    suggestion_of,
    suggestion_row,
    to_json,
)
from orchestrator.secrets import masked, masked_value
from orchestrator.storage import COPY as COPY
from orchestrator.storage import FILE as FILE
from orchestrator.storage import LOCK as LOCK
from orchestrator.storage import (
    connect,
    damaged,
    host,
    make_folder,
    own_files,
    reading,
    refuse_links,
    remedy,
    storage_errors,
)
from search.history import History
from search.records import Config, Goal, Status, Suggestion
from search.space import Space
from search.task import Task
from search.work import Progress

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


class Fenced(OrchestratorError):
    """Another driver has taken this run over; nothing of ours may be written any more."""


@dataclass(frozen=True)
class Lease:
    """Who has been driving: one row for each driver that wrote anything."""

    epoch: int
    time: str
    host: str
    pid: int
    started: float
    boot: str


class Ledger:
    """One run's record. Use `Ledger.write(folder)` or `Ledger.read(folder)`, and `close` it."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: filelock.FileLock | None) -> None:
        self.folder = folder
        self.notices: list[str] = []  # what was found on opening that people should know
        self.epoch = 0  # of our lease; 0 before we write
        self._connection = connection
        self._lock = lock
        self._open = contextlib.ExitStack()  # what has to be closed
        self._at = chain.Link()  # the last record
        self._head: chain.Head | None = None
        self._found_epoch = 0  # the lease before ours
        self._inode = (0, 0)
        self._sweep: Sweep | None = None  # that drives us

    # Opening.

    @classmethod
    def write(cls, folder: Path) -> Ledger:
        """Open for writing, making the run's folder if need be. Nothing is recorded before the first transaction.

        Raises RunInUse, StorageError (read-only or full disk, links in the folder) or LedgerDamaged.
        """
        make_folder(folder)
        refuse_links(*own_files(folder))
        lock = lock_run(folder)
        try:
            _refuse_a_lost_ledger(folder)
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
        """Open for reading only. Raises StorageError if there is no ledger, LedgerDamaged if it is not what was written.

        `check=False` looks at the end of the chain only: for a glance at a long record.
        """
        if not (folder / FILE).exists():
            raise _no_ledger(folder)
        opened = contextlib.ExitStack()
        try:
            with storage_errors(folder, "read"):
                head = chain.read_head(folder)  # before the ledger, which may be growing
                ledger = cls(folder, opened.enter_context(reading(folder / FILE)), None)
                ledger._open = opened
                ledger._check_version()
                with ledger.snapshot():
                    at = ledger._check(head) if check else ledger._glance(head)
            if at.seq < head.seq:
                raise damaged(folder, _lost(at, head))
        except BaseException:
            opened.close()
            raise
        return ledger

    def close(self) -> None:
        """Close; a writer leaves a fresh copy behind and frees the run."""
        try:
            if self._lock is not None and self._lock.is_locked and self._in_place():
                with storage_errors(self.folder):
                    self.copy()
        finally:
            self._open.close()
            if self._lock is not None:
                self._lock.release()

    def copy(self) -> None:
        """Keep a second, consistent file beside the ledger: the way on if the disk damages the first."""
        target, half = self.folder / COPY, self.folder / f"{COPY}.tmp"
        half.unlink(missing_ok=True)
        self._connection.execute("VACUUM INTO ?", (str(half),))
        half.chmod(0o600)
        os.replace(half, target)

    # Appending.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is appended inside is durable when the block ends, or not there at all."""
        begun, epoch = self._at, self.epoch
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
                    self._take_lease()
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._at, self.epoch = begun, epoch
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        assert self._head is not None
        self._head.set(self._at)

    def add_sweep(self, sweep: Sweep, change: str, command: Sequence[str]) -> None:
        self._sweep = sweep
        parameters = [
            {"name": name, "distribution": distribution, "choices": choices}
            for name, distribution, choices in distributions(sweep.space)
        ]
        self._insert(
            "sweep", fingerprint=sweep.fingerprint, description=to_json(sweep.describe() | {"trains_on": hasattr(sweep.workload, "knobs")}),
            parameters=to_json(parameters), code=to_json(_code()), command=to_json(masked_value(list(command))),
            change=masked(change),
        )  # fmt: skip

    def add_suggestion(self, trial: int, suggestion: Suggestion, seed: int) -> None:
        columns = suggestion_row(suggestion) | {"trial": trial, "seed": seed}
        command = to_json(masked_value(self._command_of(suggestion.config)))
        self._insert("suggestion", **columns | {"config": to_json(columns["config"]), "command": command})

    def add_report(
        self, trial: int, step: int, value: float, cost_seconds: float, metrics: Mapping[str, float]
    ) -> None:
        self._insert(
            "report", trial=trial, step=step, value=None if math.isnan(value) else value, kind=kind_of(value),
            cost_seconds=cost_seconds, metrics=to_json(dict(metrics)),
        )  # fmt: skip

    def add_verdict(self, trial: int, step: int, verdict: str, scheduler: str) -> None:
        self._insert("verdict", trial=trial, step=step, verdict=verdict, scheduler=scheduler)

    def add_ending(self, trial: int, status: Status, step: int, reason: str, detail: str = "") -> None:
        self._insert(
            "ending", trial=trial, status=status.value, step=step, reason=masked(reason), detail=masked(detail)
        )

    def add_lost(self, trial: int, step: int, reason: str) -> None:
        self._insert("lost", trial=trial, step=step, reason=masked(reason))

    def add_search_end(self, reason: str) -> None:
        self._insert("search_end", reason=masked(reason))

    def add_checkpoint(self, trial: int, step: int, path: str, sha256: str, size: int) -> None:
        self._insert("checkpoint", trial=trial, step=step, path=path, sha256=sha256, bytes=size)

    def add_test(self, trial: int, step: int, metrics: Mapping[str, float]) -> None:
        self._insert("test", trial=trial, step=step, metrics=to_json(dict(metrics)))

    def add_decision(self, trial: int, decision: Progress) -> None:
        self._insert(
            "decision", trial=trial, step=decision.step, samples=decision.samples, position=decision.position,
            why=masked(decision.text), before=to_json(dict(decision.before)),
            after=to_json(dict(decision.after)), metrics=to_json(dict(decision.metrics)),
            cost_seconds=decision.cost_seconds,
        )  # fmt: skip

    def add_event(self, kind: str, text: str, trial: int | None = None) -> None:
        self._insert("event", kind=kind, trial=trial, text=masked(text))

    # Reading.

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read inside belongs to one moment, however the writer goes on."""
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
        """All rows of a table in order, as dicts without their hash; JSON columns are parsed."""
        columns = [name for name in schema.COLUMNS[table] if name != "hash"]
        found = self.query(f"SELECT {', '.join(columns)} FROM {table} {condition}", **values)
        try:
            return [parsed(dict(zip(columns, row, strict=True))) for row in found]
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged(self.folder, f"a {table} cannot be read ({error})") from error

    def query(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """The rows that a SELECT finds, as SQLite gives them."""
        with storage_errors(self.folder, "write" if self._lock else "read"):
            return self._connection.execute(statement, values).fetchall()

    def sweeps(self) -> list[dict[str, Any]]:
        """Every description this run has been driven by; the last one is in force."""
        return self.rows("sweep")

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
        up_to: int | None = None,
    ) -> History:
        """Fold all records (or those up to this `seq`) into what searchers and schedulers see."""
        history = History(space, horizon=horizon, seed=seed, tasks=tasks, limit=limit, earlier=earlier)
        for seq, table, row in self.deciding():
            if up_to is None or seq <= up_to:
                history.append(record_of(table, row, space, goal))
        return history

    def deciding(self, tables: Sequence[str] = DECIDING) -> list[tuple[int, str, dict[str, Any]]]:
        """`seq`, table and row of everything that the history is folded from, in order."""
        with self.snapshot():
            found = [(row["seq"], table, row) for table in tables for row in self.rows(table)]
        return sorted(found, key=lambda each: each[0])

    @property
    def last(self) -> int:
        """The `seq` of the last record; also for a reader, at the moment of asking."""
        return self._last().seq

    def begun(self) -> dict[int, Suggestion]:
        """For every trial the suggestion that it began with: a start or a fork."""
        return {
            row["trial"]: suggestion_of(row) for row in self.rows("suggestion", "WHERE kind <> 'resume' ORDER BY seq")
        }

    def lease(self) -> Lease | None:
        """Who drove last."""
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
            _refuse_a_lost_ledger(self.folder, is_empty=True)
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in schema.statements():
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            self._connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # a lost log must not look like a new run
        else:
            self._check_version()
            with self.snapshot():
                self._at = self._check(head)
            copied = _last_of(self.folder / COPY)
            if copied > self._at.seq:
                raise damaged(
                    self.folder,
                    f"it ends at record {self._at.seq}, and its copy holds {copied} ({_lost(self._at, head)})",
                )
            if not self._at.seq:
                _refuse_a_lost_ledger(self.folder, is_empty=True)
            if self._at.seq < head.seq:
                self.notices.append(
                    f"{self.folder / FILE}: {_lost(self._at, head)}; the copy does not hold them either. What they "
                    "told will be trained again."
                )
        status = os.stat(self.folder / FILE)
        self._inode = (status.st_dev, status.st_ino)
        self._found_epoch = self._latest_epoch()
        self._head = chain.Head(self.folder)
        self._head.set(self._at)
        self._open.callback(self._head.close)

    def _check_version(self) -> None:
        if not self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            raise _no_ledger(self.folder)
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        application = self._connection.execute("PRAGMA application_id").fetchone()[0]
        if application != schema.APPLICATION:
            raise StorageError(
                f"{self.folder / FILE}: an SQLite file, but not a ledger of this program. Use another --name."
            )
        if version != schema.VERSION:
            other = "a newer" if version > schema.VERSION else "an older"
            raise StorageError(
                f"{self.folder / FILE}: written by {other} release (ledger version {version}, this one knows "
                f"{schema.VERSION}). Use the release that wrote it, or another --name."
            )

    def _check(self, head: chain.Link) -> chain.Link:
        """Whether all is what was written; returns the last link. Raises LedgerDamaged with the name of the record."""
        try:
            problem = chain.schema_problem(self._connection)
            found = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            at = chain.Link()
            for _, row in chain.walk(self._connection):
                at = chain.Link(row[0], row[-1])
                if at.seq == head.seq and at.hash != head.hash:
                    problem = (
                        problem
                        or f"record {at.seq} is not the one that was acknowledged: another file was put in its place"
                    )
        except (chain.Broken, UnicodeError) as error:
            raise damaged(self.folder, str(error)) from error
        if problem or found != "ok":  # after the records: a name says more than the number of a page
            raise damaged(self.folder, problem or str(found))
        return at

    def _glance(self, head: chain.Link) -> chain.Link:
        """The last link, without a look at all the others."""
        return self._last()

    def _last(self) -> chain.Link:
        ends = (f"SELECT * FROM (SELECT seq, hash FROM {name} ORDER BY seq DESC LIMIT 1)" for name in schema.RECORDS)
        return chain.Link(*max(self.query(" UNION ALL ".join(ends)), default=()))

    def _latest_epoch(self) -> int:
        return int(self._connection.execute("SELECT COALESCE(MAX(epoch), 0) FROM lease").fetchone()[0])

    def _take_lease(self) -> None:
        self.epoch = self._found_epoch + 1
        self._insert("lease", host=host(), pid=os.getpid(), started=psutil.Process().create_time(), boot=_boot())

    def _insert(self, table: str, **columns: Any) -> None:
        row = chain.row_of(table, {"seq": self._at.seq + 1, "time": now(), "epoch": self.epoch} | columns)
        following = chain.following(self._at, table, row)
        self._execute(table, (*row, following.hash))
        self._at = following

    def _execute(self, table: str, row: tuple[Any, ...]) -> None:
        self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)

    def _command_of(self, config: Config) -> list[str]:
        """The words with which a script is started for this configuration; none for a training that is no script."""
        arguments = getattr(getattr(self._sweep, "workload", None), "arguments", None)
        try:
            return [] if arguments is None else [str(word) for word in arguments(config)]
        except Exception:  # the trial will fail with it, and tell
            return []

    def _in_place(self) -> bool:
        """Whether the file that we write is still the one that others see."""
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


def _refuse_a_lost_ledger(folder: Path, *, is_empty: bool = False) -> None:
    """A run that has lost its ledger must not be taken for a new one: its copy and its checkpoints would be lost, too."""
    sizes = [path.stat().st_size for path in (folder / FILE, folder / f"{FILE}-wal") if path.exists()]
    if (folder / FILE).exists() and any(sizes) and not is_empty:
        return
    acknowledged = chain.read_head(folder).seq if is_empty else 0  # who has removed the file has meant it
    if acknowledged or _last_of(folder / COPY) or any((folder / "trials").glob("*")):
        raise _no_ledger(folder)


def _no_ledger(folder: Path) -> StorageError:
    what = "is empty" if (folder / FILE).exists() else "is missing"
    if (copied := _last_of(folder / COPY)) > 0:
        return LedgerDamaged(
            f"{folder / FILE} {what}, but its copy is there, with {copied} records; nothing was changed. To go on from the "
            f"copy: {remedy(folder)}, then run the same command again."
        )
    if (acknowledged := chain.read_head(folder).seq) or any((folder / "trials").glob("*")):
        noted = f"{acknowledged} records were acknowledged" if acknowledged else f"trials are in {folder / 'trials'}"
        return LedgerDamaged(
            f"{folder / FILE} {what}, but this run has begun before: {noted}; nothing was changed. Bring the ledger back, use "
            f"another --name, or move {folder} away."
        )
    if (folder / FILE).exists():
        return StorageError(f"{folder / FILE}: the ledger is only just being made; look again in a moment.")
    return StorageError(f"{folder}: no run here (no {FILE}). `orchestrator list` shows what there is.")


def _last_of(path: Path) -> int:
    """The number of the last record of a ledger that may be damaged; 0 if nothing is to be found out."""
    if not path.exists():
        return 0
    with contextlib.suppress(sqlite3.Error, OSError), reading(path) as connection:
        ends = " UNION ALL ".join(f"SELECT MAX(seq) AS seq FROM {name}" for name in schema.RECORDS)
        return int(connection.execute(f"SELECT MAX(seq) FROM ({ends})").fetchone()[0] or 0)
    return 0


def _lost(at: chain.Link, head: chain.Link) -> str:
    if head.seq <= at.seq:
        return "what came after it is lost"
    which = f"record {head.seq} was" if head.seq == at.seq + 1 else f"records {at.seq + 1} to {head.seq} were"
    return f"{which} acknowledged, and cannot be read any more"


def lock_run(folder: Path) -> filelock.FileLock:
    """Hold the run against other drivers on this machine. Raises RunInUse."""
    lock = filelock.FileLock(folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        who = _holder(folder)
        raise RunInUse(
            f"{folder}: in use by another driver{who}. Wait for it, stop it, or use another --name."
        ) from None
    return lock


def _holder(folder: Path) -> str:
    try:
        reader = Ledger.read(folder, check=False)
    except OrchestratorError:
        return ""
    lease = reader.lease()
    reader.close()
    return f" (pid {lease.pid} on {lease.host}, since {lease.time[:19]} UTC)" if lease else ""


def _code() -> dict[str, Any]:
    """What produced the numbers: program, libraries, machine."""
    names = ("tuning-orchestrator", "ray", "torch", "optuna", "numpy", "scikit-learn")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "folder": os.getcwd(),
        "versions": versions,
    }


def _boot() -> str:
    """Tells two starts of the same machine apart, so that an old pid is never taken for a living process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))
