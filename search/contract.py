"""The two contracts of search/: a searcher decides what to run next, a scheduler which trial may go on.

Both are pure functions of the history: they keep no state that matters, so a sweep that was killed, replayed,
simulated or given to another searcher goes on as if nothing had happened. Concrete classes are frozen
dataclasses; their fields are their settings and their `repr` is their identity in the ledger.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection
from enum import Enum
from typing import ClassVar

import numpy as np

from search.history import History, Trial
from search.records import Enough, Suggestion
from search.space import Space


class Verdict(Enum):
    """What a scheduler says of a running trial."""

    CONTINUE = "continue"
    STOP = "stop"  # leave it here; it rests at its checkpoint and may be resumed


class Searcher(ABC):
    """Proposes what to run next."""

    finalists: int = 0
    """How many of the best configurations a sweep trains again on fresh seeds at the end, unless it says itself."""

    continues: ClassVar[bool] = False
    """True: also resumes or forks trials, so it is asked even when no configuration may be started any more
    (`history.room` is False); it must not start one then."""

    schedules: ClassVar[bool] = False
    """True: decides by itself how long each trial trains, so a scheduler beside it would only undo that."""

    @abstractmethod
    def suggest(self, history: History) -> Suggestion | Enough | None:
        """The next thing to run, or None: nothing to add until the history grows; `Enough`: nothing ever again.

        Must depend on `history` alone; randomness comes from `generator(history)`. May memoise, as long as a
        fresh copy given the same history answers the same.
        """

    def prepare(self, history: History) -> None:  # noqa: B027 - most searchers decide in no time
        """Do the expensive part of the next decision ahead, for instance fit a model and memoise it.

        Called now and then while every worker is busy, so that `suggest` is quick when one is free. It must not
        change what `suggest` answers: a sweep in which it is never called makes the same decisions.
        """

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        """The checkpoints, (trial, step), that a later suggestion may fork from: the driver keeps them.

        A checkpoint that has left this answer does not come back to it. Only searchers that fork answer here.
        """
        return ()

    def check(self, space: Space) -> None:  # noqa: B027 - most searchers accept every space
        """Raise ValueError, naming the parameter and a remedy, if this searcher cannot search `space`."""


class Scheduler(ABC):
    """Judges running trials from outside, after each report."""

    resumes: ClassVar[bool] = False
    """True: `promote` may take any resting trial on, so its checkpoint must be kept."""

    @abstractmethod
    def judge(self, trial: Trial, history: History) -> Verdict:
        """May `trial`, whose last report is already in `history`, go on?"""

    def promote(self, history: History) -> Suggestion | None:
        """A resting trial to take on (`resume`), asked whenever a worker is free; None: start something new.

        Only schedulers that pause trials answer here.
        """
        return None


def generator(history: History, salt: str = "") -> np.random.Generator:
    """The random generator of one decision: a function of the seed and of how much has happened."""
    return np.random.default_rng(derived_seed(history.seed, len(history), salt))


def derived_seed(*parts: object) -> int:
    """A 32-bit seed from anything with a stable `repr`; equal parts give equal seeds in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
