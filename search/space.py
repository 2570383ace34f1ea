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

A configuration is a dict of the *active* parameters. On the unit cube every parameter that is not fixed has
one coordinate, in the order of the definition: a float its place in the range (on its scale), an integer, a
power or a choice the middle of its bin (a choice by index: its neighbours mean nothing), an inactive one 0.5.

Whoever has a guess where the best value is says so: `loguniform(1e-5, 1).believed(1e-3, confidence=0.5)`. A belief
changes what is tried first, never what is allowed or what a result means.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.parameters import Choice, Fixed, Float, Int, Parameter, Pow2
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
Constraint = Callable[[Mapping[str, Any]], bool]
Condition = Mapping[str, tuple[Any, ...]]
"""Parent name → the values of the parent for which a parameter is active; all parents must agree."""

DRAWS = 1000  # before a configuration is sought near the one that is known to meet the constraints
MOST_DRAWS = 100_000  # before a constraint counts as impossible, when a space is made
STEPS = (0.3, 0.1, 0.03, 0.01, 0.003)  # how far from the one that is known, in units of the ranges
NEAR_DRAWS = 100  # for each step
LISTABLE = 10_000  # a finite space up to this size may be listed whole


@dataclass(frozen=True)
class Conditional:
    """A parameter that is active only if other parameters have certain values; made by `when`."""

    parameter: Any
    conditions: tuple[tuple[str, tuple[Any, ...]], ...]


def uniform(low: float, high: float) -> Float:
    """A real number, every value equally likely.

    >>> space = Space({"momentum": uniform(0.0, 0.99)})
    """
    return Float(low, high)


def loguniform(low: float, high: float) -> Float:
    """A positive real number, every order of magnitude equally likely.

    >>> space = Space({"lr": loguniform(1e-5, 0.1).believed(1e-3)})
    """
    return Float(low, high, log=True)


def randint(low: int, high: int) -> Int:
    """A whole number from `low` to `high`, both included.

    >>> space = Space({"layers": randint(1, 6)})
    """
    return Int(low, high)


def lograndint(low: int, high: int) -> Int:
    """A positive whole number from `low` to `high`, both included, on a log scale.

    >>> space = Space({"width": lograndint(8, 512)})
    """
    return Int(low, high, log=True)


def pow2(low: int, high: int) -> Pow2:
    """A power of two from `low` to `high`, both included.

    >>> pow2(16, 128).values(10)
    [16, 32, 64, 128]
    """
    return Pow2(low, high)


def choice(options: Any) -> Choice:
    """One of `options`, a list of plain values.

    >>> space = Space({"optimizer": choice(["sgd", "adam"])})
    """
    return Choice(options)


def when(parameter: Any, **conditions: Any) -> Conditional:
    """`parameter`, active only if each named parent is active and has the value, or one of the values.

    >>> space = Space({"optimizer": choice(["sgd", "adam"]), "momentum": when(uniform(0, 1), optimizer="sgd")})
    """
    earlier = parameter.conditions if isinstance(parameter, Conditional) else ()
    inner = parameter.parameter if isinstance(parameter, Conditional) else parameter
    as_tuples = tuple(
        (parent, tuple(value) if isinstance(value, (list, tuple)) else (value,)) for parent, value in conditions.items()
    )
    return Conditional(inner, earlier + as_tuples)


