"""A space with fewer configurations than the sweep tries: the others are repetitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.domain.feasible import LISTABLE
from search.searchers.grid import Grid
from search.space import Space

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def warning(sweep: Sweep) -> str:
    """What to know before the start; empty if no configuration must be repeated, or if the searcher does so on purpose."""
    if isinstance(sweep.searcher, Grid) or sweep.searcher.forks or sweep.space.size > LISTABLE:
        return ""
    size = configurations(sweep.space)
    if sweep.limit is not None and sweep.limit <= size:
        return ""
    trials = "as many trials as the budget allows" if sweep.limit is None else f"{sweep.limit} trials"
    grid = ", and so does searcher=Grid()" if sweep.space.grid_size(Grid().resolution) == sweep.space.size else ""
    return (
        f"the space has only {size} configuration{'s' * (size > 1)} for {trials}: once all are known, trials repeat them, "
        f"each with another seed, which shows only the noise. num_samples={size} tries each once{grid}."
    )


def configurations(space: Space) -> int:
    """How many a small finite space has that meet its constraints."""
    return sum(1 for _ in space.grid(LISTABLE)) if space.describe()["constraints"] else int(space.size)
