"""Analytic families of learning curves, with known truth, on which a search can be raced without any training.

Each family has one thing that makes searches fail; `SHAPES` says how its curves go. A task of a family is a seed; a
configuration of a task always has the same curve. The loss of a curve is `floor + height × value`, where the value is
0 for the best configuration at its end and 1 for a network that has learned nothing; floor and height belong to the
task. Noise is in the reported losses only: `Curve.truth` is the loss without it, so that luck does not count.

    late         what ends well falls slowly: the order of the first steps is the reverse of the last one's
    flat         nothing happens for a time that depends on the configuration, then the loss falls
    diverging    half of the space diverges, early or late, and the best is near the edge
    noisy        a plateau whose noise is as wide as what separates good configurations
    useless      the first third of a curve says nothing
    misleading   the first third of a curve points the wrong way
    needle       the good region is 2 % of the space; elsewhere another, shallow valley
    wide         40 parameters, of which five matter; numbers and categories
    conditional  two optimisers with parameters of their own
    short        three steps
    long         a thousand steps
    costly       the costs of a step differ 20 times, and the dear configurations are the better ones
    schedule     a step is a twentieth of a run's own warm-up, peak and decay: most of the fall comes in the decay
    rising       most curves fall and rise again
    few          two parameters, smooth, without noise: nothing in the way
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from curves import Curve, Vector
from surfaces import Terrain

from search.contract import derived_seed
from search.records import Config
from search.space import Choice, Pow2, Space, choice, lograndint, loguniform, pow2, uniform, when

Losses = Callable[[Terrain, Vector, Vector], Vector]
"""(task, units (n, d), shares of the horizon (steps,)) → values without noise (n, steps)."""
Trait = Callable[[Terrain, Vector], Vector]
"""(task, units (n, d)) → (n,)."""


def usual_cost(terrain: Terrain, units: Vector) -> Vector:
    """Of a step: three times as much at one end of the last parameter as at the other."""
    return np.asarray(3.0 ** units[:, -1])


@dataclass(frozen=True)
class Shape:
    """What the tasks of a family have in common."""

    space: Space
    horizon: int
    values: Losses
    noise: float = 0.004  # standard deviation of a reported loss, in heights
    cost: Trait = usual_cost  # of a step, in any unit
    beyond: Trait | None = None  # > 0: the configuration is likely to diverge


@dataclass(frozen=True)
class Analytic:
    """One task of an analytic family; `task` is its seed. U: (n, dimension), unit cube."""

    family: str
    task: int

    @property
    def name(self) -> str:
        return f"{self.family} {self.task}"

    @cached_property
    def shape(self) -> Shape:
        return SHAPES[self.family]

    @cached_property
    def space(self) -> Space:
        return self.shape.space

    @cached_property
    def horizon(self) -> int:
        return self.shape.horizon

    @cached_property
    def best(self) -> float:
        """The lowest loss without noise at any step: random points, then smaller and smaller steps around the best."""
        rng = np.random.default_rng(derived_seed("best", self.family, self.task))
        points = np.concatenate([rng.random((2048, self.space.dimension)), self._optima()])
        for width in (0.3, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002):
            points = points[np.argsort(self._lowest(points))[:48]]
            moves = width * rng.standard_normal((48, 40, self.space.dimension))
            moves *= rng.random(moves.shape) < 2 / self.space.dimension  # a few coordinates at once
            nearby = np.clip(points[:, None, :] + moves, 0.0, 1.0)
            points = np.concatenate([points, nearby.reshape(-1, self.space.dimension)])
        return float(self._floor + self._height * self._lowest(points).min())

    @cached_property
    def typical(self) -> float:
        finals = [curve.losses[-1] for curve in self._random]
        return float(np.median(np.nan_to_num(finals, nan=self._floor + self._height)))

    @cached_property
    def full_cost(self) -> float:
        return float(np.mean([curve.cost_seconds.sum() for curve in self._random]))

    def curve(self, config: Config) -> Curve:
        shape, unit = self.shape, self.space.to_unit(config)[None]
        rng = np.random.default_rng(derived_seed("curve", self.family, self.task, sorted(config.items())))
        truth = self._floor + self._height * self._values(unit)[0]
        losses = truth + shape.noise * self._height * rng.standard_normal(shape.horizon)
        if shape.beyond is not None and rng.random() < _chance(float(shape.beyond(self._terrain, unit)[0])):
            soon = rng.random() < 0.6
            losses[int(shape.horizon * (0.1 if soon else 0.9) * rng.random()) :] = np.nan
        seconds = float(shape.cost(self._terrain, unit)[0])
        return Curve(losses, np.full(shape.horizon, seconds), truth)

    def _values(self, units: Vector) -> Vector:
        shares = np.arange(1, self.shape.horizon + 1) / self.shape.horizon
        return self.shape.values(self._terrain, self._places(units), shares)

    def _places(self, units: Vector) -> Vector:
        """The units with each category at a random place of its own, because neighbours mean nothing."""
        if not self._categories:
            return units
        places = units.copy()
        for index, order in self._categories.items():
            bins = np.minimum((units[:, index] * len(order)).astype(int), len(order) - 1)
            places[:, index] = order[bins]
        return places

    def _optima(self) -> Vector:
        """The units of the best places of the task's surfaces: a category is the one whose place is nearest."""
        self._values(np.full((1, self.space.dimension), 0.5))  # makes the surfaces
        units = self._terrain.optima()
        for index, order in self._categories.items():
            units[:, index] = (np.abs(units[:, [index]] - order).argmin(axis=1) + 0.5) / len(order)
        return units

    def _lowest(self, units: Vector) -> Vector:
        """(n,): the lowest value of each curve; infinite where it is likely to diverge."""
        lowest = self._values(self._snapped(units)).min(axis=1)
        if self.shape.beyond is not None:
            lowest[self.shape.beyond(self._terrain, units) > -0.05] = math.inf
        return np.asarray(lowest)

    def _snapped(self, units: Vector) -> Vector:
        """The units with each category and power of two in the middle of its bin."""
        places = units.copy()
        for name, index in self.space.coordinates.items():
            parameter = self.space.parameters[name]
            if isinstance(parameter, (Choice, Pow2)):
                bins = np.minimum(np.floor(units[:, index] * parameter.size), parameter.size - 1)
                places[:, index] = (bins + 0.5) / parameter.size
        return places

    @cached_property
    def _categories(self) -> dict[int, Vector]:
        rng = np.random.default_rng(derived_seed("categories", self.family, self.task))
        found = {}
        for name, index in self.space.coordinates.items():
            parameter = self.space.parameters[name]
            if isinstance(parameter, Choice):
                count = int(parameter.size)
                is_parent = any(name in condition for condition in self.space.conditions.values())
                order = np.arange(count) if is_parent else rng.permutation(count)
                found[index] = (order + 0.5) / count
        return found

    @cached_property
    def _terrain(self) -> Terrain:
        return Terrain(derived_seed("terrain", self.family, self.task), self.space.dimension)

    @cached_property
    def _scale(self) -> tuple[float, float]:
        rng = np.random.default_rng(derived_seed("scale", self.family, self.task))
        height = 10 ** rng.uniform(-0.7, 0.7)
        return height * rng.uniform(0.0, 0.5), height

    @property
    def _floor(self) -> float:
        return self._scale[0]

    @property
    def _height(self) -> float:
        return self._scale[1]

    @cached_property
    def _random(self) -> list[Curve]:
        rng = np.random.default_rng(derived_seed("random", self.family, self.task))
        return [self.curve(self.space.sample(rng)) for _ in range(256)]


