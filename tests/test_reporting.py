"""The script's side of report(): alone, wrong, in ranks, and after its sweep has gone."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator import reporting
from orchestrator.reporting import parameters, report, resumed_from
from trainables.scripts.trial_folder import TrialFolder


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "last_step", -1)
    for name in (reporting.FOLDER, reporting.RUNNER, *reporting.RANKS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trial's folder whose sweep has answered already: go on, up to step 10."""
    found = tmp_path / reporting.PLACE
    found.mkdir()
    (found / reporting.PARAMETERS).write_text('{"lr": 0.5}')
    (found / reporting.ANSWER).write_text('{"step": 10, "go_on": true}')
    monkeypatch.setenv(reporting.FOLDER, str(tmp_path))
    return found


def told(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (place / reporting.REPORTS).read_text().splitlines()]


def test_where_no_sweep_runs_the_script_nothing_is_written_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report(1, loss=0.5)
    assert report(1, loss=0.5)  # as often as a notebook's cell is run
    assert parameters() == {}
    assert resumed_from() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9"])
def test_the_file_alone_reports_from_an_older_python(version: str, place: Path) -> None:
    text = Path(reporting.__file__).read_text()
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations" not in text  # of Python 3.7
    (place.parent / "reporting.py").write_text(text)
    (place.parent / "last.pt").touch()
    code = "import reporting as r; print(r.report(1, loss=0.5, checkpoint='last.pt'), r.parameters(), r.resumed_from())"
    with contextlib.suppress(FileNotFoundError):  # there is no such Python
        shown = subprocess.run([f"python{version}", "-c", code], cwd=place.parent, capture_output=True, text=True)
        if shown.returncode != 127:  # nor is pyenv set up for it
            assert shown.stdout == f"True {{'lr': 0.5}} {place.parent / 'last.pt'}\n"


def test_numbers_of_all_kinds_are_told_as_numbers(place: Path) -> None:
    assert report(
        1,
        {"a/b": np.float32(0.5), "array": np.array([[2.0]])},
        loss=torch.tensor([0.25]),
        bad=float("nan"),
        worse=float("-inf"),
        count=3,
    )
    assert told(place)[0]["metrics"] == {
        "a/b": 0.5,
        "array": 2.0,
        "loss": 0.25,
        "bad": "nan",
        "worse": "-inf",
        "count": 3.0,
    }
    assert parameters() == {"lr": 0.5}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: report(1.5, loss=1), TypeError, "step=1.5.*whole number"),
        (lambda: report(-1, loss=1), TypeError, "0 or more"),
        (lambda: report(True, loss=1), TypeError, "whole number"),
        (lambda: report(3), ValueError, "names no metric"),
        (lambda: report(3, loss="low"), TypeError, "loss='low'"),
        (lambda: report(3, loss=torch.zeros(2)), TypeError, "must be one number"),
        (lambda: report(3, loss=1, checkpoint="nowhere.pt"), ValueError, "nowhere.pt.*save it first"),
        (lambda: (report(3, loss=1), report(3, loss=1)), ValueError, "step=3.*step 3 was reported before"),
        (lambda: (report(3, loss=1), report(2, loss=1)), ValueError, "step=2.*each report needs a later step"),
    ],
)  # fmt: skip
def test_a_report_that_means_nothing_is_refused_on_the_spot(
    call: Any, error: type[Exception], words: str, place: Path
) -> None:
    with pytest.raises(error, match=words):
        call()


def test_only_rank_0_is_heard_and_all_get_the_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert report(1, loss=0.5)
    assert not (place / reporting.REPORTS).exists()
    (place / reporting.ANSWER).write_text('{"step": 1, "go_on": false}')
    assert not report(2, loss=0.5)


def test_a_script_whose_sweep_has_gone_is_told_to_leave(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    ).stdout
    monkeypatch.setenv(reporting.RUNNER, f"{socket.gethostname()}:{int(gone)}")
    assert not report(11, loss=0.5)


def test_the_last_checkpoint_that_is_still_there_is_gone_on_from_whatever_a_kill_left(
    place: Path, tmp_path: Path
) -> None:
    for step in (1, 2, 3):
        (tmp_path / f"{step}.pt").write_text("weights")
        report(step, loss=1.0, checkpoint=tmp_path / f"{step}.pt")
    (tmp_path / "3.pt").unlink()
    with open(place / reporting.REPORTS, "a") as file:
        file.write('{"step": 4, "metr')
    assert resumed_from() == tmp_path / "2.pt"
    report(5, loss=1.0)
    assert [row["step"] for row in map(_row, (place / reporting.REPORTS).read_text().splitlines()) if row] == [
        1,
        2,
        3,
        5,
    ]


def test_a_checkpoint_is_found_after_the_run_was_renamed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = place.parent
    (own / "last.pt").write_text("weights")
    report(1, loss=1.0, checkpoint=own / "last.pt")
    after = own.rename(own.with_name("renamed"))
    monkeypatch.setenv(reporting.FOLDER, str(after))
    assert resumed_from() == after / "last.pt"
    assert TrialFolder(after).checkpoint(1) == after / "last.pt"


def _row(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
        return found
    except ValueError:
        return {}


def test_the_module_needs_nothing_but_python_and_may_be_copied(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(Path(reporting.__file__).read_text())
    code = "import sys, mine; mine.report(1, loss=0.5); print([m for m in sys.modules if m in ('orchestrator', 'numpy', 'torch')])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}
    )
    assert done.stdout == "[]\n", done.stderr