class Space:
    """Everything that may be tried. Immutable; a definition that cannot work is refused with ValueError.

    >>> space = Space({"lr": loguniform(1e-5, 0.1), "epochs": 20}, {"slow": lambda c: c["lr"] < 0.05})
    >>> space.why_not({"lr": 0.2})
    '"lr" = 0.2 is not allowed: it must be a number from 1e-05 to 0.1.'
    """

    def __init__(self, parameters: Mapping[str, Any], constraints: Mapping[str, Constraint] | None = None) -> None:
        _refuse_names(parameters)
        self._parameters: dict[str, Parameter] = {name: _named(name, value) for name, value in parameters.items()}
        self._conditions: dict[str, Condition] = {
            name: _condition(name, value, self._parameters) if isinstance(value, Conditional) else {}
            for name, value in parameters.items()
        }
        self._order = _parents_first(self._conditions)
        self._parents = {parent for condition in self._conditions.values() for parent in condition}
        self._coordinate = {
            name: index for index, name in enumerate(n for n, p in self._parameters.items() if not isinstance(p, Fixed))
        }
        self._constraints = dict(_checked_constraints(constraints))
        self._example = self._first_feasible() if self._constraints else None

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        return MappingProxyType(self._parameters)

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """For every parameter its condition; empty if it is always active."""
        return MappingProxyType(self._conditions)

    @property
    def names(self) -> list[str]:
        return list(self._parameters)

    @property
    def dimension(self) -> int:
        """Coordinates of the unit cube: one for each parameter that is not fixed."""
        return len(self._coordinate)

    @property
    def coordinates(self) -> Mapping[str, int]:
        """Parameter name → its place in the unit vector."""
        return MappingProxyType(self._coordinate)

    @property
    def is_conditional(self) -> bool:
        return bool(self._parents)

    @property
    def size(self) -> float:
        """How many configurations there are, constraints left aside; infinite with any float."""
        return self._count(lambda parameter: parameter.size)

    @property
    def is_finite(self) -> bool:
        return all(math.isfinite(parameter.size) for parameter in self._parameters.values())

    def contains(self, config: Mapping[str, Any]) -> bool:
        return self.why_not(config) is None

    def why_not(self, config: Mapping[str, Any]) -> str | None:
        """Why `config` is not in the space, in one sentence; None if it is. Fixed values may be left out."""
        return self._settle(config)[1]

    def check(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` with plain Python values, in the order of the space; raises ValueError with `why_not`."""
        settled, objection = self._settle(config)
        if objection is not None:
            raise ValueError(f"{dict(config) if isinstance(config, Mapping) else config!r}: {objection}")
        return settled

    @property
    def has_beliefs(self) -> bool:
        """Whether somebody has a guess where the best value of some parameter is (`believed`)."""
        return any(parameter.belief is not None for parameter in self._parameters.values())

    def log_belief(self, units: Vector) -> Vector:
        """Log prior density of points in the unit cube, (n, dimension) → (n,); 0 everywhere without beliefs.

        Finite everywhere: with a probability of 1 − confidence the best value of a parameter may be anywhere. An
        inactive parameter counts nothing.
        """
        units = np.asarray(units, dtype=np.float64)
        total = np.zeros(len(units))
        if not self.has_beliefs:
            return total
        active = [self.from_unit(unit) for unit in units] if self.is_conditional else None
        for name, index in self._coordinate.items():
            if (parameter := self._parameters[name]).belief is not None:
                counts = 1.0 if active is None else np.array([name in config for config in active], dtype=np.float64)
                total += np.log(parameter.believed_density(units[:, index])) * counts
        return total

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random configuration that meets all constraints; if they leave very little, one near the first that was found."""
        return self._sample(rng, lambda: rng.random(self.dimension))

    def sample_believed(self, rng: np.random.Generator) -> dict[str, Any]:
        """A configuration drawn from the beliefs that meets all constraints."""
        searched = [self._parameters[name] for name in self._coordinate]
        return self._sample(rng, lambda: np.array([parameter.sample_believed(rng) for parameter in searched]))

    def _sample(self, rng: np.random.Generator, draw: Callable[[], Vector]) -> dict[str, Any]:
        for _ in range(DRAWS):
            config = self.from_unit(draw())
            if self._broken(config) is None:
                return config
        assert self._example is not None  # without constraints the first draw is good
        if self.size <= LISTABLE:
            feasible = list(self.grid(LISTABLE))
            return feasible[int(rng.integers(len(feasible)))]
        return self._near(self._example, rng)

    def _near(self, config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Another configuration that meets all constraints, as far from `config` as can be found; at worst `config`."""
        unit = self.to_unit(config)
        for step in STEPS:
            for _ in range(NEAR_DRAWS):
                moved = rng.random(self.dimension) < 0.5
                moved[rng.integers(self.dimension)] = True
                other = self.from_unit(np.clip(unit + moved * step * rng.normal(size=self.dimension), 0.0, 1.0))
                if other != config and self._broken(other) is None:
                    return other
        return dict(config)

    def _first_feasible(self) -> dict[str, Any]:
        """Raises ValueError, naming the constraint that is broken most, if there is nothing to search."""
        rng = np.random.default_rng(0)
        broken: dict[str, int] = {}
        listable = self.size <= LISTABLE
        for _ in range(DRAWS if listable else MOST_DRAWS):
            config = self.from_unit(rng.random(self.dimension))
            if (name := self._broken(config)) is None:
                return config
            broken[name] = broken.get(name, 0) + 1
        found = next(self.grid(LISTABLE), None) if listable else None
        if found is not None:
            return found
        worst = max(broken, key=lambda name: broken[name])
        tried = "no configuration" if listable else f"none of {MOST_DRAWS} random configurations"
        raise ValueError(
            f"Space: {tried} meets the constraints, and "
            f'"{worst}" failed {broken[worst]} of {sum(broken.values())}; loosen it or narrow the ranges.'
        )

    def to_unit(self, config: Mapping[str, Any]) -> Vector:
        """The place of `config` in the unit cube; inactive parameters at 0.5."""
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
        """The configuration whose active parameters, parents first, have the values that `pick` gives."""
        config: dict[str, Any] = {}
        for name in self._order:
            if self._is_active(name, config):
                config[name] = pick(name, self._parameters[name])
        return {name: config[name] for name in self._parameters if name in config}

    def grid(self, resolution: int) -> Iterator[dict[str, Any]]:
        """All feasible configurations of evenly spread values, `resolution` of them for each number."""
        whole("grid", 1, resolution=resolution)
        values = {name: parameter.values(resolution) for name, parameter in self._parameters.items()}
        return (config for config in self._expand(values, {}, 0) if self._broken(config) is None)

    def grid_size(self, resolution: int) -> float:
        """How many configurations `grid` has, constraints left aside."""
        return self._count(lambda parameter: len(parameter.values(resolution)))

    def describe(self) -> dict[str, Any]:
        """The definition as JSON, the same in every process. A constraint is known by its name only."""
        parameters = {}
        for name, parameter in self._parameters.items():
            parameters[name] = parameter.describe()
            if parameter.belief is not None:
                parameters[name]["belief"] = asdict(parameter.belief)
            if self._conditions[name]:
                parameters[name]["when"] = {p: list(values) for p, values in self._conditions[name].items()}
        return {"parameters": parameters, "constraints": list(self._constraints)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and json.dumps(self.describe()) == json.dumps(other.describe())

    def __hash__(self) -> int:
        return hash(json.dumps(self.describe()))

    def __repr__(self) -> str:
        parts = [
            f"{name!r}: {parameter!r}{_when(self._conditions[name])}" for name, parameter in self._parameters.items()
        ]
        constraints = f", constraints={list(self._constraints)}" if self._constraints else ""
        return f"Space({{{', '.join(parts)}}}{constraints})"

    def _settle(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """`config` with plain values and all fixed ones, and why it is not in the space."""
        if not isinstance(config, Mapping):
            return {}, f"a configuration is a dict of parameter values, not {config!r}."
        for name in config:
            if name not in self._parameters:
                return {}, f'there is no parameter "{name}"{_did_you_mean(name, self._parameters)}.'
        settled: dict[str, Any] = {}
        for name in self._order:
            if (objection := self._objection(name, config, settled)) is not None:
                return {}, objection
            if self._is_active(name, settled):
                parameter = self._parameters[name]
                settled[name] = parameter.value if isinstance(parameter, Fixed) else parameter.plain(config[name])
        settled = {name: settled[name] for name in self._parameters if name in settled}
        broken = self._broken(settled)
        return settled, None if broken is None else f'the constraint "{broken}" is not met by {settled}.'

    def _objection(self, name: str, config: Mapping[str, Any], settled: Mapping[str, Any]) -> str | None:
        """What is wrong with one parameter of `config`, given its settled parents."""
        parameter = self._parameters[name]
        if not self._is_active(name, settled):
            inactive = f'"{name}" = {config.get(name)!r} is not active here, only{_when(self._conditions[name])}; '
            return inactive + "leave it out." if name in config else None
        if name not in config:
            missing = f'"{name}" is missing; it must be {parameter.allowed()}.'
            return None if isinstance(parameter, Fixed) else missing
        value = config[name]
        if not parameter.accepts(value):
            hint = _near(value, parameter)
            return f'"{name}" = {value!r} is not allowed: it must be {parameter.allowed()}{hint}.'
        return None

    def _broken(self, config: Mapping[str, Any]) -> str | None:
        """The name of a constraint that `config` breaks."""
        for name, constraint in self._constraints.items():
            try:
                met = bool(constraint(config))
            except Exception as error:
                raise ValueError(
                    f'Space: the constraint "{name}" failed on {dict(config)} with {error!r}; '
                    "inactive parameters are absent: use c.get(name)."
                ) from error
            if not met:
                return name
        return None

    def _is_active(self, name: str, config: Mapping[str, Any]) -> bool:
        return all(parent in config and config[parent] in values for parent, values in self._conditions[name].items())

    def _expand(self, values: Mapping[str, list[Any]], config: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        if depth == len(self._order):
            yield {name: config[name] for name in self._parameters if name in config}
            return
        name = self._order[depth]
        if not self._is_active(name, config):
            yield from self._expand(values, config, depth + 1)
            return
        for value in values[name]:
            yield from self._expand(values, {**config, name: value}, depth + 1)

    def _count(self, width: Callable[[Parameter], float]) -> float:
        """How many configurations there are if every parameter takes `width` values."""
        return math.prod(self._count_from(family, {}, width) for family in self._families)

    @cached_property
    def _families(self) -> list[list[str]]:
        """The names, parents first, in groups that no condition joins: their counts multiply."""
        family = {name: {name} for name in self._order}
        for name, condition in self._conditions.items():
            for parent in condition:
                joined = family[name] | family[parent]
                family.update(dict.fromkeys(joined, joined))
        return [
            [other for other in self._order if other in family[name]]
            for name in self._order
            if name == next(other for other in self._order if other in family[name])
        ]

    def _count_from(self, names: list[str], config: dict[str, Any], width: Callable[[Parameter], float]) -> float:
        if not names:
            return 1
        name, rest = names[0], names[1:]
        if not self._is_active(name, config):
            return self._count_from(rest, config, width)
        total = width(self._parameters[name])
        if name not in self._parents:
            return total * self._count_from(rest, config, width)
        named = {value for condition in self._conditions.values() for value in condition.get(name, ())}
        split = sum(self._count_from(rest, {**config, name: value}, width) for value in named)
        others = max(total - len(named), 0)  # values that no condition asks for differ in nothing
        return split + (others * self._count_from(rest, {**config, name: _OTHER}, width) if others else 0)


def numeric_coordinates(space: Space) -> list[int]:
    """The coordinates of numbers that every configuration has."""
    return [
        space.coordinates[name]
        for name, parameter in space.parameters.items()
        if not isinstance(parameter, (Choice, Fixed)) and not space.conditions[name]
    ]


_OTHER = object()


def _refuse_names(parameters: object) -> None:
    if not isinstance(parameters, Mapping):
        raise ValueError(f"Space: parameters must be a dict of name: parameter, not {parameters!r}.")
    if not parameters:
        raise ValueError('Space({}): there is nothing to search; give a parameter, as in {"lr": loguniform(1e-5, 1)}.')
    for name in parameters:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"Space: the name {name!r} must be non-empty text; try {str(name).strip() or 'lr'!r}.")


def _named(name: str, definition: Any) -> Parameter:
    """The parameter of a definition; a plain value is fixed."""
    inner = definition.parameter if isinstance(definition, Conditional) else definition
    parameter = inner if isinstance(inner, Parameter) else Fixed(inner)
    if (problem := parameter.problem() or parameter.belief_problem()) is not None:
        title = f'{type(parameter).__name__}("{name}", {parameter.arguments()}){parameter.belief or ""}'
        raise ValueError(f"{title}: {problem}.")
    return parameter


def _condition(name: str, definition: Conditional, parameters: Mapping[str, Parameter]) -> Condition:
    """The checked condition of one parameter, with the parents' own plain values."""
    if not definition.conditions:
        raise ValueError(f'when("{name}"): names no condition; try when(..., optimizer="sgd").')
    condition: dict[str, tuple[Any, ...]] = {}
    for parent, values in definition.conditions:
        title = f'when("{name}", {parent}={values!r})'
        if parent not in parameters:
            raise ValueError(f'{title}: there is no parameter "{parent}"{_did_you_mean(parent, parameters)}.')
        if parent in condition:
            raise ValueError(f'{title}: "{parent}" is named twice; name all its values in one condition.')
        if isinstance(parameters[parent], Float):
            raise ValueError(f'{title}: "{parent}" is a float, never exactly one value; use a choice as parent.')
        if not values:
            raise ValueError(f'{title}: no value is named, so "{name}" could never be active; name one.')
        for value in values:
            if not parameters[parent].accepts(value):
                raise ValueError(
                    f'{title}: "{parent}" cannot be {value!r}; it is {parameters[parent].allowed()}'
                    f"{_near(value, parameters[parent])}."
                )
        condition[parent] = tuple(dict.fromkeys(parameters[parent].plain(value) for value in values))
    return condition


def _parents_first(conditions: Mapping[str, Condition]) -> list[str]:
    """The names in an order in which every parent precedes its children."""
    order: list[str] = []

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " → ".join((*trail[trail.index(name) :], name))
            raise ValueError(f"Space: the conditions run in a circle ({circle}); remove one of them.")
        if name not in order:
            for parent in conditions[name]:
                visit(parent, (*trail, name))
            order.append(name)

    for name in conditions:
        visit(name, ())
    return order


def _checked_constraints(constraints: object) -> Mapping[str, Constraint]:
    if constraints is None:
        return {}
    if not isinstance(constraints, Mapping):
        raise ValueError(f"Space: constraints must be a dict of name: predicate, not {constraints!r}.")
    for name, constraint in constraints.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"Space: the constraint name {name!r} must be non-empty text; say what must hold.")
        if not callable(constraint):
            raise ValueError(
                f'Space: the constraint "{name}" must be a function of the configuration, '
                f'not {constraint!r}; try lambda c: c["batch"] <= 512.'
            )
    return constraints


def _when(condition: Condition) -> str:
    texts = [
        f"{parent}={values[0]!r}" if len(values) == 1 else f"{parent} in {list(values)!r}"
        for parent, values in condition.items()
    ]
    return f" when {' and '.join(texts)}" if texts else ""


def _did_you_mean(name: object, names: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; there are {', '.join(names)}"


def _near(value: object, parameter: Parameter) -> str:
    """A hint for a misspelt option."""
    if not isinstance(value, str) or not isinstance(parameter, Choice):
        return ""
    texts = [option for option in parameter.options if isinstance(option, str)]
    close = difflib.get_close_matches(value, texts, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
