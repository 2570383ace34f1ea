"""Random search: draws every configuration independently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from search.contract import Searcher
from search.history import History
from search.records import Suggestion
from search.rules.proposals import propose_random
from search.settings import flag


@dataclass(frozen=True)
class Random(Searcher):
    """Draws random configurations from the space.

    Use when   in doubt, and as the baseline that every other searcher must beat; with any number of workers.
    Costs      nothing.
    Settings   bracketed (False): draw three in four of the first 128 configurations, and one in four later, from the middle
               of the logarithmic ranges, the others evenly, see `search.domain.prior.towards_middle`. The default of a
               sweep that names no searcher.
    Not for    expensive trials with few parameters: a model finds better ones sooner.
    Source     Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012.
    Differs    in a finite space it repeats a configuration only when all are known.

    >>> searcher = Random()
    """

    bracketed: bool = field(default=False, kw_only=True)  # a class of a user's may have fields of its own

    why_full: ClassVar[str | None] = ""

    def __post_init__(self) -> None:
        flag("Random", bracketed=self.bracketed)

    def __repr__(self) -> str:  # as recorded before there was a choice
        return f"{type(self).__qualname__}({'bracketed=True' if self.bracketed else ''})"

    def suggest(self, history: History) -> Suggestion | None:
        return propose_random(history, bracketed=self.bracketed)
