"""The ledger survives what disks and processes do to it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import LedgerDamaged, RunInUse, StorageError
from orchestrator.record import schema
from orchestrator.record.encoding import kind_of, number, to_json
from orchestrator.record.ledger import Fenced, Ledger
from search.history import Trial
from search.records import Status, fork, start
from search.work import Decision
from tests.filled import fill
from tests.support import ROOT, recorded, simulated, small_sweep


@pytest.mark.parametrize("table", schema.RECORDS)
@pytest.mark.parametrize("verb", ["DELETE FROM {}", "UPDATE {} SET time = ''"])
def test_records_cannot_be_changed_or_deleted(ledger: Ledger, table: str, verb: str) -> None:
    fill(ledger, 2)
    with ledger.transaction():
        ledger.add_verdict(0, 2, "stop", "Asha()")
        ledger.add_ending(0, Status.STOPPED, 2, "Asha")
        ledger.add_lost(0, 2, "killed")
        ledger.add_search_end("enough")
        ledger.add_checkpoint(0, 2, "p", "s", 1)
        ledger.add_test(0, 2, {"loss": 1.0})
        ledger.add_decision(0, Decision(2, 64, None, "why", before={}, after={}, metrics={"loss": 1.0}))
        ledger.add_event("notice", "x")
    connection = sqlite3.connect(ledger.folder / "ledger.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(verb.format(table))
    connection.close()


@pytest.mark.parametrize("value", [1.5, 0.0, -0.0, 1e-300, math.inf, -math.inf, math.nan])
def test_every_float_comes_back_as_it_was(ledger: Ledger, value: float) -> None:
    fill(ledger, 0)
    with ledger.transaction():
        ledger.add_report(0, 1, value, 0.0, {"loss": value})
    row = ledger.rows("report")[0]
    for back in (number(row["value"], row["kind"]), row["metrics"]["loss"]):
        assert back == value or (math.isnan(back) and math.isnan(value))
    assert kind_of(value) in to_json([value]) or math.isfinite(value)


def test_a_suggestion_comes_back_whole_and_the_history_has_its_memo(ledger: Ledger) -> None:
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    first = start(config, until=2, origin="model", evidence="why", memo='{"settings": [1.5]}')
    parent = Trial(0, first)
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, first, seed=1)
        ledger.add_suggestion(1, fork(parent, 2, config), seed=2)
    history = ledger.history(small_sweep().space, 4, 0, small_sweep().goal)
    assert [trial.suggestion for trial in history] == [
        replace(first, trial=0),
        replace(fork(parent, 2, config), trial=1),
    ]


def test_a_configuration_comes_back_in_the_order_of_the_space(ledger: Ledger) -> None:
    """A script that names its folder by its arguments started from scratch: they were sorted after an interruption."""
    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start(config), seed=1)
    (trial,) = ledger.history(small_sweep().space, 4, 0, small_sweep().goal)
    assert list(trial.config) == list(small_sweep().space.names) == list(config)


def test_a_report_is_recorded_once(ledger: Ledger) -> None:
    fill(ledger, 1)
    with pytest.raises(StorageError, match="UNIQUE"), ledger.transaction():
        ledger.add_report(0, 1, 9.0, 0.1, {})
    assert [row["value"] for row in ledger.rows("report")] == [1.0]


def test_a_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    fill(ledger, 1)

    def broken() -> None:
        with ledger.transaction():
            ledger.add_report(0, 2, 1.0, 0.1, {})
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    with ledger.transaction():
        ledger.add_report(0, 2, 2.0, 0.1, {})
    assert [row["value"] for row in ledger.rows("report")] == [1.0, 2.0]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("hello " * 1000)
    with pytest.raises(LedgerDamaged, match="not a database"):
        Ledger.write(tmp_path)


def test_a_stranger_database_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.execute("CREATE TABLE trials (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StorageError, match="not a ledger of this program"):
        Ledger.write(tmp_path)


def test_another_version_is_refused_in_words(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 1)
    ledger.close()
    connection = sqlite3.connect(ledger.folder / "ledger.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match="another release"):
        Ledger.write(ledger.folder)
    with pytest.raises(StorageError, match="another release"):
        Ledger.read(ledger.folder)


def test_a_second_driver_is_refused_and_names_the_first(ledger: Ledger) -> None:
    fill(ledger, 1)
    with pytest.raises(RunInUse, match=f"pid {os.getpid()}") as caught:
        Ledger.write(ledger.folder)
    assert caught.value.exit_code == 5
    _take_over(ledger, socket.gethostname())
    with pytest.raises(RunInUse, match=r"in use by another driver, which is just starting\."):  # the last one is dead
        Ledger.write(ledger.folder)


def test_a_file_system_without_flock_is_locked_by_posix_and_without_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a lock that only exists stayed after a kill, and kept everybody out."""

    def missing(number: int) -> Callable[[int, int], None]:
        def call(file: int, how: int) -> None:
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(fcntl, "flock", missing(errno.ENOSYS))
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); input()"
    )
    call = [sys.executable, "-c", program, str(tmp_path / "driver.lock")]
    with subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(RunInUse):
            Ledger.write(tmp_path)
        other.kill()
    Ledger.write(tmp_path).close()
    monkeypatch.setattr(fcntl, "lockf", missing(errno.ENOLCK))
    with pytest.raises(StorageError, match=r"driver\.lock: cannot be locked: No locks available.*another --runs"):
        Ledger.write(tmp_path)


