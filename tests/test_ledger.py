"""The ledger survives what disks and processes do to it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import schema
from orchestrator.errors import LedgerDamaged, RunInUse, StorageError
from orchestrator.ledger import Fenced, Ledger
from orchestrator.record.encoding import kind_of, number, to_json
from orchestrator.summary import plot, summary
from search.history import Trial
from search.records import Status, fork, start
from search.work import Progress
from tests.support import ROOT, orchestrator, recorded, sequence, simulated, small_sweep


@pytest.fixture
def ledger(tmp_path: Path):
    ledger = Ledger.write(tmp_path / "run")
    yield ledger
    ledger.close()


def fill(ledger: Ledger, reports: int) -> None:
    """One transaction for each report, as the driver does it."""
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
        ledger.add_suggestion(0, start({"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}), seed=1)
    for step in range(1, reports + 1):
        with ledger.transaction():
            ledger.add_report(0, step, 1.0 / step, 0.1, {"loss": 1.0 / step})


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
        ledger.add_decision(0, Progress("decision", 2, {"loss": 1.0}, text="why", samples=64))
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
    assert history.memo == first.memo


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


def copy_without_closing(folder: Path, target: Path) -> Path:
    """What a SIGKILL at this instant leaves: the file and its write-ahead log, no shared memory, no copy."""
    target.mkdir(parents=True)
    for name in ("ledger.db", "ledger.db-wal", "ledger.head"):
        shutil.copy(folder / name, target / name)
    return target


def test_a_log_torn_at_any_byte_opens_on_its_clean_prefix_and_says_what_is_lost(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 4)
    whole = copy_without_closing(ledger.folder, tmp_path / "whole")
    size = (whole / "ledger.db-wal").stat().st_size
    before = size
    with ledger.transaction():
        ledger.add_report(0, 5, 5.0, 0.1, {})
    last = copy_without_closing(ledger.folder, tmp_path / "last")
    after = (last / "ledger.db-wal").stat().st_size
    assert after > before
    cuts = random.Random(0).sample(range(before + 1, after), 40)
    for cut in cuts:
        torn = tmp_path / f"cut{cut}"
        shutil.copytree(last, torn)
        with (torn / "ledger.db-wal").open("r+b") as log:
            log.truncate(cut)
        opened = Ledger.write(torn)
        assert [row["step"] for row in opened.rows("report")] == [1, 2, 3, 4]
        assert any("record 8 was acknowledged, and cannot be read" in notice for notice in opened.notices), cut
        with opened.transaction():
            opened.add_report(0, 5, 5.0, 0.1, {})
        opened.close()
        assert len(recorded(torn, "report")) == 5
        shutil.rmtree(torn)


def test_a_clean_log_says_nothing(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 3)
    opened = Ledger.write(copy_without_closing(ledger.folder, tmp_path / "copy"))
    assert opened.notices == []
    assert len(opened.rows("report")) == 3
    opened.close()


def opened_unless_empty(folder: Path) -> Ledger | None:
    """None if nothing at all is left of the log, and that is told."""
    try:
        return Ledger.write(folder)
    except LedgerDamaged as refused:
        if "is empty, but this run has begun before: 9 records were acknowledged" not in str(refused):
            raise
        return None


def test_200_flipped_bytes_in_the_log_never_give_wrong_rows(ledger: Ledger, tmp_path: Path) -> None:
    fill(ledger, 6)
    source = copy_without_closing(ledger.folder, tmp_path / "source")
    log = (source / "ledger.db-wal").read_bytes()
    chance = random.Random(1)
    prefixes = set()
    for _ in range(200):
        place = chance.randrange(len(log))
        damaged = bytearray(log)
        damaged[place] ^= 1 << chance.randrange(8)
        target = tmp_path / "flipped"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        (target / "ledger.db-wal").write_bytes(damaged)
        opened = opened_unless_empty(target)
        if opened is None:
            prefixes.add(-1)
            continue
        steps = [row["step"] for row in opened.rows("report")]
        assert steps == list(range(1, len(steps) + 1))
        assert all(row["value"] == 1.0 / row["step"] for row in opened.rows("report"))
        if len(steps) < 6:
            assert opened.notices, place
        prefixes.add(len(steps))
        opened.close()
    assert len(prefixes) > 2  # the flips did reach different transactions


def test_a_damaged_file_is_refused_and_repaired_from_the_copy(tmp_path: Path) -> None:
    folder = tmp_path / "it's small; really"
    simulated(folder, small_sweep())
    before = sequence(folder)
    whole = (folder / "ledger.db").read_bytes()
    (folder / "ledger.db").write_bytes(whole[:100] + b"\x5a" * 9000 + whole[9100:])
    with pytest.raises(LedgerDamaged, match=r"is damaged: .* left as it is.*copy of") as caught:
        Ledger.write(folder)
    assert caught.value.exit_code == 7
    done = repaired_as_told(str(caught.value), tmp_path)
    assert "from ledger.copy.db" in done
    assert sequence(folder) == before
    assert (folder / "ledger.db.damaged").read_bytes()[100:9100] == b"\x5a" * 9000
    simulated(folder, small_sweep())  # and it goes on


def repaired_as_told(message: str, place: Path) -> str:
    """Run the command that an error names, as a shell would."""
    command = re.search(r"orchestrator repair (.*?), then run", message)
    assert command is not None
    done = subprocess.run(
        f"{sys.executable} -m orchestrator repair {command[1]}", shell=True, check=True, cwd=place, text=True,
        capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.stdout


def everything(folder: Path) -> list[object]:
    """All that a reader gets to see."""
    ledger = Ledger.read(folder)
    try:
        return [ledger.rows(table) for table in schema.RECORDS] + [summary(ledger)]
    finally:
        ledger.close()


@pytest.mark.parametrize("count", [120, pytest.param(300, marks=pytest.mark.slow)])
def test_flipped_bits_in_the_file_are_never_wrong_in_silence(tmp_path: Path, count: int) -> None:
    folder = tmp_path / "small"
    simulated(folder, small_sweep())
    whole, before = (folder / "ledger.db").read_bytes(), everything(folder)
    chance = random.Random(count)
    named = refused = 0
    for _ in range(count):
        data = bytearray(whole)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (folder / "ledger.db").write_bytes(data)
        try:
            assert everything(folder) == before
        except StorageError as error:
            named += "(record " in str(error)
            refused += 1
    assert refused > named > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE report SET value = value + 1e-9 WHERE trial = 3 AND step = 2", r"the report of trial 3 at step 2 \(record \d+\) is not what"),
        ("UPDATE suggestion SET config = replace(config, '8', '9') WHERE trial = 0", "the suggestion of trial 0"),
        ("UPDATE ending SET hash = replace(hash, 'a', 'b') || 'c' WHERE trial = 1", "the ending of trial 1"),
        ("DELETE FROM report WHERE trial = 2 AND step = 1", r"record \d+ is missing, after the suggestion of trial 2"),
        ("DELETE FROM event WHERE seq = (SELECT MAX(seq) FROM event)", "was acknowledged, and cannot be read any more"),
        ("UPDATE report SET metrics = x'ff' WHERE trial = 1 AND step = 1", "after the suggestion of trial 1"),
        ("DROP VIEW trials", "trials is not as it was made"),
    ],
)  # fmt: skip
def test_a_record_that_was_changed_lost_or_put_in_is_named(tmp_path: Path, change: str, words: str) -> None:
    folder = tmp_path / "small"
    simulated(folder, small_sweep())
    forge(folder, change)
    for how in (Ledger.read, Ledger.write):
        with pytest.raises(LedgerDamaged, match=words) as caught:
            how(folder)
        assert caught.value.exit_code == 7


def forge(folder: Path, change: str) -> None:
    """Change what may not be changed, as somebody with SQLite could."""
    connection = sqlite3.connect(folder / "ledger.db")
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(change)
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()


def test_without_a_copy_repair_keeps_the_records_before_the_damage(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    simulated(folder, small_sweep())
    whole = sequence(folder)
    (folder / "ledger.copy.db").unlink()
    forge(folder, "UPDATE report SET value = 0 WHERE trial = 3 AND step = 2")
    with pytest.raises(LedgerDamaged, match="there is none") as caught:
        Ledger.write(folder)
    assert "records of" in repaired_as_told(str(caught.value), tmp_path)
    kept = sequence(folder)
    assert 0 < len(kept) < len(whole)
    assert kept == whole[: len(kept)]
    assert (folder / "ledger.db.damaged").exists()
    simulated(folder, small_sweep())
    assert sorted(sequence(folder)) == sorted(whole)  # what was lost was trained again


def test_a_whole_ledger_is_not_repaired(tmp_path: Path) -> None:
    simulated(tmp_path / "small", small_sweep())
    done = orchestrator("repair", "small", "--runs", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 7
    assert "nothing to repair" in done.stderr


@pytest.mark.parametrize("is_there", [False, True])
def test_a_lost_ledger_is_never_taken_for_a_new_run(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "small"
    simulated(folder, small_sweep())
    before = sequence(folder)
    (folder / "ledger.db").unlink()
    if is_there:
        (folder / "ledger.db").touch()
    others = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for how in (Ledger.write, Ledger.read):
        with pytest.raises(
            LedgerDamaged, match=r"but its copy is there, with \d+ records; nothing was changed"
        ) as caught:
            how(folder)
    now = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert all(now[path] == data for path, data in others.items() if path.suffix != ".lock")
    repaired_as_told(str(caught.value), tmp_path)
    assert sequence(folder) == before
    (folder / "ledger.db").unlink()
    (folder / "ledger.copy.db").unlink()
    with pytest.raises(LedgerDamaged, match="this run has begun before"):
        Ledger.write(folder)
    assert list((folder / "trials").iterdir())


@pytest.mark.parametrize("fate", ["moved", "removed", "replaced"])
def test_a_driver_whose_ledger_is_gone_stops_and_touches_nothing(tmp_path: Path, fate: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    ledger = Ledger.write(folder)
    fill(ledger, 3)
    if fate == "moved":
        folder.rename(elsewhere)
    else:
        shutil.copytree(folder, elsewhere)
        (folder / "ledger.db").unlink()
    if fate == "replaced":
        shutil.copy(elsewhere / "ledger.db", folder / "ledger.db")
    copy = (elsewhere / "ledger.copy.db").read_bytes()
    with pytest.raises(StorageError, match="was moved, removed or replaced") as caught, ledger.transaction():
        ledger.add_report(0, 4, 1.0, 0.1, {})
    assert caught.value.exit_code == 7
    ledger.close()
    assert not folder.exists() or (folder / "ledger.copy.db").read_bytes() == copy
    if fate == "moved":
        assert len(recorded(elsewhere, "report")) == 3


READ_ONLY = """
cp -r "$1" "$2/run" && mount --bind "$2" "$2" && mount -o remount,ro,bind "$2" && cd / || exit 9
for command in "status" "report"; do
    "$3" -m orchestrator $command "$2/run" > "$4/${command%% *}.txt" 2>&1 || exit 8
