"""Start from known good configurations, then let another searcher continue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from search.contract import Around, Searcher
from search.history import History
from search.records import Config, Enough, Suggestion
from search.rules.points import points_first
from search.space import Space
from search.wording import instance


@dataclass(frozen=True)
class Points(Around):
    """Suggests `points`, then asks `then`.

    Use when   you have a guess: published settings, last month's winner, the defaults of a paper.
    Costs      one trial for each point.
    Settings   points: the configurations, in order. then: the searcher that continues; it learns from the points.
    Not for    warm starts from many results: give the model their history instead.
    Differs    never runs a point again that is already a trial, whatever its origin.
    """

    points: Sequence[Config]
    then: Searcher

    def __post_init__(self) -> None:
        instance("Points", Searcher, then=self.then)
        object.__setattr__(self, "points", tuple(self.points))
        self.adopt()

    @property
    def inner(self) -> Searcher:
        return self.then

    def check(self, space: Space) -> None:
        for index, point in enumerate(self.points):
            if (objection := space.why_not(point)) is not None:
                raise ValueError(f"Points: point {index}, {point!r}: {objection}")
        self.then.check(space)

    def suggest(self, history: History) -> Suggestion | Enough | None:
        return points_first(self.points, history, self.then)

    def remaining(self, history: History) -> Iterable[Config] | None:
        rest = self.then.remaining(history)
        points = (history.space.check(point) for point in self.points)
        return None if rest is None else chain((point for point in points if history.known(point) is None), rest)
