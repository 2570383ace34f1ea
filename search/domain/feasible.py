"""Draw random configurations that meet all constraints, even if very few do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from search.space import Space, Vector

DRAWS = 1000  # then look near the configuration that is known to meet the constraints
MOST_DRAWS = 100_000  # then a new space's constraints count as impossible
STEPS = (0.3, 0.1, 0.03, 0.01, 0.003)  # distances from the known configuration, in units of the ranges
NEAR_DRAWS = 100  # for each distance
LISTABLE = 10_000  # list a finite space of at most this size as a whole
TRIED = 200  # configurations on which each constraint is tried when a space is built …
TRIED_NEXT_TO = 5  # … and at every option and end of a range, with so many values of the other parameters


def drawn(
    space: Space, example: dict[str, Any] | None, rng: np.random.Generator, draw: Callable[[], Vector]
) -> dict[str, Any]:
    """A configuration at a place from `draw`; if all places break a constraint, a listed one, or one near `example`."""
    for _ in range(DRAWS):
        config = space.from_unit(draw())
        if space.broken(config) is None:
            return config
    assert example is not None  # without constraints the first draw is good
    if space.size <= LISTABLE:
        feasible = list(space.grid(LISTABLE))
        return feasible[int(rng.integers(len(feasible)))]
    return _near(space, example, rng)


def _near(space: Space, config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Another configuration that meets all constraints, as far from `config` as possible; at worst `config`."""
    unit = space.to_unit(config)
    for step in STEPS:
        for _ in range(NEAR_DRAWS):
            moved = rng.random(space.dimension) < 0.5
            moved[rng.integers(space.dimension)] = True
            other = space.from_unit(np.clip(unit + moved * step * rng.normal(size=space.dimension), 0.0, 1.0))
            if other != config and space.broken(other) is None:
                return other
    return dict(config)


def try_constraints(space: Space) -> None:
    """Raise ConstraintFailed, with the configuration, if a constraint raises an error on one of several hundred.

    A mistake may need a certain branch of the conditions and an extreme value: `c["warmup"] > 50 or c["momentum"] < 2`
    asks for an inactive parameter at a few warm-ups only.
    """
    rng = np.random.default_rng(0)
    for _ in range(TRIED):
        space.broken(space.from_unit(rng.random(space.dimension)))
    for name, index in space.coordinates.items():
        parameter = space.parameters[name]
        for value in parameter.values(2):  # the ends of a range, all options of a choice
            for unit in rng.random((TRIED_NEXT_TO, space.dimension)):
                unit[index] = parameter.to_unit(value)
                space.broken(space.from_unit(unit))


def first_feasible(space: Space) -> dict[str, Any]:
    """A configuration that meets all constraints. Raises ValueError, naming the one broken most, if none is found."""
    rng = np.random.default_rng(0)
    broken: dict[str, int] = {}
    listable = space.size <= LISTABLE
    for _ in range(DRAWS if listable else MOST_DRAWS):
        config = space.from_unit(rng.random(space.dimension))
        if (name := space.broken(config)) is None:
            return config
        broken[name] = broken.get(name, 0) + 1
    found = next(space.grid(LISTABLE), None) if listable else None
    if found is not None:
        return found
    worst = max(broken, key=lambda name: broken[name])
    tried = "no configuration" if listable else f"none of {MOST_DRAWS} random configurations"
    raise ValueError(
        f"Space: {tried} meets the constraints, and "
        f'"{worst}" failed {broken[worst]} of {sum(broken.values())}; loosen it or narrow the ranges.'
    )
