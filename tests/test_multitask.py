"""Multitask Bayesian optimisation: what the exam of all searchers does not ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.sweep import Sweep
from search.searchers.multitask import MultitaskSearch
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep
from trainables.workloads.quadratic import Quadratic


def sweep_of(**changes: Any) -> Sweep:
    fields: dict[str, Any] = {
        "workload": Quadratic(horizon=6, declared_cost=1.0), "searcher": MultitaskSearch(n_initial=3, finalists=0),
        "num_samples": None, "budget": 4.0,
    }  # fmt: skip
    return small_sweep(**(fields | changes))


def test_a_sweep_that_was_cut_off_makes_the_same_suggestions(tmp_path: Path) -> None:
    simulated(tmp_path / "whole", sweep_of())
    rows = recorded(tmp_path / "whole", "suggestion")
    assert sum(bool(row["memo"]) for row in rows) >= 2  # the settings were found more than once
    for cut in (5, 11, 16):
        folder = tmp_path / str(cut)
        interrupted_after(folder, sweep_of(), cut, workers=1)
        driver = simulated(folder, sweep_of())
        assert sequence(folder) == sequence(tmp_path / "whole")
        assert [row["memo"] for row in recorded(folder, "suggestion")] == [row["memo"] for row in rows]
        assert driver.history.memo == next(row["memo"] for row in reversed(rows) if row["memo"])
