"""Start from known good configurations, then let another searcher go on.

Use when   somebody has a guess: published settings, last month's winner, the defaults of a paper.
Costs      one trial for each point.
Settings   points: the configurations, in order. then: the searcher that goes on; it learns from the points.
Not for    warm starts from many results: give the model their history instead.
Differs    a point that is a trial already, in whatever way it came in, is not run twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from search.base import Searcher
from search.space import Space
from search.trial import Config, Enough, History, Suggestion, start


@dataclass(frozen=True)
class Points(Searcher):
    """Hands out `points`, then asks `then`."""

    points: Sequence[Config]
    then: Searcher

    def __post_init__(self) -> None:
        if not isinstance(self.then, Searcher):
            raise ValueError(f"Points(then={self.then!r}): must be a searcher, as in Points([...], then=Random()).")
        object.__setattr__(self, "points", tuple(self.points))
        object.__setattr__(self, "continues", self.then.continues)
        object.__setattr__(self, "schedules", self.then.schedules)
        object.__setattr__(self, "finalists", self.then.finalists)

    def check(self, space: Space) -> None:
        for index, point in enumerate(self.points):
            if (objection := space.why_not(point)) is not None:
                raise ValueError(f"Points: point {index}, {point!r}: {objection}")
        self.then.check(space)

    def suggest(self, history: History) -> Suggestion | Enough | None:
        for index, point in enumerate(self.points if history.room else ()):
            config = history.space.check(point)
            if history.known(config) is None:
                evidence = f"point {index + 1} of {len(self.points)}"
                if not self.continues:
                    return start(config, origin="point", evidence=evidence)
                wish = self.then.suggest(history)  # a searcher that goes on with its trials says how far the first goes
                if not isinstance(wish, Suggestion) or wish.kind != "start":
                    return wish
                return replace(wish, config=config, origin="point", evidence=evidence)
        return self.then.suggest(history)

    def prepare(self, history: History) -> None:
        self.then.prepare(history)

    def forkable(self, history: History) -> Collection[tuple[int, int]]:
        return self.then.forkable(history)
