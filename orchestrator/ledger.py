"""The ledger: one append-only SQLite file a sweep, the only thing that must survive.

`Ledger.write` opens it for the one driver that may write: a lock on the file system keeps a second driver on
this machine out, and a lease (an epoch that only grows, checked inside every transaction) fences one that comes
back from the dead elsewhere. `Ledger.read` opens it for anybody else, at any time, without disturbing the writer.
What was appended inside `with ledger.transaction():` is on the disk when the block ends (WAL, synchronous=FULL).
"""

from __future__ import annotations

import json
import math
import os
import platform
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import psutil
import sqlalchemy as sa

from orchestrator import schema
from orchestrator.errors import LedgerDamaged, OrchestratorError, RunInUse, StorageError
from orchestrator.wal import torn_bytes
from search.space import Space
from search.task import Task
from search.trial import Config, End, History, Report, Status, Suggestion
from search.work import Progress

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FILE, COPY, LOCK = "ledger.db", "ledger.copy.db", "driver.lock"
SORTED = "ORDER BY seq"


class Fenced(OrchestratorError):
    """Another driver has taken this run over; nothing of ours may be written any more."""


@dataclass(frozen=True)
class Lease:
    """Who has been driving: one row for each start of a driver."""

    epoch: int
    time: str
    host: str
    pid: int
    started: float
    boot: str


