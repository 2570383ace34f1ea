"""Train the best configurations again on fresh seeds, and let those runs name the winner.

Use when   losses are noisy: the best of many scores is the luckiest as well, so it promises too much.
Costs      `confirmations` full trainings for each finalist.
Settings   count: configurations; confirmations: runs of each.
Not for    deterministic objectives: the runs come out the same.
Differs    the mean is over the fresh runs only. The first run has been selected for its score; its luck would
           decide again. A fresh run that diverges counts as infinitely bad, one that failed not at all.

A finalist is a configuration, known by its best completed trial. Forked trials are none: they cannot be repeated
from a configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.history import History, Trial, incumbent, key_of
from search.records import BASELINE, FINALIST, Status, Suggestion, resume, start
from search.task import FULL


@dataclass(frozen=True)
class Finalist:
    """A configuration that was, or is to be, trained again."""

    trial: Trial  # its best trial before
    runs: tuple[Trial, ...]  # those on fresh seeds, of any status

    @property
    def losses(self) -> tuple[float, ...]:
        """Of the fresh runs that have come to their end."""
        return tuple(
            run.loss if run.status is Status.COMPLETED else math.inf
            for run in self.runs
            if run.status in (Status.COMPLETED, Status.DIVERGED)
        )

    @property
    def mean(self) -> float:
        """NaN before the first of them."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan


def finalists(history: History, count: int) -> list[Finalist]:
    """The best `count` configurations by their completed full trainings, the best first; fewer if there are fewer."""
    runs = _runs(history)
    return [Finalist(trial, tuple(runs.get(key_of(trial.config), ()))) for trial in _best(history)[:count]]


def confirmed(history: History) -> list[Finalist]:
    """All configurations that were trained again, the best by their first score first."""
    runs = _runs(history)
    best = _best(history) if runs else []
    return [Finalist(trial, tuple(runs[key])) for trial in best if (key := key_of(trial.config)) in runs]


def confirm(history: History, count: int, confirmations: int) -> Suggestion | None:
    """The next thing to run once the search is over, or None: nothing at the moment (or nothing any more).

    If the search has completed nothing but the baseline, its best resting trials are first taken to the end.
    """
    running = history.having(Status.RUNNING)
    if not count or any(trial.suggestion.origin != FINALIST for trial in running):
        return None
    if (resting := _to_complete(history, count)) is not None:
        return resume(resting, origin=FINALIST, evidence=f"among the best {count} when the search was over")
    if any(trial.first_origin != FINALIST for trial in running):
        return None  # who is among the best is not known before these have ended
    chosen = finalists(history, count)
    for run in range(confirmations):
        for finalist in chosen:
            if len(finalist.runs) <= run:
                return start(finalist.trial.config, origin=FINALIST, evidence=f"repeats trial {finalist.trial.number}")
    return None


def winner(history: History) -> Trial | None:
    """The incumbent; if it was trained again as a finalist, the one with the lowest mean loss over its fresh runs."""
    best, found = incumbent(history), confirmed(history)
    candidates = [finalist for finalist in found if math.isfinite(finalist.mean)]
    if not candidates or all(finalist.trial is not best for finalist in found):
        return best  # where the incumbent came later than the finalists, they are out of date
    return min(candidates, key=lambda finalist: (finalist.mean, finalist.trial.number)).trial


def _best(history: History) -> list[Trial]:
    """The best trial of every configuration that has a full training from scratch, the best first."""
    completed = [
        trial
        for trial in history.having(Status.COMPLETED)
        if trial.task == FULL and trial.first_origin != FINALIST and not trial.began
    ]
    best: dict[str, Trial] = {}
    for trial in sorted(completed, key=lambda trial: (trial.loss, trial.number)):
        best.setdefault(key_of(trial.config), trial)
    return list(best.values())


def _runs(history: History) -> dict[str, list[Trial]]:
    """Configuration → its runs on fresh seeds."""
    runs: dict[str, list[Trial]] = {}
    for trial in history.trials:
        if trial.first_origin == FINALIST:
            runs.setdefault(key_of(trial.config), []).append(trial)
    return runs


def _to_complete(history: History, count: int) -> Trial | None:
    """The next resting trial to take to the horizon, if the search has completed nothing of its own."""
    own = [trial for trial in history.trials if trial.task == FULL and trial.first_origin not in (BASELINE, FINALIST)]
    chosen = sum(trial.suggestion.origin == FINALIST for trial in own)
    completed = any(trial.status is Status.COMPLETED and trial.suggestion.origin != FINALIST for trial in own)
    if completed or chosen >= count:
        return None
    resting = [t for t in own if t.status is Status.STOPPED and math.isfinite(t.loss) and not t.began]
    return min(resting, key=lambda trial: (-trial.step, trial.loss, trial.number), default=None)