def family(name: str, tasks: int = 3) -> list[Analytic]:
    """The first tasks of a family."""
    return [Analytic(name, task) for task in range(tasks)]


def _chance(beyond: float) -> float:
    return 1 / (1 + math.exp(-60 * min(max(beyond, -0.5), 0.5)))


def _fall(end: Vector, share: Vector, scale: Vector, power: float = 1.2) -> Vector:
    """Power laws from 1 to `end` or a little above, which have come half of the way at about `scale`."""
    return np.asarray(end[:, None] + (1 - end[:, None]) * (1 + share / scale[:, None]) ** -power)


def _simple(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    scale = 0.03 * np.exp(2.0 * terrain("speed", units))
    return _fall(0.9 * terrain("end", units), share, scale)


def _late(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    end = terrain("end", units)
    scale = 0.035 * np.exp(2.4 * (1 - end) + 0.8 * (terrain("speed", units) - 0.5))
    end = 0.5 * end
    return np.asarray(end[:, None] + (1 - end[:, None]) * np.exp(-((share / scale[:, None]) ** 1.3)))


def _flat(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    end = 0.9 * terrain("end", units)
    onset = 0.02 + 0.9 * terrain("onset", units) ** 1.5
    since = np.maximum(share - onset[:, None], 0.0)
    return np.asarray(end[:, None] + (1 - end[:, None]) * np.exp(-12 * since))


def _edge(terrain: Terrain, units: Vector) -> Vector:
    """A curved face through the cube with about half of it on either side; the best end is near it."""
    near = terrain.surface("end").optimum
    return np.asarray((units[:, 0] - near[0] - 0.12) + 0.35 * (units[:, 1] - near[1]) * (1 + units[:, 2] - near[2]))


def _misleading(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    end = terrain("end", units)
    turn = 1 / (1 + np.exp(-25 * (share - 0.45)))
    early = 0.95 - (0.25 * end + 0.15 * terrain("beginning", units))[:, None] - 0.1 * share
    return np.asarray((1 - turn) * early + turn * (0.9 * end[:, None] + 0.1 * (1 - share)))


def _useless(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    """The first third is a rough surface that has nothing to do with the end."""
    waves = np.sin(units @ terrain.matrix("waves", 40.0))  # (n, d): as good as random between two draws
    third = share < 0.35
    since = np.maximum(share - 0.3, 0.0)
    end = 0.9 * terrain("end", units)
    falling = end[:, None] + (1 - end[:, None]) * np.exp(-9 * since)
    return np.asarray(np.where(third, 1.0 + 0.05 * waves.sum(axis=1)[:, None], falling))


def _needle(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    radius = 0.168  # a ball of 2 % of the cube
    inside = np.maximum(1 - ((units - terrain.place("needle")) ** 2).sum(axis=1) / radius**2, 0.0)
    end = (0.55 + 0.35 * terrain("end", units)) * (1 - np.minimum(inside, 0.9) / 0.9)
    return _fall(end, share, 0.04 * np.exp(1.5 * terrain("speed", units)))


def _conditional(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    """Columns: optimiser, SGD's four, Adam's four, then what both have."""
    common = [9, 10, 11, 12]
    sgd = terrain("sgd", units, [1, 2, 3, 4, *common])
    adam = terrain("adam", units, [5, 6, 7, 8, *common])
    behind = terrain.number("behind", -0.2, 0.2)  # whose best is worse, and by how much
    end = np.where(units[:, 0] < 0.5, sgd + max(behind, 0.0), adam + max(-behind, 0.0))
    scale = 0.03 * np.exp(1.5 * terrain("speed", units, common) + np.where(units[:, 0] < 0.5, 0.7, 0.0))
    return _fall(np.asarray(0.8 * end), share, scale)


def _grown(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    """Large models end better: up to half of the height."""
    end = 0.55 * terrain("end", units) + 0.4 * (1 - units[:, -1]) ** 1.5
    return _fall(end, share, 0.03 * np.exp(1.5 * terrain("speed", units) + 0.5 * units[:, -1]))


def _grown_cost(terrain: Terrain, units: Vector) -> Vector:
    return np.asarray(20.0 ** units[:, -1])


def _schedule(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    """Columns: peak rate, share of the warm-up, decay of the weights, clipping, length of the training.

    The learning done is the integral of the rate; while the rate is high, it adds a noise floor of its own.
    """
    warm = 0.02 + 0.5 * units[:, [1]]
    decay = np.clip((1 - share) / (1 - warm), 0.0, 1.0)
    rate = np.minimum(share / warm, 1.0) * np.where(share > warm, 0.5 - 0.5 * np.cos(np.pi * decay), 1.0)
    learned = np.cumsum(rate, axis=1) / len(share)
    peak, longer = units[:, [0]], units[:, [4]]
    end = 0.7 * terrain("end", units)[:, None] + 0.15 * (1 - longer) ** 2
    scale = 0.03 * np.exp(2.5 * terrain("speed", units)[:, None])
    left = (1 + learned / scale) ** -1.5
    hot = rate * (0.1 + 0.8 * peak) * (1 - left)
    unlearned = np.minimum(left + hot, 1.0)
    return np.asarray(unlearned + end * (1 - unlearned) ** 2)


def _schedule_cost(terrain: Terrain, units: Vector) -> Vector:
    return np.asarray(8.0 ** units[:, 4])


def _rising(terrain: Terrain, units: Vector, share: Vector) -> Vector:
    turn = 0.15 + 1.5 * (1 - terrain("overfit", units))
    rise = 1.2 * np.maximum(share - turn[:, None], 0.0) ** 1.3
    return np.asarray(_fall(0.85 * terrain("end", units), share, 0.02 * np.exp(2 * terrain("speed", units))) + rise)


def _numbers(count: int) -> Space:
    """A space of `count` numbers, on linear and logarithmic scales by turns."""
    return Space({f"x{i}": loguniform(1e-4, 1.0) if i % 2 else uniform(0.0, 1.0) for i in range(count)})


def _many() -> Space:
    kinds: Sequence[object] = (loguniform(1e-5, 1.0), uniform(0.0, 1.0), choice(["a", "b", "c", "d"]), pow2(8, 1024))
    return Space({f"x{i}": kinds[i % 4] for i in range(40)})


def _optimisers() -> Space:
    own = {
        "sgd": {"rate": loguniform(1e-3, 10.0), "momentum": uniform(0.0, 0.99), "nesterov": choice([False, True])},
        "adam": {"rate": loguniform(1e-5, 0.1), "beta2": uniform(0.9, 0.9999), "epsilon": loguniform(1e-9, 1e-3)},
    }
    own["sgd"]["decay"] = own["adam"]["decay"] = loguniform(1e-6, 0.1)
    conditional = {
        f"{optimiser}_{name}": when(parameter, optimiser=optimiser)
        for optimiser, parameters in own.items()
        for name, parameter in parameters.items()
    }
    common = {
        "activation": choice(["relu", "gelu", "tanh"]),
        "dropout": uniform(0.0, 0.8),
        "layers": lograndint(1, 16),
        "width": lograndint(16, 1024),
    }
    return Space({"optimiser": choice(["sgd", "adam"]), **conditional, **common})


TRAINING = Space(
    {
        "learning_rate": loguniform(1e-5, 1.0),
        "momentum": uniform(0.0, 0.99),
        "weight_decay": loguniform(1e-6, 0.1),
        "batch_size": pow2(16, 512),
        "dropout": uniform(0.0, 0.8),
        "width": lograndint(16, 1024),
    }
)
SCHEDULED = Space(
    {
        "peak": loguniform(1e-5, 1e-2),
        "warm_up": uniform(0.0, 1.0),
        "weight_decay": loguniform(1e-6, 0.1),
        "clip": loguniform(0.1, 10.0),
        "epochs": lograndint(4, 32),
    }
)
SHAPES = {
    "late": Shape(TRAINING, 50, _late),
    "flat": Shape(TRAINING, 30, _flat),
    "diverging": Shape(TRAINING, 27, _simple, beyond=_edge),
    "noisy": Shape(TRAINING, 100, _simple, noise=0.1),
    "useless": Shape(_numbers(4), 10, _useless),
    "misleading": Shape(_numbers(5), 12, _misleading),
    "needle": Shape(_numbers(3), 20, _needle),
    "wide": Shape(_many(), 20, _simple),
    "conditional": Shape(_optimisers(), 20, _conditional),
    "short": Shape(_numbers(2), 3, _simple),
    "long": Shape(_numbers(5), 1000, _simple),
    "costly": Shape(TRAINING, 20, _grown, cost=_grown_cost),
    "schedule": Shape(SCHEDULED, 20, _schedule, cost=_schedule_cost),
    "rising": Shape(TRAINING, 24, _rising),
    "few": Shape(_numbers(2), 20, _simple, noise=0.0),
}