class Ledger:
    """One run's record. Use `Ledger.write(folder)` or `Ledger.read(folder)`, and `close` it."""

    def __init__(self, folder: Path, connection: sa.Connection, lock: filelock.FileLock | None) -> None:
        self.folder = folder
        self.notices: list[str] = []  # what was found on opening that people should know
        self.epoch = 0
        self._connection = connection
        self._lock = lock
        self._version = schema.VERSION  # of the file
        self._seq = 0
        self._inserts: dict[str, sa.TextClause] = {}

    # Opening.

    @classmethod
    def write(cls, folder: Path) -> Ledger:
        """Open for writing, making the run's folder if need be.

        Raises RunInUse, StorageError (read-only or full disk, network file system) or LedgerDamaged.
        """
        _make_folder(folder)
        lock = _lock(folder)
        try:
            torn = torn_bytes(folder / f"{FILE}-wal")
            ledger = cls(folder, _connect(folder / FILE, read_only=False), lock)
            with storage_errors(folder):
                ledger._open()
                if torn:
                    ledger.notices.append(
                        f"The last write before the interruption was torn: {torn:,} bytes after the last complete "
                        "transaction were dropped (they were never acknowledged)."
                    )
                ledger._take_lease()
                ledger.copy()
        except BaseException:
            lock.release()
            raise
        return ledger

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Open for reading only. Raises StorageError if there is no ledger, LedgerDamaged if it is broken."""
        if not (folder / FILE).exists():
            raise StorageError(f"{folder}: no run here (no {FILE}). `orchestrator list` shows what there is.")
        ledger = cls(folder, _connect(folder / FILE, read_only=True), None)
        with storage_errors(folder):
            ledger._check_version()
        return ledger

    def close(self) -> None:
        """Close; a writer leaves a fresh copy behind and frees the run."""
        if self._connection.closed:
            return
        if self._lock is not None:
            with storage_errors(self.folder):
                self.copy()
        self._connection.close()
        self._connection.engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def copy(self) -> None:
        """Keep a second, consistent file beside the ledger: the way on if the disk damages the first."""
        target, half = self.folder / COPY, self.folder / f"{COPY}.tmp"
        half.unlink(missing_ok=True)
        self._connection.exec_driver_sql("VACUUM INTO ?", (str(half),))
        half.chmod(0o600)
        os.replace(half, target)

    # Appending.

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is appended inside is durable when the block ends, or not there at all."""
        begun = self._seq
        with storage_errors(self.folder):
            try:
                self._connection.exec_driver_sql("BEGIN IMMEDIATE")
                latest = self._connection.exec_driver_sql("SELECT MAX(epoch) FROM lease").scalar()
                if latest != self.epoch:
                    raise Fenced(
                        f"{self.folder}: another driver (epoch {latest}) has taken this run over; this one stops."
                    )
                yield
                self._connection.exec_driver_sql("COMMIT")
            except BaseException:
                self._seq = begun
                if _in_transaction(self._connection):
                    self._connection.exec_driver_sql("ROLLBACK")
                raise

    def add_sweep(self, sweep: Sweep, change: str, command: Sequence[str]) -> None:
        description = sweep.describe()
        seq = self._insert(
            "sweep", fingerprint=sweep.fingerprint, description=to_json(description), code=to_json(_code()),
            command=to_json(list(command)), change=change,
        )  # fmt: skip
        for position, (name, distribution, choices) in enumerate(_distributions(sweep.space)):
            self._execute(
                "parameter", seq=seq, position=position, name=name, distribution=distribution, choices=choices
            )

    def add_suggestion(self, trial: int, suggestion: Suggestion, seed: int) -> None:
        self._insert(
            "suggestion", trial=trial, kind=suggestion.kind, config=to_json(dict(suggestion.config)),
            task=suggestion.task, until=suggestion.until, origin=suggestion.origin, evidence=suggestion.evidence,
            parent=suggestion.parent, parent_step=suggestion.parent_step, seed=seed, replaces=suggestion.replaces,
            memo=suggestion.memo,
        )  # fmt: skip

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
        self._insert("ending", trial=trial, status=status.value, step=step, reason=reason, detail=detail)

    def add_checkpoint(self, trial: int, step: int, path: str, sha256: str, size: int) -> None:
        self._insert("checkpoint", trial=trial, step=step, path=path, sha256=sha256, bytes=size)

    def add_test(self, trial: int, step: int, metrics: Mapping[str, float]) -> None:
        self._insert("test", trial=trial, step=step, metrics=to_json(dict(metrics)))

    def add_decision(self, trial: int, decision: Progress) -> None:
        self._insert(
            "decision", trial=trial, step=decision.step, samples=decision.samples, position=decision.position,
            why=decision.text, before=to_json(dict(decision.before)),
            after=to_json(dict(decision.after)), metrics=to_json(dict(decision.metrics)),
            cost_seconds=decision.cost_seconds,
        )  # fmt: skip

    def add_event(self, kind: str, text: str, trial: int | None = None) -> None:
        self._insert("event", kind=kind, trial=trial, text=text)

    # Reading.

    def rows(self, table: str, condition: str = "", **values: Any) -> list[dict[str, Any]]:
        """All rows of a table in order, as dicts; JSON columns are parsed. None of a table that is newer than the file."""
        if schema.SINCE.get(table, 0) > self._version:
            return []
        query = sa.text(f"SELECT * FROM {table} {condition or ('' if table == 'parameter' else _order(table))}")
        with storage_errors(self.folder):
            found = self._connection.execute(query, values).mappings().all()
            self._end_read()
        return [_parsed(dict(row)) for row in found]

    def sweeps(self) -> list[dict[str, Any]]:
        """Every description this run has been driven by; the last one is in force."""
        return self.rows("sweep")

    def history(
        self,
        space: Space,
        horizon: int,
        seed: int,
        maximise: bool,
        *,
        tasks: Sequence[Task] = (),
        limit: int | None = None,
        earlier: Sequence[History] = (),
        up_to: int | None = None,
    ) -> History:
        """Fold all records (or those up to this `seq`) into what searchers and schedulers see."""
        sign = -1.0 if maximise else 1.0
        history = History(space, horizon=horizon, seed=seed, tasks=tasks, limit=limit, earlier=earlier)
        records: list[tuple[int, Suggestion | Report | End]] = []
        for row in self.rows("suggestion"):
            records.append((row["seq"], _suggestion(row)))
        for row in self.rows("report"):
            report = Report(
                row["trial"],
                row["step"],
                sign * number(row["value"], row["kind"]),
                row["cost_seconds"],
                row["metrics"],
            )
            records.append((row["seq"], report))
        for row in self.rows("ending"):
            records.append((row["seq"], End(row["trial"], Status(row["status"]), row["reason"])))
        for seq, record in sorted(records, key=lambda pair: pair[0]):
            if up_to is None or seq <= up_to:
                history.append(record)
        return history

    @property
    def last(self) -> int:
        """The `seq` of the last record; also for a reader, at the moment of asking."""
        known = [name for name in schema.RECORDS if schema.SINCE.get(name, 0) <= self._version]
        counts = [f"SELECT MAX(seq) FROM {name}" for name in known if name not in ("lease", "parameter")]
        with storage_errors(self.folder):
            return max(self._connection.exec_driver_sql(count).scalar() or 0 for count in counts)

    def begun(self) -> dict[int, Suggestion]:
        """For every trial the suggestion that it began with: a start or a fork."""
        return {row["trial"]: _suggestion(row) for row in self.rows("suggestion") if row["kind"] != "resume"}

    def lease(self) -> Lease | None:
        """Who drove last."""
        rows = self.rows("lease", "ORDER BY epoch DESC LIMIT 1")
        return Lease(**rows[0]) if rows else None

    # Internals.

    def _open(self) -> None:
        version = self._connection.exec_driver_sql("PRAGMA user_version").scalar()
        tables = self._connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_master").scalar()
        if version == 0 and tables == 0:
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            for statement in schema.statements():
                self._connection.exec_driver_sql(statement)
            self._connection.exec_driver_sql(f"PRAGMA user_version = {schema.VERSION}")
            self._connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION}")
            self._connection.exec_driver_sql("COMMIT")
        else:
            problems = self._connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if problems != "ok":
                raise LedgerDamaged(_damaged(self.folder, str(problems)))
            self._upgrade()
        self._seq = self.last

    def _check_version(self) -> int:
        if not self._connection.exec_driver_sql("SELECT COUNT(*) FROM sqlite_master").scalar():
            raise StorageError(f"{self.folder / FILE}: the ledger is only just being made; look again in a moment.")
        version = int(self._connection.exec_driver_sql("PRAGMA user_version").scalar() or 0)
        application = self._connection.exec_driver_sql("PRAGMA application_id").scalar()
        if application != schema.APPLICATION:
            raise StorageError(
                f"{self.folder / FILE}: an SQLite file, but not a ledger of this program. Use another --name."
            )
        if version > schema.VERSION:
            raise StorageError(
                f"{self.folder / FILE}: written by a newer release (ledger version {version}, this one knows "
                f"{schema.VERSION}). Upgrade this program, or use another --name."
            )
        self._version = version
        return version

    def _upgrade(self) -> None:
        version = self._check_version()
        while version < schema.VERSION:
            if version not in schema.UPGRADES:
                raise StorageError(
                    f"{self.folder / FILE}: ledger version {version} is older than this program's {schema.VERSION}, and "
                    f"there is no way up from it. `orchestrator show` and `export` still read it; start on with another --name."
                )
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            for statement in schema.UPGRADES[version]:
                self._connection.exec_driver_sql(statement)
            version += 1
            self._connection.exec_driver_sql(f"PRAGMA user_version = {version}")
            self._connection.exec_driver_sql("COMMIT")
        self._version = version

    def _take_lease(self) -> None:
        self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        self.epoch = 1 + int(
            self._connection.exec_driver_sql("SELECT COALESCE(MAX(epoch), 0) FROM lease").scalar() or 0
        )
        self._connection.exec_driver_sql(
            "INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?)",
            (self.epoch, now(), socket.gethostname(), os.getpid(), psutil.Process().create_time(), _boot()),
        )
        self._connection.exec_driver_sql("COMMIT")

    def _insert(self, table: str, **columns: Any) -> int:
        self._seq += 1
        self._execute(table, seq=self._seq, time=now(), epoch=self.epoch, **columns)
        return self._seq

    def _execute(self, table: str, **columns: Any) -> None:
        if table not in self._inserts:
            names = ", ".join(columns)
            self._inserts[table] = sa.text(
                f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{name}' for name in columns)})"
            )
        self._connection.execute(self._inserts[table], columns)

    def _end_read(self) -> None:
        """Nothing to do under autocommit; a reader never holds a snapshot that keeps the log from shrinking."""


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the system say of a full, read-only or broken disk into one clear error."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error, OSError) as error:
        text = str(getattr(error, "orig", error))
        if any(word in text for word in ("malformed", "not a database", "file is encrypted")):
            raise LedgerDamaged(_damaged(folder, text)) from error
        if "no such table" in text:
            raise StorageError(f"{folder / FILE}: not a ledger of this program ({text}).") from error
        raise StorageError(
            f"{folder}: cannot write the ledger: {text}. Nothing that was acknowledged is lost; make room or give "
            "write permission, then run the same command again."
        ) from error


