"""Where a ledger lies: read-only folders, planted links, full disks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import Result, run
from orchestrator.errors import BadInput, StorageError
from orchestrator.page.document import document
from orchestrator.page.files import write
from orchestrator.reading.dry_run import first_trials
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import copy_with_log
from search.records import start
from tests.filled import copy_without_closing
from tests.support import ROOT, orchestrator, simulated, small_sweep

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
    page = re.search(r"Report +(.*)", told["report"])
    assert page is not None
    assert Path(page[1]).read_text().startswith("<!doctype html>")
    assert not page[1].startswith(str(place))


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run whose last record is in its log alone, and whose driver moves the log as soon as the ledger is copied as a file."""
    folder, copy = tmp_path / "small", shutil.copyfile
    simulated(folder, small_sweep(num_samples=2))
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_suggestion(2, start(small_sweep().space.sample(np.random.default_rng(3))), seed=3)

    def copied_and_moved(source: Any, target: Any, **more: Any) -> Any:
        copy(source, target, **more)
        if Path(source) == folder / "ledger.db" and (folder / "ledger.db-wal").stat().st_size:
            with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return target

    monkeypatch.setattr(shutil, "copyfile", copied_and_moved)
    yield folder
    ledger.close()


def test_a_plan_of_a_live_run_has_its_last_record(live: Path) -> None:
    """Ledger and log were copied one after the other, and what the driver moved in between was in neither."""
    trial, _ = first_trials(small_sweep(), live)[0][0]
    assert (trial.number, trial.config) == (2, small_sweep().space.sample(np.random.default_rng(3)))


def test_a_reader_without_write_permission_has_the_last_record_of_a_live_run(live: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    copied = copy_with_log(live / "ledger.db", live / "ledger.db-wal", place)
    with contextlib.closing(sqlite3.connect(copied)) as connection:
        assert connection.execute("SELECT MAX(trial) FROM suggestion").fetchone() == (2,)


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


def test_links_in_a_trials_folder_and_in_place_of_the_report_lead_nowhere(tmp_path: Path) -> None:
    folder, victim = tmp_path / "small", tmp_path / "victim"
    simulated(folder, small_sweep(num_samples=2))
    victim.write_text("mine")
    (folder / "report").mkdir()
    (folder / "report" / "report.html").symlink_to(victim)
    ledger = Ledger.read(folder)
    assert write(document(ledger), "html", None) == folder / "report" / "report.html"
    ledger.close()
    assert not (folder / "report" / "report.html").is_symlink()
    (folder / "trials" / "00002").mkdir()
    (folder / "trials" / "00002" / "log.txt").symlink_to(victim)
    with pytest.raises(StorageError, match=r"log\.txt is a symbolic link"):
        simulated(folder, small_sweep(num_samples=3))
    assert victim.read_text() == "mine"


IN_A_FULL_DISK = """
import sys; from pathlib import Path
from orchestrator.record.ledger import Ledger
from orchestrator.errors import StorageError
from tests.filled import fill
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
        f"\"from pathlib import Path; from orchestrator.record.ledger import Ledger; Ledger.write(Path('{tmp_path}/run'))\""
    )
    out = subprocess.run(["unshare", "-Urm", "sh", "-c", command], capture_output=True, text=True)
    assert "StorageError" in out.stderr
    assert "Read-only" in out.stderr
    assert str(tmp_path) in out.stderr


@pytest.mark.parametrize("address", ["s3://bucket/runs", "gs://bucket/runs", "memory://x", "file:///srv/runs"])
def test_the_address_of_a_store_is_no_folder(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It made a folder named "s3:", which went with the machine."""
    monkeypatch.chdir(tmp_path)
    sweep = small_sweep()
    for use in (
        lambda: run(sweep, runs=address, simulate=True),
        lambda: run(sweep, Path(address), simulate=True),
        lambda: run(sweep, simulate=True, runs=tmp_path / "runs", transfer=[address]),
        lambda: Result("mine", runs=address),
    ):
        with pytest.raises(BadInput, match=re.escape("is no folder on a disk")) as error:
            use()
        assert ("write the path: /srv/runs" in str(error.value)) == address.startswith("file")
    for words in (("list", "--runs", address), ("export", "mine", "--output", address)):
        done = orchestrator(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "is no folder on a disk" in " ".join(done.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("*:"))


def test_a_link_that_leads_nowhere_is_named_with_its_target(tmp_path: Path) -> None:
    """It was "File exists"."""
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    with pytest.raises(StorageError) as error:
        Ledger.write(tmp_path / "runs" / "mine")
    assert f"{tmp_path / 'runs'} is a symbolic link to {tmp_path / 'disk'}, which is not there" in str(error.value)
