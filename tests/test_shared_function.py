"""What the processes of a function's trials load is written once for all of them, and goes with the end of the run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import Space, Sweep, report, run, uniform
from orchestrator.reading.pruning import prune, spare
from search.work import Assignment
from tests.support import recorded
from trainables.workloads.callable import FromFunction

BYTES = 3_000_000


def holds(data: Any) -> Callable[[Any], None]:
    def train(config: Any) -> None:
        place = Path(os.environ["TRIAL_FOLDER"]).parents[3] / "functions"
        files = list(place.iterdir()) if place.is_dir() else []
        report(1, loss=config["x"], files=len(files), bytes=sum(file.stat().st_size for file in files), data=data[0])

    return train


@pytest.mark.slow
def test_trials_share_one_file_of_a_function_that_refers_to_large_data(tmp_path: Path) -> None:
    data, folder = np.ones(BYTES, dtype=np.int8), tmp_path / "run"
    sweep = Sweep("large", holds(data), Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=2)
    run(sweep, folder, simulate=True, quiet=True)
    (folder / "functions").mkdir()  # as a kill leaves it
    (folder / "functions" / "old.pickle").write_bytes(bytes(BYTES))
    assert prune(spare(folder)) >= BYTES
    run(sweep, folder, simulate=True, quiet=True, num_samples=3)
    rows = [row["metrics"] for row in recorded(folder, "report")]
    assert [row["files"] for row in rows] == [1] * 3
    assert all(BYTES < row["bytes"] < 1.1 * BYTES and row["data"] == 1 for row in rows)
    assert not (folder / "functions").exists()
    left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert left < BYTES


def test_outside_of_a_run_the_file_is_beside_the_trials(tmp_path: Path) -> None:
    """A replay trains elsewhere, and writes nothing into the run."""
    prepared, folder = tmp_path / "run" / "prepared", tmp_path / "replay" / "checkpoints"
    prepared.mkdir(parents=True)
    workload = FromFunction(holds([1.0]), metric="loss", mode="min", horizon=1)
    told = list(workload.run(None, Assignment(0, {"x": 0.5}, 1, until=1, folder=folder, prepared=prepared)))
    assert "report" in [item.kind for item in told if item is not None]
    assert (folder / "functions").is_dir()
    assert list((tmp_path / "run").iterdir()) == [prepared]