def to_json(value: Any) -> str:
    """JSON with sorted keys; NaN and infinities as the strings "nan", "inf", "-inf"."""
    return json.dumps(_finite(value), sort_keys=True, ensure_ascii=False, allow_nan=False)


def kind_of(value: float) -> str:
    """'number', 'nan', 'inf' or '-inf': SQLite has no NaN."""
    return "number" if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def number(value: float | None, kind: str) -> float:
    """The inverse of storing `kind_of`."""
    return float(kind) if kind != "number" else float(value or 0.0)


def now() -> str:
    """UTC, as Optuna writes it. For people only: order is by `seq`."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")


def seconds_between(earlier: str, later: str) -> float:
    """Between two times of the ledger; 0 if the clock was set back."""
    begin, end = (datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f") for text in (earlier, later))
    return max(0.0, (end - begin).total_seconds())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return kind_of(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _connect(path: Path, *, read_only: bool) -> sa.Connection:
    def creator() -> sqlite3.Connection:
        # A read-only ledger in WAL mode still needs the shared-memory file; `mode=ro` uses it if it may.
        mode = "ro" if read_only else "rwc"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA trusted_schema = OFF")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cell_size_check = ON")
        return connection

    engine = sa.create_engine("sqlite://", creator=creator, poolclass=sa.pool.StaticPool)
    with storage_errors(path.parent):
        # isolation_level AUTOCOMMIT: transactions are begun and ended by hand, so that BEGIN IMMEDIATE is possible
        return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _in_transaction(connection: sa.Connection) -> bool:
    return bool(connection.connection.driver_connection.in_transaction)  # type: ignore[union-attr]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / ".probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"{folder}: cannot write here: {error.strerror}. Choose another --runs folder, or make room."
        ) from error


def _lock(folder: Path) -> filelock.FileLock:
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
        reader = Ledger.read(folder)
    except OrchestratorError:
        return ""
    lease = reader.lease()
    reader.close()
    return f" (pid {lease.pid} on {lease.host}, since {lease.time[:19]} UTC)" if lease else ""


def _damaged(folder: Path, problem: str) -> str:
    copy = folder / COPY
    remedy = (
        f"A consistent copy of {datetime.fromtimestamp(copy.stat().st_mtime):%Y-%m-%d %H:%M} is beside it; to go on from it: "
        f"mv {folder / FILE} {folder / FILE}.damaged && rm -f {folder / FILE}-wal {folder / FILE}-shm && "
        f"cp {copy} {folder / FILE}, then run the same command again."
        if copy.exists()
        else "There is no copy beside it; start with another --name."
    )
    return f"{folder / FILE} is damaged ({problem}); it is left as it is. {remedy}"


def _order(table: str) -> str:
    return "ORDER BY epoch" if table == "lease" else SORTED


def _parsed(row: dict[str, Any]) -> dict[str, Any]:
    for column in ("config", "metrics", "description", "code", "command", "before", "after"):
        if isinstance(row.get(column), str):
            row[column] = json.loads(row[column])
    if isinstance(row.get("metrics"), dict):
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    return row


def _suggestion(row: Mapping[str, Any]) -> Suggestion:
    config: Config = row["config"]
    return Suggestion(
        row["kind"], config, row["trial"], row["until"], row["task"], row["origin"], row["evidence"],
        memo=row.get("memo", ""),  # a reader may look at an older ledger
        parent=row["parent"], parent_step=row["parent_step"], replaces=row.get("replaces"),
    )  # fmt: skip


def _distributions(space: Space) -> Iterator[tuple[str, str, str | None]]:
    """Name, Optuna's JSON of the distribution and the choices, for every parameter that is not fixed."""
    for name, about in space.describe()["parameters"].items():
        kind = about["kind"]
        if kind == "fixed":
            continue
        if kind == "choice":
            attributes: dict[str, Any] = {"choices": about["options"]}
            yield (
                name,
                to_json({"name": "CategoricalDistribution", "attributes": attributes}),
                to_json(about["options"]),
            )
            continue
        whole = kind in ("int", "pow2")
        attributes = {
            "low": about["low"],
            "high": about["high"],
            "log": bool(about.get("log")) or kind == "pow2",
        }
        attributes["step"] = 1 if whole else None
        yield (
            name,
            to_json({"name": "IntDistribution" if whole else "FloatDistribution", "attributes": attributes}),
            None,
        )


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
