"""A trial whose checkpoint is of the code before an edit: the error names the edit, and another try begins from the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import report, resumed_from
from orchestrator.sweep import Sweep
from search.history import Trial
from tests.failing import sweep_of
from tests.support import interrupted_after, recorded, simulated

YIELDS = """
def train(config, state):
    width, step = (state["width"], state["step"]) if state else ({width}, 0)
    if width != {width}:
        raise ValueError("size mismatch")
    begun = step
    while True:
        step += 1
        if step == {breaks}:
            raise RuntimeError("a bug")
        yield {{"loss": config["x"] / step, "width": width, "begun": begun}}, {{"width": width, "step": step}}
"""
REPORTS = """
import os
from pathlib import Path
def train(config):
    saved = resumed_from()
    step, width = map(int, saved.read_text().split()) if saved else (0, {width})
    if width != {width}:
        raise ValueError("size mismatch")
    begun = step
    while step < 4:
        step += 1
        if step == {breaks}:
            raise RuntimeError("a bug")
        path = Path(os.environ["TRIAL_FOLDER"]) / f"{{step}}.txt"
        path.write_text(f"{{step}} {{width}}")
        if not report(step, loss=config["x"] / step, width=width, begun=begun, checkpoint=path):
            break
"""
AGAIN = "begins from the start: its checkpoint was of older code, before this: train() was edited"


def of_width(width: int, text: str = YIELDS, breaks: int = 0) -> Sweep:
    cell: dict[str, Any] = {"__name__": "__main__", "report": report, "resumed_from": resumed_from}
    exec(text.format(width=width, breaks=breaks), cell)
    return sweep_of(cell["train"], num_samples=1, checkpoint_seconds=0.0, baseline=None)


def widths(folder: Path) -> list[float]:
    return [row["metrics"]["width"] for row in recorded(folder, "report")]


def notices(folder: Path) -> str:
    return "\n".join(row["text"] for row in recorded(folder, "event"))


def failed(folder: Path, sweep: Sweep) -> Trial:
    (trial,) = simulated(folder, sweep).history.trials
    assert trial.status.value == "failed"
    return trial


def test_an_interrupted_trial_that_fails_with_an_older_checkpoint_begins_from_the_start(tmp_path: Path) -> None:
    interrupted_after(tmp_path, of_width(32), 2, workers=1)
    before = len(widths(tmp_path))
    assert 0 < before < 4
    trial = failed(tmp_path, of_width(48))
    assert "size mismatch (it went on from a checkpoint of older code, before this: train() was edited)" in trial.reason
    simulated(tmp_path, of_width(48), retry_failed=True)
    assert widths(tmp_path) == [32] * before + [48] * (4 - before)
    assert recorded(tmp_path, "report")[-1]["metrics"]["begun"] == 0
    assert AGAIN in notices(tmp_path)


@pytest.mark.parametrize("text", [YIELDS, pytest.param(REPORTS, marks=pytest.mark.slow)], ids=["yields", "reports"])
def test_another_try_that_fails_with_an_older_checkpoint_is_followed_by_one_from_the_start(
    text: str, tmp_path: Path
) -> None:
    failed(tmp_path, of_width(32, text, breaks=3))
    simulated(tmp_path, of_width(48, text), retry_failed=True)
    reason = recorded(tmp_path, "ending")[-1]["reason"]
    assert "size mismatch" in reason
    assert "it went on from a checkpoint of older code, before this: train() was edited" in reason
    assert AGAIN not in notices(tmp_path)
    simulated(tmp_path, of_width(48, text), retry_failed=True)
    assert AGAIN in notices(tmp_path)
    assert widths(tmp_path) == [32, 32, 48, 48]
    assert recorded(tmp_path, "ending")[-1]["status"] == "completed"


def test_after_the_edit_is_undone_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    interrupted_after(tmp_path, of_width(32), 2, workers=1)
    before = len(widths(tmp_path))
    failed(tmp_path, of_width(48))
    simulated(tmp_path, of_width(32), retry_failed=True)
    assert recorded(tmp_path, "report")[-1]["metrics"]["begun"] == before
    assert "begins from the start" not in notices(tmp_path)


def test_a_trial_that_failed_before_the_edit_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    trial = failed(tmp_path, of_width(32, breaks=3))
    assert trial.reason == "RuntimeError: a bug"
    simulated(tmp_path, of_width(32), retry_failed=True)
    assert recorded(tmp_path, "report")[-1]["metrics"]["begun"] == 2
    assert "begins from the start" not in notices(tmp_path)