def test_one_of_two_racing_drivers_wins(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from orchestrator.record.ledger import Ledger\n"
        "from orchestrator.errors import RunInUse\n"
        "for round in range(25):\n"
        "    while time.time() < float(sys.argv[2]) + 0.05 * round: pass\n"
        "    try:\n"
        "        ledger = Ledger.write(Path(sys.argv[1]) / str(round))\n"
        "        with ledger.transaction(): print(round)\n"
        "        time.sleep(0.06); ledger.close()\n"
        "    except RunInUse: pass\n"
    )
    import time

    begin = str(time.time() + 2.0)
    call = [sys.executable, "-c", program, str(tmp_path), begin]
    both = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    won = [int(line) for process in both for line in process.communicate()[0].split()]
    assert set(won) == set(range(25))
    for round_number in range(25):
        leases = recorded(tmp_path / str(round_number), "lease")
        assert len(leases) == won.count(round_number)


def test_a_driver_that_was_taken_over_can_write_no_more(ledger: Ledger) -> None:
    fill(ledger, 1)
    _take_over(ledger, "elsewhere")
    with pytest.raises(Fenced, match="epoch 99") as caught, ledger.transaction():
        ledger.add_report(0, 2, 1.0, 0.1, {})
    assert caught.value.exit_code == 5
    assert len(ledger.rows("report")) == 1


def _take_over(ledger: Ledger, host: str) -> None:
    connection = sqlite3.connect(ledger.folder / "ledger.db")
    connection.execute("INSERT INTO lease VALUES (999, '', 99, ?, 1, 0, '')", (host,))
    connection.commit()
    connection.close()


def test_readers_see_a_running_sweep_and_do_not_block_it(ledger: Ledger) -> None:
    fill(ledger, 2)
    reader = Ledger.read(ledger.folder)
    assert len(reader.rows("report")) == 2
    with ledger.transaction():
        ledger.add_report(0, 3, 1.0, 0.1, {})
        assert len(reader.rows("report")) == 2
    assert len(reader.rows("report")) == 3
    reader.close()


def test_the_ledger_is_an_optuna_study(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import RDBStorage

    folder = tmp_path / "small"
    driver = simulated(folder, small_sweep(num_samples=12))
    storage = RDBStorage(f"sqlite:///{folder}/ledger.db")
    assert storage.get_current_version() == storage.get_head_version() == schema.OPTUNA_REVISION
    study = optuna.load_study(study_name="small", storage=storage)
    assert len(study.trials) == 12
    best = driver.best
    assert best is not None
    assert study.best_trial.number == best.number
    assert study.best_value == best.loss
    assert study.best_params == dict(best.config)
    assert [trial.intermediate_values for trial in study.trials] == [
        dict(zip(trial.steps, trial.losses, strict=True)) for trial in driver.history
    ]
    importance = optuna.importance.get_param_importances(study)
    assert set(importance) == {"learning_rate", "momentum", "batch_size"}


def test_optunas_states_follow_ours(ledger: Ledger) -> None:
    import optuna

    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
        for trial in range(5):
            ledger.add_suggestion(trial, start(config), seed=trial)
            ledger.add_report(trial, 1, math.nan if trial == 2 else 0.5, 0.1, {})
        for trial, status in enumerate((Status.COMPLETED, Status.STOPPED, Status.DIVERGED, Status.FAILED)):
            ledger.add_ending(trial, status, 1, "")
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{ledger.folder}/ledger.db")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "RUNNING"]
    assert study.trials[1].value == 0.5


def test_a_completed_training_of_a_cheaper_task_is_no_complete_trial_for_optuna(ledger: Ledger) -> None:
    import optuna

    config = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        for trial, (task, value) in enumerate((("small", 0.1), ("full", 0.5))):
            ledger.add_suggestion(trial, start(config, task=task), seed=trial)
            ledger.add_report(trial, 1, value, 0.1, {})
            ledger.add_ending(trial, Status.COMPLETED, 1, "")
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{ledger.folder}/ledger.db")
    assert [trial.state.name for trial in study.trials] == ["PRUNED", "COMPLETE"]
    assert study.best_trial.number == 1


def test_the_documentation_names_the_version_and_every_table(ledger: Ledger) -> None:
    text = (ROOT / "docs" / "ledger.md").read_text()
    assert f"the version of the schema ({schema.VERSION})" in " ".join(text.split())
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(schema.RECORDS)


def test_a_hash_can_be_computed_as_the_documentation_says(ledger: Ledger) -> None:
    fill(ledger, 2)
    before = ""
    records = [(row[0], table, row) for table in schema.RECORDS for row in ledger.query(f"SELECT * FROM {table}")]
    for _, table, row in sorted(records):
        text = before + table + json.dumps(row[:-1], separators=(",", ":"))
        before = hashlib.sha256(text.encode()).hexdigest()[:32]
        assert row[-1] == before


def test_the_sql_in_the_documentation_runs(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    simulated(folder, small_sweep())
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "ledger.md").read_text(), re.DOTALL)
    assert len(queries) == 4
    connection = sqlite3.connect(folder / "ledger.db")
    found = [connection.execute(query).fetchall() for query in queries]
    assert len(found[0]) == 5
    assert found[1][0][0] == "random"
    assert found[2] == []
    assert found[3] == [("full", "from the start", 0, 20)]
    connection.close()
