"""A small searcher that uses tasks: no model, everything that a model-based one does around its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from search.contract import Searcher
from search.history import History
from search.records import Enough, Status, Suggestion, resume, start
from search.searchers.random import Random
from search.task import FULL, Task


def on(task: Task, config: Mapping[str, Any], history: History) -> Suggestion:
    """A training of `config` on `task`."""
    if task.resumes:
        return start(config, until=task.steps(history.horizon), origin="initial")
    return start(config, task=task.name, origin="initial")


@dataclass(frozen=True)
class Climbing(Searcher):
    """Draws on the cheapest task; the best half of a task that has `many` results goes on to the next one."""

    many: int = 4
    enough: int | None = None
    continues = True

    def suggest(self, history: History) -> Suggestion | Enough | None:
        for task, following in zip(history.tasks[-2::-1], history.tasks[:0:-1], strict=True):
            results = history.results(task)
            done = [history.trials[n] for n in results if history.trials[n].status is not Status.RUNNING]
            best = sorted(done, key=lambda trial: results[trial.number])
            for trial in best[: len(done) // self.many]:
                if following.resumes and trial.task == FULL and trial.step < following.steps(history.horizon):
                    return resume(trial, until=following.steps(history.horizon))
                if not task.resumes and history.known(trial.config, following.name) is None:
                    return replace(on(following, trial.config, history), origin="promotion")
        if self.enough is not None and len(history.trials) >= self.enough:
            return Enough(f"{len(history.trials)} trials are enough for anybody")
        return on(history.tasks[0], Random().suggest(history).config, history) if history.room else None  # type: ignore[union-attr]