done
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_run_that_cannot_be_written_to_can_be_read(tmp_path: Path, is_killed: bool) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"]).returncode:
        pytest.skip("needs unshare with user namespaces, to mount a read-only disk")
    folder, place, out = tmp_path / "small", tmp_path / "mount", tmp_path / "out"
    place.mkdir()
    out.mkdir()
    simulated(folder, small_sweep())
    if is_killed:
        ledger = Ledger.write(folder)
        with ledger.transaction():
            ledger.add_event("notice", "the last words")
        source = copy_without_closing(folder, tmp_path / "killed")
        ledger.close()
        assert (source / "ledger.db-wal").stat().st_size
    else:
        source = folder
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", READ_ONLY, "sh", str(source), str(place), sys.executable, str(out)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    told = {path.stem: path.read_text() for path in out.iterdir()}
    assert done.returncode == 0, (done.stderr, told)
    assert "5 completed" in told["status"]
    assert ("the last words" in told["status"]) == is_killed
    picture = re.search(r"Plot +(.*)", told["report"])
    assert picture is not None
    assert Path(picture[1]).stat().st_size > 1000
    assert not picture[1].startswith(str(place))


@pytest.mark.parametrize(
    "name", ["ledger.copy.db", "ledger.copy.db.tmp", "ledger.head", "ledger.db-wal", "pause", "report", "trials"]
)
def test_a_link_planted_in_a_run_leads_nowhere(tmp_path: Path, name: str) -> None:
    folder, victim = tmp_path / "small", tmp_path / "victim"
    simulated(folder, small_sweep())
    if name in ("report", "trials"):
        shutil.rmtree(folder / name, ignore_errors=True)
        victim.mkdir()
    else:
        (folder / name).unlink(missing_ok=True)
        victim.write_text("mine")
    (folder / name).symlink_to(victim)
    with pytest.raises(StorageError, match=rf"{name} is a symbolic link to .*victim"):
        Ledger.write(folder)
    assert list(victim.iterdir()) == [] if victim.is_dir() else victim.read_text() == "mine"


