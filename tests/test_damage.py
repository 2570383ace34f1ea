"""Damaged ledgers: what is found, refused and repaired."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import LedgerDamaged, StorageError
from orchestrator.reading.summary import summary
from orchestrator.record import schema
from orchestrator.record.ledger import Ledger
from tests.filled import copy_without_closing, fill
from tests.support import ROOT, orchestrator, recorded, sequence, simulated, small_sweep


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
        assert any("record 8 was acknowledged, but cannot be read" in notice for notice in opened.notices), cut
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
    with pytest.raises(LedgerDamaged, match=r"is damaged: .* left unchanged.*copy of") as caught:
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
        ("UPDATE report SET value = value + 1e-9 WHERE trial = 3 AND step = 2", r"the report of trial 3 at step 2 \(record \d+\) differs from what"),
        ("UPDATE suggestion SET config = replace(config, '8', '9') WHERE trial = 0", "the suggestion of trial 0"),
        ("UPDATE ending SET hash = replace(hash, 'a', 'b') || 'c' WHERE trial = 1", "the ending of trial 1"),
        ("DELETE FROM report WHERE trial = 2 AND step = 1", r"record \d+ is missing, after the suggestion of trial 2"),
        ("DELETE FROM event WHERE seq = (SELECT MAX(seq) FROM event)", "was acknowledged, but cannot be read any more"),
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
