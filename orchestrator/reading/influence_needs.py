"""From how many trials on the report says which parameters matter; the plan says so before."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.console.plurals import plural
from search.space import Fixed, Space

FEWEST, EACH = 20, 5  # fewer trials than these, or than this many for each parameter, get no bar


def needed_for(parameters: int) -> int:
    """The fewest trials that give a figure."""
    return max(FEWEST, EACH * parameters)


def needs_rows(space: Space, most: int | None) -> Iterator[str]:
    """A row of the plan if `most`, the configurations to start, are too few; None: as many as the budget allows."""
    searched = sum(not isinstance(parameter, Fixed) for parameter in space.parameters.values())
    if most is not None and searched > 1 and most < needed_for(searched):
        yield f"report     says which of the {plural(searched, 'parameter')} matter from {needed_for(searched)} trials on"
