"""Opens a ledger's file for the one writer or for readers, with clear errors if that fails."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.errors import BadInput, LedgerDamaged, StorageError, did_you_mean

FILE, COPY, LOCK = "ledger.db", "ledger.copy.db", "driver.lock"
_OWN = (FILE, f"{FILE}-wal", f"{FILE}-shm", COPY, f"{COPY}.tmp", "ledger.head", LOCK, "pause", "processes.txt",
        "trials", "prepared", "report", "replay", "ray", "mirrors", "remarks.jsonl")  # fmt: skip


URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)")  # as it is, or as a Path has it, with one slash
COPIES = 10  # a writer moves its log every few thousand records


@contextmanager
def storage_errors(folder: Path, doing: str = "write") -> Iterator[None]:
    """Turn the errors of SQLite and the system for a full, read-only or broken disk into one clear error."""
    try:
        yield
    except UnicodeDecodeError as error:  # even SQLite's own message about it can be damaged
        raise damaged(folder, str(error)) from error
    except (sqlite3.Error, OSError) as error:
        text = str(error)
        words = ("malformed", "not a database", "file is encrypted", "decode", "corrupt")
        if any(word in text for word in words):
            raise damaged(folder, text) from error
        if "no such table" in text or "no such column" in text:
            raise StorageError(f"{folder / FILE}: not a ledger of this program ({text}).") from error
        file = folder / FILE
        is_kept = os.path.exists(file) and not os.access(file, os.R_OK)
        if doing == "read" and (is_kept or isinstance(error, PermissionError)):
            raise StorageError(not_permitted(getattr(error, "filename", None) or file)) from error
        if doing == "read":
            raise StorageError(f"{folder}: cannot read the ledger: {text}.") from error
        raise StorageError(
            f"{folder}: cannot write the ledger: {text}. Nothing that was acknowledged is lost; make room or give "
            "write permission, then run the same command again."
        ) from error


def not_permitted(path: Path | str) -> str:
    """The message for a file that belongs to somebody else, with the remedy."""
    return (
        f"{path}: you may not read it. Ask its owner for a report (one HTML file), or for read permission (chmod -R g+rX RUN, "
        "if you share a group)."
    )


def damaged(folder: Path, problem: str) -> LedgerDamaged:
    """The error for a damaged ledger, with the remedy."""
    copy = folder / COPY
    beside = (
        f"its copy of {datetime.fromtimestamp(copy.stat().st_mtime):%Y-%m-%d %H:%M} ({COPY})"
        if copy.exists()
        else "a copy (there is none)"
    )
    return LedgerDamaged(
        f"{folder / FILE} is damaged: {problem}. It is left unchanged. To go on from the records before that place, or from "
        f"{beside}, whichever holds more: {remedy(folder)}, then run the same command again."
    )


def remedy(folder: Path) -> str:
    """The command that repairs the ledger."""
    return orchestrator_line("repair", folder.absolute())


def full_path(path: Path | str) -> Path:
    """The path from the root, `~` expanded, without `..`; links stay, but for one that `..` leaves."""
    refuse_url(path)
    full = Path(path).expanduser()
    plain, real = os.path.abspath(full), os.path.realpath(full)
    return Path(plain if os.path.realpath(plain) == real else real)


def refuse_url(path: Path | str) -> None:
    """Raise BadInput for the address of a store or the like, of which Python would make a folder named "s3:"."""
    if found := URL.match(str(path)):
        scheme, rest = found.groups()
        remedy = (
            f"write the path: /{rest}" if scheme == "file"
            else "name a folder, and copy it to the store yourself, at any time, for instance with `aws s3 sync`"
        )  # fmt: skip
        raise BadInput(f"{scheme}://{rest} is no folder on a disk, which a run needs for its record; {remedy}.")


def find_run(run: Path | str, runs: Path | str) -> Path:
    """The folder of a run, by its name below `runs` or by its path; a run that has lost its ledger may have its copy.

    Raises BadInput, which says where it looked, if there is none, and StorageError for one that may not be read.
    """
    places = list(dict.fromkeys(full_path(path) for path in (Path(runs) / run, run)))
    for name in (FILE, COPY):
        for folder in places:
            with storage_errors(folder, "read"):
                if (folder / name).is_file():
                    return folder
    names = [path.parent.name for path in full_path(runs).glob(f"*/{FILE}")]
    near = did_you_mean(str(run), names) if names else ""
    raise BadInput(f"no run {str(run)!r}: no {FILE} in {', nor in '.join(map(str, places))}.{near}")


def connect(path: Path) -> sqlite3.Connection:
    """A connection for the writer; makes the file if it does not exist."""
    with storage_errors(path.parent):
        connection = _opened(path, "mode=rwc")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cell_size_check = ON")
        return connection


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection for a reader, beside a writer or alone, also in a read-only place."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as place:
        connection = _connect_reader(path, Path(place))
        try:
            yield connection
        finally:
            connection.close()


def _connect_reader(path: Path, place: Path) -> sqlite3.Connection:
    connection = _opened(path, "mode=ro")
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if not any(word in str(error) for word in ("unable to open", "readonly")):
            raise
    # SQLite needs an index of the write-ahead log in a file beside the ledger, and cannot make one here.
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return _opened(path, "mode=ro&immutable=1")
    return _opened(copy_with_log(path, log, place), "mode=rw")


def copy_with_log(path: Path, log: Path, place: Path) -> Path:
    """Copy a ledger and its write-ahead log as they belong together; returns the copy's path.

    The ledger changes only while a writer moves the log's records into it, and then the two are copied again.
    """
    for _ in range(COPIES):
        changed = path.stat().st_mtime_ns
        shutil.copyfile(path, place / path.name)
        shutil.copyfile(log, place / log.name)
        if path.stat().st_mtime_ns == changed:
            break
    return place / path.name


def _opened(path: Path, how: str) -> sqlite3.Connection:
    # isolation_level None: transactions are begun and ended by hand, so that BEGIN IMMEDIATE is possible
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, timeout=30, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def make_folder(folder: Path) -> None:
    """Make the run's folder; raises StorageError if it is not writable."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, probe = tempfile.mkstemp(dir=folder, prefix=".probe")
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        for link in (folder, *folder.parents):
            if link.is_symlink() and not link.exists():
                raise StorageError(
                    f"{link} is a symbolic link to {os.readlink(link)}, which is not there. Make that folder, or mount its "
                    "disk; or choose another --runs folder."
                ) from error
        raise StorageError(
            f"{folder}: cannot write here: {error.strerror}. Choose another --runs folder, or make room."
        ) from error


def refuse_links(*paths: Path) -> None:
    """Raise StorageError if one of these paths in a run's folder is a symbolic link: we would write somewhere else."""
    for path in paths:
        if path.is_symlink():
            raise StorageError(
                f"{path} is a symbolic link to {os.readlink(path)}: writing there would change another file. "
                f"Look at it, then remove it: rm {shlex.quote(str(path))}"
            )


def own_files(folder: Path) -> Iterator[Path]:
    """The files and folders that a driver writes in the run's folder."""
    return (folder / name for name in _OWN)


def replace_file(path: Path, data: bytes) -> None:
    """Write a new file and move it into place: an old file, or a link, is replaced and not written through."""
    handle, half = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(half, path)
    except BaseException:
        os.unlink(half)
        raise


def host() -> str:
    """This machine's name, as leases record it."""
    return socket.gethostname()


def is_alive(pid: int, started: float) -> bool:
    """Whether this process of this machine, as a lease records it, still runs."""
    try:
        return bool(abs(psutil.Process(pid).create_time() - started) < 0.01)
    except psutil.Error:
        return False
