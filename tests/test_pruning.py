"""The disk of a run is freed, and its record stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.commands import app
from orchestrator.reading.pruning import spare
from orchestrator.reading.runs import bytes_in
from orchestrator.record.opening import lock_run
from search.schedulers.asha import AshaPromote
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep

BASE = {"learning_rate": 0.05, "momentum": 0.0, "batch_size": 8}
TABLES = ("suggestion", "report", "ending", "checkpoint", "event", "test")


def command(runs: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--runs", str(runs)])


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(path.parent.name) for path in folder.glob("trials/*/checkpoints"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pruned") / "small"
    simulated(folder, small_sweep(baseline=BASE, num_samples=6, finalists=1))
    (folder / "ray").mkdir()
    (folder / "ray" / "state").write_bytes(b"0" * 5000)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "small"))


def test_the_best_and_the_baseline_keep_their_checkpoints_and_the_record_is_the_same(run: Path, tmp_path: Path) -> None:
    before, tables = bytes_in(run), {table: recorded(run, table) for table in TABLES}
    asked = command(tmp_path, "prune", "small")
    assert (asked.exit_code, bytes_in(run)) == (2, pytest.approx(before, abs=50_000)), "there was nobody to ask"
    assert len(checkpoints(run)) > 2
    kept = spare(run).kept
    assert [words.split(" (")[0] for words in kept] == ["the best", "its repetition", "the baseline"]
    done = command(tmp_path, "prune", "small", "--yes")
    assert done.exit_code == 0, done.output
    assert f"kept: {', '.join(kept)}\n" in done.stdout
    assert "are free now" in done.stdout
    assert sorted(f"(trial {number})" for number in checkpoints(run)) == sorted(
        words[words.index("(") :] for words in kept
    )
    assert not (run / "ray").exists()
    assert {table: recorded(run, table) for table in TABLES} == tables
    assert kept[0].split("(")[1].rstrip(")") in command(tmp_path, "show", "small").stdout
    again = command(tmp_path, "prune", "small")
    assert (again.exit_code, again.stdout) == (0, "nothing to delete\n")


def test_a_continued_sweep_trains_again_what_has_no_checkpoint_and_keeps_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    sweep = small_sweep(num_samples=9, scheduler=AshaPromote(grace_period=1, reduction_factor=2))
    interrupted_after(folder, sweep, 6, workers=1)
    before, found = sequence(folder), spare(folder)
    assert found.unfinished
    assert found.stopped
    told = command(tmp_path, "prune", "small", "--yes").stdout
    assert "In a continued sweep, trial" in told
    assert "would train from the first step again." in told
    simulated(folder, sweep)
    assert sequence(folder)[: len(before)] == before
    notices = [row["text"] for row in recorded(folder, "event") if row["kind"] == "notice"]
    again = [text for text in notices if "trained again from step 0" in text]
    assert len(again) == 2, "an interrupted trial, and a stopped one that was promoted"
    assert again[0].startswith(f"trial {found.unfinished[0]}: ")


def test_a_run_with_a_driver_is_not_pruned(run: Path, tmp_path: Path) -> None:
    lock, before = lock_run(run), checkpoints(run)
    done = command(tmp_path, "prune", "small", "--yes")
    lock.release()
    assert done.exit_code == 5
    assert "then prune the run" in done.output
    assert checkpoints(run) == before


def test_a_linked_folder_of_checkpoints_is_left_alone(run: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    other = next(number for number in checkpoints(run) if f"(trial {number})" not in " ".join(spare(run).kept))
    place = run / "trials" / f"{other:05d}" / "checkpoints"
    os.rename(place, away)
    place.symlink_to(away)
    assert command(tmp_path, "prune", "small", "--yes").exit_code == 0
    assert any(away.iterdir())


def test_rm_and_prune_take_patterns(run: Path, tmp_path: Path) -> None:
    for name in ("seed-1", "seed-2", ".removed-seed"):
        shutil.copytree(run, tmp_path / name)
    done = command(tmp_path, "prune", "seed-*", "seed-1", "--yes")
    assert done.stdout.count("are free now") == 2
    assert command(tmp_path, "rm", "*eed*", "--yes").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["small"]
    none = command(tmp_path, "rm", "seed-*", "--yes")
    assert (none.exit_code, "matches." in none.output) == (2, True)
