"""Try some configurations first: the user's, then the best ones of earlier sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.contract import Searcher
from search.history import History
from search.records import Config, Enough, Suggestion, start
from search.rules.earlier import proven


def points_first(points: Sequence[Config], history: History, then: Searcher) -> Suggestion | Enough | None:
    """The next of `points`, then of the earlier sweeps' best, that is not yet a trial; after them, the suggestion of `then`.

    If `then` resumes its trials, it decides how far the first stretch of a point trains. Raises ValueError for a point
    outside the space.
    """
    for config, evidence in to_try(points, history) if history.room else ():
        if history.known(config) is None:
            if not then.continues:
                return start(config, origin="point", evidence=evidence)
            wish = then.suggest(history)
            if not isinstance(wish, Suggestion) or wish.kind != "start":
                return wish
            return replace(wish, config=config, origin="point", evidence=evidence)
    return then.suggest(history)


def to_try(points: Sequence[Config], history: History) -> list[tuple[Config, str]]:
    """The configurations to try first, each with the reason."""
    own = [(history.space.check(point), f"point {number} of {len(points)}") for number, point in enumerate(points, 1)]
    return [*own, *proven(history)]
