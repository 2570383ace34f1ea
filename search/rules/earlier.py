"""The best configurations of earlier sweeps, which a new sweep trains first."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from search.history import History, Trial, lessons
from search.models.candidates import is_apart
from search.records import Config
from search.space import Space

BEST = 3  # configurations of each earlier sweep
APART = 0.1  # of a range, in some coordinate: a model's best trials lie close together


@lru_cache(maxsize=16)
def best_apart(earlier: History, space: Space) -> tuple[Trial, ...]:
    """The best trials of an earlier sweep, which has ended, by their losses at the furthest step of any. They are in
    `space`, differ by more than `APART`, and are at most `BEST`."""
    trials = lessons(earlier, space)
    furthest = max((trial.step for trial in trials), default=0)
    best: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.loss, trial.number)):
        places = np.array([space.to_unit(other.config) for other in best])
        if trial.step == furthest and len(best) < BEST and is_apart(space.to_unit(trial.config), places, APART):
            best.append(trial)
    return tuple(best)


def tried_first(earlier: History, space: Space, baseline: Config | None) -> int:
    """How many of them start first; one that is the baseline starts as that."""
    own = [space.check(trial.config) for trial in best_apart(earlier, space)] if earlier.is_tried_first else []
    return len([config for config in own if config != baseline])


def proven(history: History) -> list[tuple[Config, str]]:
    """The configurations of earlier sweeps to train first, each with the reason."""
    return [
        (history.space.check(trial.config), f"one of the best of an earlier sweep (its trial {trial.number})")
        for earlier in history.earlier
        if earlier.is_tried_first
        for trial in best_apart(earlier, history.space)
    ]