def test_links_in_a_trials_folder_and_in_place_of_the_plot_lead_nowhere(tmp_path: Path) -> None:
    folder, victim = tmp_path / "small", tmp_path / "victim"
    simulated(folder, small_sweep(num_samples=2))
    victim.write_text("mine")
    (folder / "report").mkdir()
    (folder / "report" / "incumbent.png").symlink_to(victim)
    ledger = Ledger.read(folder)
    assert plot(ledger, folder / "report" / "incumbent.png") is not None
    ledger.close()
    assert not (folder / "report" / "incumbent.png").is_symlink()
    (folder / "trials" / "00002").mkdir()
    (folder / "trials" / "00002" / "log.txt").symlink_to(victim)
    with pytest.raises(StorageError, match=r"log\.txt is a symbolic link"):
        simulated(folder, small_sweep(num_samples=3))
    assert victim.read_text() == "mine"


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


@pytest.mark.parametrize(("version", "words"), [(3, "an older release"), (99, "a newer release")])
def test_another_version_is_refused_in_words(ledger: Ledger, tmp_path: Path, version: int, words: str) -> None:
    fill(ledger, 1)
    ledger.close()
    connection = sqlite3.connect(ledger.folder / "ledger.db")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    with pytest.raises(StorageError, match=words):
        Ledger.write(ledger.folder)
    with pytest.raises(StorageError, match=words):
        Ledger.read(ledger.folder)


