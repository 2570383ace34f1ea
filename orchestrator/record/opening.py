"""Checks before a ledger is used: that it is a ledger, is undamaged and belongs to the run."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.errors import LedgerDamaged, RunInUse, StorageError
from orchestrator.record import chain, schema
from orchestrator.record.file_lock import FileLock
from orchestrator.record.storage import COPY, FILE, LOCK, damaged, host, is_alive, reading, remedy


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new ledger."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in schema.statements():
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the loss of the log would look like a new run


def check_version(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise StorageError if this is not a ledger of this release."""
    if not connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
        raise no_ledger(folder)
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != schema.APPLICATION:
        raise StorageError(f"{folder / FILE}: an SQLite file, but not a ledger of this program. Use another --name.")
    if version != schema.VERSION:
        raise StorageError(
            f"{folder / FILE}: written by another release (ledger version {version}, this one knows "
            f"{schema.VERSION}). Use the release that wrote it, or another --name."
        )


def check_whole(connection: sqlite3.Connection, folder: Path, head: chain.Link) -> chain.Link:
    """Check every record; returns the last link. Raises LedgerDamaged with the name of the first damaged record."""
    try:
        problem = chain.schema_problem(connection)
        found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        at = chain.Link()
        for _, row in chain.walk(connection):
            at = chain.Link(row[0], row[-1])
            if at.seq == head.seq and at.hash != head.hash:
                problem = (
                    problem
                    or f"record {at.seq} is not the one that was acknowledged: another file was put in its place"
                )
    except (chain.Broken, UnicodeError) as error:
        raise damaged(folder, str(error)) from error
    if problem or found != "ok":  # checked after the records: the name of a record says more than the number of a page
        raise damaged(folder, problem or str(found))
    return at


def refuse_a_lost_ledger(folder: Path, *, is_empty: bool = False) -> None:
    """Refuse to treat a run that has lost its ledger as a new one: its copy and its checkpoints would be lost too."""
    sizes = [path.stat().st_size for path in (folder / FILE, folder / f"{FILE}-wal") if path.exists()]
    if (folder / FILE).exists() and any(sizes) and not is_empty:
        return
    acknowledged = chain.read_head(folder).seq if is_empty else 0  # whoever removed the file did so on purpose
    if acknowledged or last_of(folder / COPY) or any((folder / "trials").glob("[0-9]*")):
        raise no_ledger(folder)


def no_ledger(folder: Path) -> StorageError:
    what = "is empty" if (folder / FILE).exists() else "is missing"
    if (copied := last_of(folder / COPY)) > 0:
        return LedgerDamaged(
            f"{folder / FILE} {what}, but its copy is there, with {copied} records; nothing was changed. To go on from the "
            f"copy: {remedy(folder)}, then run the same command again."
        )
    if (acknowledged := chain.read_head(folder).seq) or any((folder / "trials").glob("[0-9]*")):
        noted = f"{acknowledged} records were acknowledged" if acknowledged else f"trials are in {folder / 'trials'}"
        return LedgerDamaged(
            f"{folder / FILE} {what}, but this run has begun before: {noted}; nothing was changed. Bring the ledger back, use "
            f"another --name, or move {folder} away."
        )
    if (folder / FILE).exists():
        return StorageError(f"{folder / FILE}: the ledger is still being created; look again in a moment.")
    return StorageError(f"{folder}: no run here (no {FILE}). `{orchestrator_line('list')}` shows what there is.")


def last_of(path: Path) -> int:
    """The number of the last record of a ledger that may be damaged; 0 if it is unreadable."""
    if not path.exists():
        return 0
    with contextlib.suppress(sqlite3.Error, OSError), reading(path) as connection:
        ends = " UNION ALL ".join(f"SELECT MAX(seq) AS seq FROM {name}" for name in schema.RECORDS)
        return int(connection.execute(f"SELECT MAX(seq) FROM ({ends})").fetchone()[0] or 0)
    return 0


def lost_words(at: chain.Link, head: chain.Link) -> str:
    if head.seq <= at.seq:
        return "the records after it are lost"
    which = f"record {head.seq} was" if head.seq == at.seq + 1 else f"records {at.seq + 1} to {head.seq} were"
    return f"{which} acknowledged, but cannot be read any more"


def lock_run(folder: Path) -> FileLock:
    """Lock the run against other drivers on this machine. Raises RunInUse, or StorageError without locks."""
    lock = FileLock(folder / LOCK)
    if not lock.acquire():
        who = _holder(folder)
        copies = os.environ.get("SLURM_STEP_NUM_TASKS", "1")
        remedy = (
            "Wait for it, stop it, or use another --name."
            if copies == "1"
            else f"srun has started this command {copies} times, and one is enough: leave out srun, or write srun --ntasks=1."
        )
        raise RunInUse(f"{folder}: in use by another driver{who}. {remedy}")
    return lock


@contextlib.contextmanager
def or_in_use(folder: Path) -> Iterator[None]:
    """A ledger that cannot be read because another driver is just making it: raises RunInUse in place of StorageError."""
    try:
        yield
    except StorageError:
        with contextlib.suppress(StorageError):
            lock_run(folder).release()
        raise


def _holder(folder: Path) -> str:
    """The last driver, if the ledger can be read. One that has died does not hold the lock: its successor does."""
    with contextlib.suppress(sqlite3.Error, OSError, IndexError), reading(folder / FILE) as connection:
        latest = "SELECT pid, started, host, time FROM lease ORDER BY epoch DESC LIMIT 1"
        pid, started, where, since = connection.execute(latest).fetchall()[0]
        if where == host() and not is_alive(pid, started):
            return ", which is just starting"
        return f" (pid {pid} on {where}, since {since[:19]} UTC)"
    return ""
