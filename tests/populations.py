"""A population that trains on a made-up curve, in the test's own process and order."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from search.contract import Searcher
from search.history import History, Trial
from search.origins import CHOSEN, COVERING
from search.records import End, Report, Status, Suggestion
from search.space import Space

Loss = Callable[[Trial, int], float]


def run(
    searcher: Searcher,
    history: History,
    loss: Loss,
    *,
    workers: int,
    seed: int = 0,
    trouble: float = 0.0,
    slow: int | None = None,
    watch: Callable[[Suggestion, History], None] = lambda suggestion, history: None,
    decisions: int = 10_000,
) -> list[Suggestion]:
    """Train until nobody has anything to add; who reports next is drawn. `slow`: this trial reports last of all."""
    rng = np.random.default_rng(seed)
    running: list[Trial] = []
    made: list[Suggestion] = []
    while True:
        while len(running) < workers and len(made) < decisions:
            suggestion = searcher.suggest(history)
            if suggestion is None:
                break
            assert isinstance(suggestion, Suggestion)
            assert suggestion.origin in COVERING | CHOSEN
            watch(suggestion, history)
            made.append(suggestion)
            running.append(history.append(suggestion))
        if not running:
            return made
        fast = [trial for trial in running if trial.number != slow] or running
        trial = fast[int(rng.integers(len(fast)))]
        if not _advance(trial, history, loss, rng, trouble):
            running.remove(trial)


def _advance(trial: Trial, history: History, loss: Loss, rng: np.random.Generator, trouble: float) -> bool:
    """One step; False when the trial comes to rest."""
    step = max(trial.step, trial.began) + 1
    if rng.random() < trouble:
        if rng.random() < 0.5:
            history.append(End(trial.number, Status.FAILED, "out of memory"))
        else:
            history.append(Report(trial.number, step, math.nan))
            history.append(End(trial.number, Status.DIVERGED))
        return False
    history.append(Report(trial.number, step, loss(trial, step)))
    if step >= history.horizon:
        history.append(End(trial.number, Status.COMPLETED))
        return False
    if step >= (trial.suggestion.until or history.horizon):
        history.append(End(trial.number, Status.STOPPED))
        return False
    return True


def copied(history: History, records: list[object]) -> History:
    """A fresh history of the same records."""
    fresh = History(history.space, horizon=history.horizon, seed=history.seed, limit=history.limit)
    for record in records:
        fresh.append(record)  # type: ignore[arg-type]
    return fresh


class Recording(History):
    """A history that remembers its records."""

    def __init__(self, space: Space, *, horizon: int, seed: int = 0, limit: int | None = None) -> None:
        super().__init__(space, horizon=horizon, seed=seed, limit=limit)
        self.records: list[object] = []

    def append(self, record):  # type: ignore[no-untyped-def]
        trial = super().append(record)
        self.records.append(record)
        return trial
