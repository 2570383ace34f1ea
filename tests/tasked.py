"""Small sweeps with cheaper tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.sweep import Sweep
from search.contract import Searcher
from search.history import History
from search.records import Suggestion, resume, start
from search.task import Task
from tests.climbing import Climbing
from tests.support import small_sweep
from trainables.workloads.quadratic import Quadratic

POINT = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}


def tasked(**changes: Any) -> Sweep:
    """Eight steps, tasks of a quarter, a half and all of them."""
    fields = {
        "workload": Quadratic(horizon=8, declared_cost=1.0), "tasks": Task.epochs(0.25, 0.5, 1.0),
        "searcher": Climbing(), "num_samples": 8,
    }  # fmt: skip
    return small_sweep(**(fields | changes))


@dataclass(frozen=True)
class Confused(Searcher):
    """Resumes what cannot be resumed, or names a task that is not there."""

    task: str = ""
    until: int | None = None
    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        if self.task:
            return start(POINT, task=self.task)
        return resume(history.trials[0], until=self.until) if history.trials else start(POINT, until=self.until)
