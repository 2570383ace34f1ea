"""Smooth random response surfaces with interactions, two valleys, and few parameters that matter.

A surface is 0 at its optimum, about 0.6 at half of the unit cube, and below 1. Its valleys are curved (one coordinate
is bent by another) and lie across the axes (a mixing of the coordinates).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.contract import derived_seed

Vector = NDArray[np.float64]

SECOND = 0.7  # depth of the second valley
MEDIAN = 0.92  # −log of 1 − the median of a surface


class Surface:
    """One response of the unit cube of `dimension` parameters, given by a seed."""

    def __init__(self, seed: int, dimension: int) -> None:
        rng = np.random.default_rng(seed)
        weights = rng.permutation(0.55 ** np.arange(dimension))  # few parameters matter
        mixing = np.eye(dimension) + 0.35 * rng.standard_normal((dimension, dimension)) / np.sqrt(dimension)
        self._matrix = mixing * np.sqrt(weights)
        heavy = np.argsort(-weights)
        self._bent, self._by = int(heavy[0]), int(heavy[min(1, dimension - 1)])
        self._bend = float(rng.uniform(0.5, 1.2)) if dimension > 1 else 0.0
        self.optimum = rng.uniform(0.15, 0.85, dimension)
        second = rng.uniform(0.1, 0.9, dimension)
        self._valleys = [self._mixed(place[None])[0] for place in (self.optimum, second)]
        sample = self._mixed(rng.random((512, dimension)))
        typical = np.median(((sample - self._valleys[0]) ** 2).sum(axis=1))
        self._sharpness = MEDIAN / float(typical)

    def __call__(self, units: Vector) -> Vector:
        """(n, dimension) → (n,)."""
        mixed = self._mixed(units)
        first, second = (np.exp(-self._sharpness * ((mixed - place) ** 2).sum(axis=1)) for place in self._valleys)
        return np.asarray(1 - np.maximum(first, SECOND * second**2))

    def _mixed(self, units: Vector) -> Vector:
        places = units.copy()
        places[:, self._bent] += self._bend * (units[:, self._by] - 0.5) ** 2
        return np.asarray(places @ self._matrix)


class Terrain:
    """The random parts of one task, each by its name."""

    def __init__(self, seed: int, dimension: int) -> None:
        self._seed, self._dimension = seed, dimension
        self._surfaces: dict[str, tuple[Surface, list[int]]] = {}
        self._parts: dict[str, Vector] = {}

    def __call__(self, name: str, units: Vector, columns: Sequence[int] | None = None) -> Vector:
        """The surface `name` of all coordinates or of some `columns`, (n, dimension) → (n,)."""
        if name not in self._surfaces:
            used = list(range(self._dimension) if columns is None else columns)
            self._surfaces[name] = Surface(derived_seed(self._seed, name), len(used)), used
        surface, _ = self._surfaces[name]
        return surface(units if columns is None else units[:, columns])

    def surface(self, name: str) -> Surface:
        """A surface of all coordinates."""
        self(name, np.full((1, self._dimension), 0.5))
        return self._surfaces[name][0]

    def optima(self) -> Vector:
        """The best place of each surface used so far, (surfaces, dimension); 0.5 in the coordinates that it ignores."""
        places = np.full((len(self._surfaces), self._dimension), 0.5)
        for place, (surface, columns) in zip(places, self._surfaces.values(), strict=True):
            place[columns] = surface.optimum
        return places

    def place(self, name: str) -> Vector:
        """A point away from the faces of the cube."""
        return self._part(name, lambda rng: rng.uniform(0.2, 0.8, self._dimension))

    def matrix(self, name: str, scale: float) -> Vector:
        """A random square matrix."""
        return self._part(name, lambda rng: scale * rng.standard_normal((self._dimension, self._dimension)))

    def number(self, name: str, low: float, high: float) -> float:
        return float(self._part(name, lambda rng: rng.uniform(low, high, 1))[0])

    def _part(self, name: str, draw: Callable[[np.random.Generator], Vector]) -> Vector:
        if name not in self._parts:
            self._parts[name] = draw(np.random.default_rng(derived_seed(self._seed, name)))
        return self._parts[name]
