"""Try the user's configurations first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from search.contract import Searcher
from search.history import History
from search.records import Config, Enough, Suggestion, start


def points_first(points: Sequence[Config], history: History, then: Searcher) -> Suggestion | Enough | None:
    """The next of `points` that is not yet a trial; after all of them, the suggestion of `then`.

    If `then` resumes its trials, it decides how far the first stretch of a point trains. Raises ValueError for a point
    outside the space.
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
