"""Tasks, a budget, finalists and a searcher that says when it thinks ahead, for the Ray engine."""

import os
import sys
from dataclasses import dataclass

from orchestrator import launch
from orchestrator.sweep import Sweep
from search.contract import Searcher
from search.history import History
from search.records import Enough, Suggestion
from search.space import Space, loguniform, pow2, uniform
from search.task import Task
from tests.climbing import Climbing
from trainables.workloads.quadratic import Quadratic


@dataclass(frozen=True)
class Thinking(Searcher):
    """Climbing, with a word on stderr for each time that it was asked to prepare."""

    continues = True

    def suggest(self, history: History) -> Suggestion | Enough | None:
        return Climbing(many=2).suggest(history)

    def prepare(self, history: History) -> None:
        print(f"thinking at {len(history)}", file=sys.stderr)


def sweep() -> Sweep:
    return Sweep(
        name="climb",
        workload=Quadratic(
            horizon=4, seconds_per_step=float(os.environ.get("SLEEP", "0")), declared_cost=1.0
        ),  # what is measured would never be the same twice
        space=Space({"learning_rate": loguniform(1e-3, 0.3), "momentum": uniform(0.0, 0.9), "batch_size": pow2(4, 32)}),
        searcher=Thinking(),
        tasks=[*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)],
        budget=5.0,
        finalists=1,
        baseline=None,
        checkpoint_seconds=0.0,
    )


if __name__ == "__main__":
    launch(sweep)
