"""Candidates for a model's acquisition function: all over the space, near the best, and nearer still, in vectors.

Works in the unit cube, whatever the parameters are. Only the few best candidates are rounded to configurations, at the
end, and their scores computed again there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.domain.parameters import Choice
from search.history import key_of
from search.space import Space, Vector

Array = NDArray[np.float64]
Score = Callable[[Array], Array]
"""Unit points (n, dimension) → scores (n,), higher is better."""

EVERYWHERE = 500  # random candidates
NEAR = 10  # candidates around each centre
STEPS = (0.15, 0.05)  # distances of further candidates from the best few, in units of the range
BEST = 6  # the best few
ROUNDED = 20  # best candidates to round to configurations
LOOKED = 200  # best candidates to search for these, which must differ and break no constraint


class Encoding:
    """Unit points for a model that measures distances: each option of a choice becomes a column."""

    def __init__(self, space: Space) -> None:
        self._options = {
            index: len(parameter.options)
            for name, index in space.coordinates.items()
            if isinstance(parameter := space.parameters[name], Choice)
        }
        self._numbers = [index for index in range(space.dimension) if index not in self._options]
        self.dimension = len(self._numbers) + sum(self._options.values())

    def __call__(self, units: Array) -> Array:
        """(n, dimension of the space) → (n, self.dimension); two options are as far apart as the ends of a range."""
        columns = [units[:, self._numbers]]
        for index, count in self._options.items():
            chosen = np.minimum((units[:, index] * count).astype(int), count - 1)
            columns.append(np.eye(count)[chosen] / np.sqrt(2))
        return np.concatenate(columns, axis=1)


def near(centres: Array, space: Space, rng: np.random.Generator, count: int, step: float | None = None) -> Array:
    """`count` variations of each centre: about half of the coordinates move, a choice to any option."""
    points = np.repeat(centres, count, axis=0)
    scale = np.full((len(points), 1), step) if step else rng.choice([0.05, 0.2], size=(len(points), 1))
    moved = rng.random(points.shape) < 0.5
    moved[np.arange(len(points)), rng.integers(points.shape[1], size=len(points))] = True
    shifted: Array = np.clip(points + moved * scale * rng.normal(size=points.shape), 0.0, 1.0)
    for name, index in space.coordinates.items():
        if isinstance(space.parameters[name], Choice):
            shifted[:, index] = np.where(moved[:, index], rng.random(len(points)), points[:, index])
    return shifted


def best_configurations(
    score: Score, centres: Array, space: Space, rng: np.random.Generator
) -> Iterator[tuple[dict[str, Any], Vector, float]]:
    """Configurations, their unit points and scores, best first, without those that break a constraint."""
    points = rng.random((EVERYWHERE, space.dimension))
    if len(centres):
        points = np.concatenate([points, near(centres, space, rng, NEAR)])
    scores = score(points)
    for step in STEPS:
        closer = near(points[np.argsort(-scores)[:BEST]], space, rng, NEAR, step)
        points, scores = np.concatenate([points, closer]), np.concatenate([scores, score(closer)])
    configs = _allowed(points[np.argsort(-scores, kind="stable")[:LOOKED]], space)
    if not configs:
        return
    units = np.array([space.to_unit(config) for config in configs])
    again = score(units)
    for index in np.argsort(-again, kind="stable"):
        yield configs[index], units[index], float(again[index])


def _allowed(points: Array, space: Space) -> list[dict[str, Any]]:
    """The first few distinct configurations that break no constraint."""
    found: dict[str, dict[str, Any]] = {}
    for point in points:
        config = space.from_unit(point)
        if (key := key_of(config)) not in found and space.why_not(config) is None:
            found[key] = config
            if len(found) == ROUNDED:
                break
    return list(found.values())


def is_apart(unit: Vector, others: Array, distance: float) -> bool:
    """Whether it is farther than `distance` of the range from each of `others`, (n, dimension), in some coordinate."""
    return not len(others) or float(np.abs(others - unit).max(axis=1).min()) > distance
