"""Configurations that somebody wants to be tried first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.contract import Searcher
from search.history import History
from search.records import Config, Enough, Suggestion, start


def points_first(points: Sequence[Config], history: History, then: Searcher) -> Suggestion | Enough | None:
    """The next of `points` that is no trial yet; when all are, what `then` suggests.

    A searcher that goes on with its trials says how far the first stretch of a point goes. Raises ValueError for a
    point outside the space.
    """
    for index, point in enumerate(points if history.room else ()):
        config = history.space.check(point)
        if history.known(config) is None:
            evidence = f"point {index + 1} of {len(points)}"
            if not then.continues:
                return start(config, origin="point", evidence=evidence)
            wish = then.suggest(history)
            if not isinstance(wish, Suggestion) or wish.kind != "start":
                return wish
            return replace(wish, config=config, origin="point", evidence=evidence)
    return then.suggest(history)
