"""A user's own function as a workload: whole sweeps, interrupted and gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.sweep import Sweep
from search.records import Config, Status
from search.schedulers.asha import AshaPromote
from search.searchers.random import Random
from search.space import Space, loguniform
from search.work import Assignment
from tests.support import simulated
from trainables.carry_out import carry_out
from trainables.workloads.callable import FromFunction

SPACE = Space({"learning_rate": loguniform(1e-3, 1.0)})


def descend(config: Config, state: Any) -> Iterator[Any]:
    """Noisy descent to 3, with a state."""
    state = state or {"x": 0.0}
    while True:
        x = state["x"] + config["learning_rate"] * (3 - state["x"]) + 0.01 * float(np.random.randn())
        state = {"x": x}
        yield {"distance": abs(x - 3)}, state


def descend_without_a_state(config: Config, state: Any) -> Iterator[Any]:
    assert state is None
    for _, told in zip(range(6), descend(config, None), strict=False):
        yield told[0]


def descend_from_the_start(config: Config) -> Iterator[Any]:
    for told in descend(config, None):
        yield told[0]


def forgetful(config: Config, state: Any) -> Iterator[Any]:
    yield {"distance": 1.0}


def sweep_of(workload: Any, **more: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "own", "workload": workload, "space": SPACE, "searcher": Random(),
        "scheduler": AshaPromote(reduction_factor=2), "num_samples": 8, "checkpoint_seconds": 0,
    }  # fmt: skip
    return Sweep(**(fields | more))


OWN = [
    FromFunction(descend, metric="distance", mode="min", horizon=6),
    FromFunction(descend_without_a_state, metric="distance", mode="min", horizon=6),
    FromFunction(descend_from_the_start, metric="distance", mode="min", horizon=6),
]


@pytest.mark.parametrize("workload", OWN, ids=["function", "without a state", "of the configuration alone"])
def test_a_sweep_over_own_code_rests_and_goes_on(workload: Any, tmp_path: Path) -> None:
    history = simulated(tmp_path, sweep_of(workload)).history
    assert len(history.trials) == 8
    assert history.count(Status.COMPLETED) >= 1
    assert any(trial.suggestion.kind == "resume" for trial in history)
    for trial in history:
        assert trial.steps == list(range(1, trial.step + 1))


@pytest.mark.parametrize("workload", OWN, ids=["function", "without a state", "of the configuration alone"])
@pytest.mark.parametrize("cut", [1, 4])
def test_own_code_resumed_equals_uninterrupted(workload: Any, cut: int, tmp_path: Path) -> None:
    def curve(folder: Path, until: int, recorded: int) -> dict[int, float]:
        assignment = Assignment(
            0, {"learning_rate": 0.1}, 7, until=until, folder=folder, recorded=recorded, checkpoint_seconds=0
        )
        return {
            item.step: item.metrics["distance"]
            for item in carry_out(workload, None, assignment)
            if item.kind == "report"
        }

    whole = curve(tmp_path / "whole", 6, 0)
    parts = curve(tmp_path / "parts", cut, 0) | curve(tmp_path / "parts", 6, cut)
    assert parts == whole
    assert list(whole) == [1, 2, 3, 4, 5, 6]


def test_what_cannot_work_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a function of the configuration"):
        FromFunction("train.py", metric="distance", mode="min", horizon=6)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must contain the tuned metric"):
        FromFunction(descend, metric="distance", mode="min", horizon=6, metrics=("loss",))
    named = FromFunction(forgetful, metric="loss", mode="min", horizon=6)
    with pytest.raises(ValueError, match="tuned metric 'loss'"):
        list(carry_out(named, None, Assignment(0, {}, 7, until=6, folder=tmp_path / "named")))
