"""The search space: named parameters, conditions between them, and constraints on their values.

Example::

    space = Space(
        {
            "optimizer": choice(["sgd", "adam"]),
            "lr": loguniform(1e-5, 1),
            "momentum": when(uniform(0, 0.99), optimizer="sgd"),
            "batch": pow2(16, 1024),
            "epochs": 20,
        },
        constraints={"large batches need a small rate": lambda c: c["lr"] * c["batch"] <= 64},
    )

A configuration is a dict of the *active* parameters. In the unit cube every parameter that is not fixed has one
coordinate, in the order of the definition. A float has its place in the range (on its scale); an integer, a power of
two or a choice has the middle of its bin (a choice by its index, though neighbours mean nothing); an inactive
parameter has 0.5.

State a prior if you expect the best value somewhere: `loguniform(1e-5, 1).prior(1e-3, confidence=0.5)`. A prior
changes the order of the trials; it never changes which values are allowed or what a result means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.domain.conditions import (
    Condition,
    Conditional,
    condition_of,
    in_words,
    is_active,
    parents_first,
    settled,
    when,
)
from search.domain.constraints import Constraint, broken, checked
from search.domain.enumeration import count, expanded, families
from search.domain.feasible import drawn, first_feasible, try_constraints
from search.domain.foreign_parameters import explained, foreign
from search.domain.parameters import Choice, Fixed, Float, Int, Parameter, Pow2
from search.domain.prior import towards_middle
from search.domain.scalars import plain_option
from search.settings import whole

__all__ = [
    "Choice",
    "Conditional",
    "Fixed",
    "Float",
    "Int",
    "Parameter",
    "Pow2",
    "Space",
    "choice",
    "lograndint",
    "loguniform",
    "pow2",
    "randint",
    "uniform",
    "when",
]

Vector = NDArray[np.float64]


@explained
def uniform(low: float, high: float) -> Float:
    """A real number; all values are equally likely.

    >>> space = Space({"momentum": uniform(0.0, 0.99)})
    """
    return Float(low, high)


@explained
def loguniform(low: float, high: float) -> Float:
    """A positive real number; all orders of magnitude are equally likely.

    >>> space = Space({"lr": loguniform(1e-5, 0.1).prior(1e-3)})
    """
    return Float(low, high, log=True)


@explained
def randint(low: int, high: int) -> Int:
    """A whole number from `low` to `high`, both included.

    >>> space = Space({"layers": randint(1, 6)})
    """
    return Int(low, high)


@explained
def lograndint(low: int, high: int) -> Int:
    """A positive whole number from `low` to `high`, both included, on a log scale.

    >>> space = Space({"width": lograndint(8, 512)})
    """
    return Int(low, high, log=True)


@explained
def pow2(low: int, high: int) -> Pow2:
    """A power of two from `low` to `high`, both included.

    >>> pow2(16, 128).values(10)
    [16, 32, 64, 128]
    """
    return Pow2(low, high)


@explained
def choice(options: Any) -> Choice:
    """One of `options`, a list of plain values, or of lists of such.

    >>> space = Space({"optimizer": choice(["sgd", "adam"])})
    """
    return Choice(options)


class Space:
    """All configurations that may be tried. Immutable; raises ValueError for a definition that cannot work.

    >>> space = Space({"lr": loguniform(1e-5, 0.1), "epochs": 20}, {"slow": lambda c: c["lr"] < 0.05})
    >>> space.why_not({"lr": 0.2})
    '"lr" = 0.2 is not allowed: it must be a number from 1e-05 to 0.1.'
    """

    @explained
    def __init__(self, parameters: Mapping[str, Any], constraints: Mapping[str, Constraint] | None = None) -> None:
        _refuse_names(parameters)
        self._parameters: dict[str, Parameter] = {name: _named(name, value) for name, value in parameters.items()}
        self._conditions: dict[str, Condition] = {
            name: condition_of(name, value, self._parameters) if isinstance(value, Conditional) else {}
            for name, value in parameters.items()
        }
        self.order = parents_first(self._conditions)
        """The names, parents before their children."""
        self._coordinate = {
            name: index for index, name in enumerate(n for n, p in self._parameters.items() if not isinstance(p, Fixed))
        }
        searched = [self._parameters[name] for name in self._coordinate]
        self._logarithmic = np.array([isinstance(p, Pow2) or getattr(p, "log", False) for p in searched], dtype=bool)
        self.has_priors = any(parameter.known_prior is not None for parameter in self._parameters.values())
        """Whether any parameter has a prior."""
        self._constraints = dict(checked(constraints))
        self._families = families(self._conditions, self.order)
        if self._constraints:
            try_constraints(self)
        self._example = first_feasible(self) if self._constraints else None

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return MappingProxyType(self._parameters)

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The condition of every parameter; empty if it is always active."""
        return MappingProxyType(self._conditions)

    @property
    def names(self) -> list[str]:
        return list(self._parameters)

    @property
    def dimension(self) -> int:
        """Number of coordinates of the unit cube: one for each parameter that is not fixed."""
        return len(self._coordinate)

    @property
    def coordinates(self) -> Mapping[str, int]:
        """Parameter name → its index in the unit vector."""
        return MappingProxyType(self._coordinate)

    @property
    def is_conditional(self) -> bool:
        return any(self._conditions.values())

    @property
    def size(self) -> float:
        """The number of configurations, ignoring constraints; infinite if there is a float."""
        return count(self._families, self._parameters, self._conditions, lambda parameter: parameter.size)

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(parameter.size) for parameter in self._parameters.values())

    def contains(self, config: Mapping[str, Any]) -> bool:
        return self.why_not(config) is None

    def broken(self, config: Mapping[str, Any]) -> str | None:
        """The name of a constraint that the otherwise valid `config` breaks; None if it meets all."""
        return broken(self._constraints, config, self._parameters)

    def why_not(self, config: Mapping[str, Any]) -> str | None:
        """Why `config` is not in the space, in one sentence; None if it is. You may leave out fixed values."""
        return _settle(self, config)[1]

    def check(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` with plain Python values, in the order of the space; raises ValueError with `why_not`."""
        given = {name: plain_option(value) for name, value in config.items()} if isinstance(config, Mapping) else config
        settled, objection = _settle(self, given)
        if objection is not None:
            raise ValueError(f"{dict(config) if isinstance(config, Mapping) else config!r}: {objection}")
        return settled

    def log_prior(self, units: Vector) -> Vector:
        """Log prior density of points in the unit cube, (n, dimension) → (n,); 0 everywhere without priors.

        Finite everywhere: with probability 1 − confidence the best value of a parameter may be anywhere. Inactive
        parameters do not count.
        """
        units = np.asarray(units, dtype=np.float64)
        total = np.zeros(len(units))
        if not self.has_priors:
            return total
        active = [self.from_unit(unit) for unit in units] if self.is_conditional else None
        for name, index in self._coordinate.items():
            if (parameter := self._parameters[name]).known_prior is not None:
                counts = 1.0 if active is None else np.array([name in config for config in active], dtype=np.float64)
                total += np.log(parameter.prior_density(units[:, index])) * counts
        return total

    def sample(self, rng: np.random.Generator, *, bracketed: bool = False) -> dict[str, Any]:
        """A random configuration that meets all constraints; if very few do, one near the first that was found.

        `bracketed`: parameters on a logarithmic scale are drawn more often from the middle of their ranges than from
        the ends, see `search.domain.prior.towards_middle`.
        """

        def draw() -> Vector:
            units = rng.random(self.dimension)
            return np.where(self._logarithmic, towards_middle(units), units) if bracketed else units

        return drawn(self, self._example, rng, draw)

    def sample_prior(self, rng: np.random.Generator) -> dict[str, Any]:
        """A configuration drawn from the priors that meets all constraints."""
        searched = [self._parameters[name] for name in self._coordinate]
        return drawn(
            self, self._example, rng, lambda: np.array([parameter.sample_prior(rng) for parameter in searched])
        )

    def to_unit(self, config: Mapping[str, Any]) -> Vector:
        """The place of `config` in the unit cube; inactive parameters are at 0.5."""
        unit = np.full(self.dimension, 0.5)
        for name, index in self._coordinate.items():
            if name in config:
                unit[index] = self._parameters[name].to_unit(config[name])
        return unit

    def from_unit(self, unit: Vector) -> dict[str, Any]:
        """The configuration at a place in the unit cube, active parameters only; may break a constraint."""
        return self.walk(
            lambda name, parameter: parameter.from_unit(
                unit[self._coordinate[name]] if name in self._coordinate else 0.5
            )
        )

    def walk(self, pick: Callable[[str, Parameter], Any]) -> dict[str, Any]:
        """The configuration whose active parameters get their values from `pick`, parents first."""
        config: dict[str, Any] = {}
        for name in self.order:
            if is_active(self._conditions[name], config):
                config[name] = pick(name, self._parameters[name])
        return {name: config[name] for name in self._parameters if name in config}

    def grid(self, resolution: int) -> Iterator[dict[str, Any]]:
        """All feasible configurations of evenly spread values, `resolution` of them for each number."""
        whole("grid", 1, resolution=resolution)
        values = {name: parameter.values(resolution) for name, parameter in self._parameters.items()}
        return (config for config in expanded(values, self._conditions, self.order) if self.broken(config) is None)

    def grid_size(self, resolution: int) -> float:
        """The number of configurations in `grid`, ignoring constraints."""
        return count(
            self._families, self._parameters, self._conditions, lambda parameter: len(parameter.values(resolution))
        )

    def describe(self) -> dict[str, Any]:
        """The definition as JSON, the same in every process. A constraint appears only by name."""
        parameters = {}
        for name, parameter in self._parameters.items():
            parameters[name] = parameter.describe()
            if parameter.known_prior is not None:
                parameters[name]["prior"] = asdict(parameter.known_prior)
            if self._conditions[name]:
                parameters[name]["when"] = {p: list(values) for p, values in self._conditions[name].items()}
        return {"parameters": parameters, "constraints": list(self._constraints)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and json.dumps(self.describe()) == json.dumps(other.describe())

    def __hash__(self) -> int:
        return hash(json.dumps(self.describe()))

    def __repr__(self) -> str:
        parts = [
            f"{name!r}: {parameter!r}{in_words(self._conditions[name])}" for name, parameter in self._parameters.items()
        ]
        constraints = f", constraints={list(self._constraints)}" if self._constraints else ""
        return f"Space({{{', '.join(parts)}}}{constraints})"


def numeric_coordinates(space: Space) -> list[int]:
    """The coordinates of the numeric parameters that are always active."""
    return [
        space.coordinates[name]
        for name, parameter in space.parameters.items()
        if not isinstance(parameter, (Choice, Fixed)) and not space.conditions[name]
    ]


def _refuse_names(parameters: object) -> None:
    if not isinstance(parameters, Mapping):
        raise ValueError(f"Space: parameters must be a dict of name: parameter, not {parameters!r}.")
    if not parameters:
        raise ValueError('Space({}): there is nothing to search; give a parameter, as in {"lr": loguniform(1e-5, 1)}.')
    for name in parameters:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"Space: the name {name!r} must be non-empty text; try {str(name).strip() or 'lr'!r}.")


def _named(name: str, definition: Any) -> Parameter:
    """The parameter of a definition; a plain value becomes a fixed parameter."""
    inner = definition.parameter if isinstance(definition, Conditional) else definition
    if not isinstance(inner, Parameter) and (remedy := foreign(inner)) is not None:
        raise ValueError(f"Space({name!r}): {remedy}.")
    parameter = inner if isinstance(inner, Parameter) else Fixed(inner)
    if (problem := parameter.problem() or parameter.prior_problem()) is not None:
        title = f'{type(parameter).__name__}("{name}", {parameter.arguments()}){parameter.known_prior or ""}'
        raise ValueError(f"{title}: {problem}.")
    return parameter


def _settle(space: Space, config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """`config` with plain values and all fixed ones; and why it is not in the space, or None."""
    found, objection = settled(config, space.parameters, space.conditions, space.order)
    if objection is not None:
        return {}, objection
    name = space.broken(found)
    return found, None if name is None else f'the constraint "{name}" is not met by {found}.'
