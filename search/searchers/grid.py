"""Grid search: all combinations of evenly spaced values, in order, once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from search.contract import Searcher
from search.history import History
from search.records import Config, Suggestion, start
from search.settings import whole
from search.space import Space

LARGEST = 100_000  # combinations; nobody could train more


@dataclass(frozen=True)
class Grid(Searcher):
    """Suggests each point of the grid once; None when all of them are known.

    Use when   there are one or two parameters, or you want a table of all combinations.
    Costs      resolution to the power of the number of parameters; walks the list for each suggestion.
    Settings   resolution (5): values of each number, ends included, evenly spaced on its scale. A choice always
               gives all options, an integer with fewer values all of them.
    Not for    more than three numbers: random search covers each of them better.
    Differs    skips combinations that are already known (also from another searcher), and those that break a
               constraint.

    >>> searcher = Grid(resolution=3)
    """

    why_full: ClassVar[str | None] = "a grid is meant to show each of its values"
    resolution: int = 5

    def __post_init__(self) -> None:
        whole("Grid", 1, resolution=self.resolution)

    def check(self, space: Space) -> None:
        if (size := space.grid_size(self.resolution)) > LARGEST:
            raise ValueError(
                f"Grid(resolution={self.resolution}): {size:.3g} combinations of {', '.join(space.names)}; "
                f"lower the resolution, fix a parameter, or use Sobol()."
            )

    def suggest(self, history: History) -> Suggestion | None:
        config = next(self.remaining(history), None)
        return None if config is None else start(config, origin="grid")

    def remaining(self, history: History) -> Iterator[Config]:
        return (config for config in history.space.grid(self.resolution) if history.known(config) is None)
