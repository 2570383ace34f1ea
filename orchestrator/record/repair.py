"""Replace a damaged ledger by its records before the damage or by those of its copy, whichever are more."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.errors import LedgerDamaged, StorageError
from orchestrator.record import chain, schema
from orchestrator.record.opening import lock_run
from orchestrator.record.storage import COPY, FILE, make_folder, own_files, reading, refuse_links, storage_errors

Records = list[tuple[str, chain.Row]]


def repair(folder: Path) -> str:
    """Repair the ledger, and return what was done, in words. The damaged file stays beside it as ledger.db.damaged.

    Raises LedgerDamaged if neither file holds a record, StorageError if there is nothing to repair.
    """
    if not folder.is_dir():
        raise StorageError(f"{folder}: no run here. `{orchestrator_line('list')}` shows what there is.")
    make_folder(folder)
    refuse_links(*own_files(folder))
    with lock_run(folder), storage_errors(folder):
        own, own_problem = whole_records(folder / FILE)
        copied, _ = whole_records(folder / COPY)
        records, source = (own, FILE) if len(own) >= len(copied) else (copied, COPY)
        if not own_problem and source == FILE:
            raise StorageError(f"{folder / FILE}: nothing to repair, all {len(own)} records are as they were written.")
        if not records:
            raise LedgerDamaged(
                f"{folder}: no record is left, neither in {FILE} nor in {COPY}; start with another --name."
            )
        acknowledged = chain.read_head(folder).seq
        half = folder / f"{FILE}.tmp"
        _write(half, records)
        kept = _put_aside(folder)
        os.replace(half, folder / FILE)
        head = chain.Head(folder)
        head.set(chain.Link(records[-1][1][0], records[-1][1][-1]))
        head.close()
    lost = f" of {acknowledged} that were acknowledged" if acknowledged > len(records) else ""
    aside = f"; what was there is now {kept.name}" if kept else ""
    return f"{folder / FILE}: {len(records)} records{lost}, from {source}{aside}. Run the same command again to go on."


def whole_records(path: Path) -> tuple[Records, str]:
    """The records of a ledger before its first damage, and a description of the damage; empty if there is none."""
    records: Records = []
    if not path.exists() or not path.stat().st_size:
        return records, "missing or empty"
    try:
        with reading(path) as connection:
            problem = chain.schema_problem(connection)
            for record in chain.walk(connection):
                records.append(record)
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            return records, problem or ("" if found == "ok" else str(found))
    except (chain.Broken, sqlite3.Error, UnicodeError, OSError) as error:
        return records, str(error)


def _write(path: Path, records: Records) -> None:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        for statement in schema.statements():
            connection.execute(statement)
        for table, row in records:
            connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        connection.execute("COMMIT")
    finally:
        connection.close()
    path.chmod(0o600)


def _put_aside(folder: Path) -> Path | None:
    """Keep the damaged file and its log under another name."""
    if not (folder / FILE).exists():
        return None
    number = 1
    while (kept := folder / f"{FILE}.damaged{'' if number == 1 else f'-{number}'}").exists():
        number += 1
    os.link(folder / FILE, kept)
    log = folder / f"{FILE}-wal"
    if log.exists():
        os.replace(log, folder / f"{kept.name}-wal")
    (folder / f"{FILE}-shm").unlink(missing_ok=True)
    return kept