def test_a_second_driver_is_refused_and_names_the_first(ledger: Ledger) -> None:
    fill(ledger, 1)
    with pytest.raises(RunInUse, match=f"pid {os.getpid()}") as caught:
        Ledger.write(ledger.folder)
    assert caught.value.exit_code == 5


def test_one_of_two_racing_drivers_wins(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from orchestrator.ledger import Ledger\n"
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
    connection = sqlite3.connect(ledger.folder / "ledger.db")
    connection.execute("INSERT INTO lease VALUES (999, '', 99, 'elsewhere', 1, 0, '', '')")
    connection.commit()
    connection.close()
    with pytest.raises(Fenced, match="epoch 99"), ledger.transaction():
        ledger.add_report(0, 2, 1.0, 0.1, {})
    assert len(ledger.rows("report")) == 1


def test_readers_see_a_running_sweep_and_do_not_block_it(ledger: Ledger) -> None:
    fill(ledger, 2)
    reader = Ledger.read(ledger.folder)
    assert len(reader.rows("report")) == 2
    with ledger.transaction():
        ledger.add_report(0, 3, 1.0, 0.1, {})
        assert len(reader.rows("report")) == 2
    assert len(reader.rows("report")) == 3
    reader.close()


IN_A_FULL_DISK = """
import sys; from pathlib import Path
from orchestrator.ledger import Ledger
from orchestrator.errors import StorageError
from tests.test_ledger import fill
folder = Path(sys.argv[1]) / "run"
ledger = Ledger.write(folder)
fill(ledger, 0)
done = 0
try:
    for step in range(1, 5000):
        with ledger.transaction():
            ledger.add_report(0, step, 1.0, 0.1, {"loss": 1.0, "padding": float(step)})
        done = step
    print("never full")
except StorageError as error:
    print(done, error)
"""


@pytest.mark.parametrize("size", [600, 760, 1000])
def test_a_full_disk_is_told_and_costs_nothing_that_was_acknowledged(tmp_path: Path, size: int) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"]).returncode:
        pytest.skip("needs unshare with user namespaces, to mount a small disk")
    script = tmp_path / "fill.py"
    script.write_text(IN_A_FULL_DISK)
    disk = tmp_path / "disk"
    disk.mkdir()
    # The database file stays inside the namespace: check it there, after making room.
    check = (
        "import sqlite3,sys; c = sqlite3.connect(sys.argv[1] + '/run/ledger.db');"
        "print('integrity', c.execute('PRAGMA integrity_check').fetchone()[0], c.execute('SELECT COUNT(*) FROM report').fetchone()[0])"
    )
    command = (
        f'mount -t tmpfs -o size={size}k tmpfs "{disk}" && cd "{ROOT}" && PYTHONPATH=. "{sys.executable}" "{script}" "{disk}"; '
        f'mount -o remount,size=8m "{disk}"; "{sys.executable}" -c "{check}" "{disk}"'
    )
    out = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True, timeout=120)
    first, *_, last = out.stdout.strip().splitlines()
    assert "never full" not in first, out
    assert "full" in first, out
    assert last.startswith("integrity ok"), out
    if not first.startswith("Trace"):
        assert int(last.split()[-1]) >= int(first.split()[0])


def test_a_read_only_folder_is_refused_before_anything_starts(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"]).returncode:
        pytest.skip("needs unshare with user namespaces, to mount a read-only disk")
    command = (
        f'mount -t tmpfs -o ro,size=64k tmpfs "{tmp_path}" && cd "{ROOT}" && PYTHONPATH=. "{sys.executable}" -c '
        f"\"from pathlib import Path; from orchestrator.ledger import Ledger; Ledger.write(Path('{tmp_path}/run'))\""
    )
    out = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True)
    assert "StorageError" in out.stderr
    assert "Read-only" in out.stderr
    assert str(tmp_path) in out.stderr


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
