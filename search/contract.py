"""The two contracts of search/: a searcher decides what to run next; a scheduler decides which trials continue.

Both are pure functions of the history and keep no state of their own. So a sweep that was killed, replayed, simulated
or given to another searcher continues as if nothing had happened. Concrete classes are frozen dataclasses; their fields
are their settings, and their `repr` is their identity in the ledger.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from enum import Enum
from typing import ClassVar

import numpy as np

from search.history import History, Trial
from search.records import Config, Enough, Suggestion
from search.space import Space


class Verdict(Enum):
    """A scheduler's judgement of a running trial."""

    CONTINUE = "continue"
    STOP = "stop"  # stop here: the trial keeps its checkpoint and may be resumed


class Searcher(ABC):
    """Proposes what to run next."""

    finalists: int = 0
    """How many of the best configurations a sweep trains again on fresh seeds at its end, unless the sweep sets it."""

    continues: ClassVar[bool] = False
    """True: it also resumes or forks trials, so it is asked even when no new configuration may start
    (`history.room` is False); then it must not start one."""

    schedules: ClassVar[bool] = False
    """True: it decides how long each trial trains; a scheduler beside it would only interfere."""

    why_full: ClassVar[str | None] = None
    """Why its trials must train to their ends; "": it learns from trials that are stopped early, too; None: not known.
    Only if it is "" does a sweep that names no scheduler stop trials early."""

    @property
    def forks(self) -> bool:
        """Whether a trial may take over the state of another."""
        return type(self).forkable is not Searcher.forkable

    @abstractmethod
    def suggest(self, history: History) -> Suggestion | Enough | None:
        """The next thing to run; None: nothing until the history grows; `Enough`: nothing ever again.

        Must depend on `history` alone; take randomness from `generator(history)`. May memoise, as long as a fresh copy
        with the same history returns the same.
        """

    def prepare(self, history: History) -> None:  # noqa: B027 - most searchers decide at once
        """Do the expensive part of the next decision ahead of time, for instance fit a model and memoise it.

        The driver calls this sometimes while every worker is busy, so that `suggest` is quick when one becomes free.
        It must not change the results of `suggest`: a sweep that never calls it makes the same decisions.
        """

    def remaining(self, history: History) -> Iterable[Config] | None:
        """The configurations that it will still suggest; None: it goes on as long as it is asked.

        Only a searcher that has a list of them overrides this method. Forecasts read it, decisions do not.
        """
        return None

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        """The checkpoints, (trial, step), that later suggestions may fork from; the driver keeps them.

        Once a checkpoint has left this collection, it must not return. Only searchers that fork override this method.
        """
        return ()

    def doubt(self, history: History) -> str:
        """Why it cannot do what it is for, by what the trials have reported so far, with the remedy. "": it can."""
        return ""

    def use_of_earlier(self) -> str:
        """From when on it learns from `history.earlier`, in words; "": never."""
        return ""

    def check(self, space: Space) -> None:  # noqa: B027 - most searchers accept every space
        """Raise ValueError, naming the parameter and a remedy, if this searcher cannot search `space`."""


class Around(Searcher):
    """A searcher that asks another one, and has its abilities; call `adopt` once `inner` is known."""

    @property
    @abstractmethod
    def inner(self) -> Searcher:
        """The searcher that it asks."""

    @property
    def forks(self) -> bool:
        return self.inner.forks

    def adopt(self) -> None:
        for name in ("continues", "schedules", "finalists"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def prepare(self, history: History) -> None:
        self.inner.prepare(history)

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        return self.inner.forkable(history)

    def doubt(self, history: History) -> str:
        return self.inner.doubt(history)

    def use_of_earlier(self) -> str:
        return self.inner.use_of_earlier()


class Scheduler(ABC):
    """Judges running trials from outside, after each report."""

    resumes: ClassVar[bool] = False
    """True: `promote` may resume any stopped trial, so the driver must keep its checkpoint."""

    @abstractmethod
    def judge(self, trial: Trial, history: History) -> Verdict:
        """Whether `trial`, whose last report is already in `history`, may continue."""

    def promote(self, history: History) -> Suggestion | None:
        """A stopped trial to resume (`resume`), asked whenever a worker is free; None: start something new.

        Only schedulers that pause trials override this method.
        """
        return None

    def cuts(self, horizon: int) -> str:
        """At which steps, of `horizon`, it stops or pauses which trials, in words for the user; "": never."""
        return ""


def generator(history: History, salt: str = "") -> np.random.Generator:
    """The random generator of one decision, a function of the seed and the length of the history."""
    return np.random.default_rng(derived_seed(history.seed, len(history), salt))


def derived_seed(*parts: object) -> int:
    """A 32-bit seed from values with a stable `repr`; equal parts give equal seeds in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
