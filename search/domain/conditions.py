"""Conditions: a parameter that is active only if other parameters have certain values.

`when` defines one, `condition_of` checks it against the parameters that it names, and `settled` goes through a
configuration, parents first, and says in one sentence what is wrong with it.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search.domain.foreign_parameters import explained
from search.domain.parameters import Choice, Fixed, Float, Parameter

Condition = Mapping[str, tuple[Any, ...]]
"""Parent name → the values of the parent for which a parameter is active; all parents must agree."""


@dataclass(frozen=True)
class Conditional:
    """A parameter that is active only if other parameters have certain values; made by `when`."""

    parameter: Any
    conditions: tuple[tuple[str, tuple[Any, ...]], ...]

    def prior(self, centre: Any, *, confidence: float = 0.5) -> Conditional:
        """The same as a prior of the parameter within `when`."""
        inner = self.parameter if isinstance(self.parameter, Parameter) else Fixed(self.parameter)
        return replace(self, parameter=inner.prior(centre, confidence=confidence))


@explained
def when(parameter: Any, /, **conditions: Any) -> Conditional:
    """`parameter`, active only if each named parent is active and has the value, or one of the values.

    >>> space = Space({"optimizer": choice(["sgd", "adam"]), "momentum": when(uniform(0, 1), optimizer="sgd")})
    """
    earlier = parameter.conditions if isinstance(parameter, Conditional) else ()
    inner = parameter.parameter if isinstance(parameter, Conditional) else parameter
    as_tuples = tuple(
        (parent, tuple(value) if isinstance(value, (list, tuple)) else (value,)) for parent, value in conditions.items()
    )
    return Conditional(inner, earlier + as_tuples)


def is_active(condition: Condition, config: Mapping[str, Any]) -> bool:
    """Whether all parents in `config` have one of the values that the condition names."""
    return all(parent in config and config[parent] in values for parent, values in condition.items())


def condition_of(name: str, definition: Conditional, parameters: Mapping[str, Parameter]) -> Condition:
    """The checked condition of one parameter, with the parents' own plain values."""
    if not definition.conditions:
        raise ValueError(f'when("{name}"): names no condition; try when(..., optimizer="sgd").')
    condition: dict[str, tuple[Any, ...]] = {}
    for parent, values in definition.conditions:
        title = f'when("{name}", {parent}={values!r})'
        if parent not in parameters:
            raise ValueError(f'{title}: there is no parameter "{parent}"{did_you_mean(parent, parameters)}')
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
                    f"{_near(value, parameters[parent])}"
                )
        plain = [parameters[parent].plain(value) for value in values]
        condition[parent] = tuple(value for place, value in enumerate(plain) if value not in plain[:place])
    return condition


def parents_first(conditions: Mapping[str, Condition]) -> list[str]:
    """The names, ordered so that every parent precedes its children."""
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


def settled(
    config: object, parameters: Mapping[str, Parameter], conditions: Mapping[str, Condition], order: Sequence[str]
) -> tuple[dict[str, Any], str | None]:
    """`config` with plain values and all fixed ones; and why it is invalid, or None. Ignores constraints."""
    if not isinstance(config, Mapping):
        return {}, f"a configuration is a dict of parameter values, not {config!r}."
    for name in config:
        if name not in parameters:
            return {}, f'there is no parameter "{name}"{did_you_mean(name, parameters)}'
    found: dict[str, Any] = {}
    for name in order:
        parameter, condition = parameters[name], conditions[name]
        if (objection := _objection(name, parameter, condition, config, found)) is not None:
            return {}, objection
        if is_active(condition, found):
            found[name] = parameter.value if isinstance(parameter, Fixed) else parameter.plain(config[name])
    return {name: found[name] for name in parameters if name in found}, None


def _objection(
    name: str, parameter: Parameter, condition: Condition, config: Mapping[str, Any], found: Mapping[str, Any]
) -> str | None:
    """What is wrong with one parameter of `config`, given its settled parents."""
    if not is_active(condition, found):
        if is_missing(config.get(name)):
            return None
        return f'"{name}" = {config[name]!r} is not active here, only{in_words(condition)}; leave it out.'
    if name not in config:
        missing = f'"{name}" is missing; it must be {parameter.allowed()}.'
        return None if isinstance(parameter, Fixed) else missing
    value = config[name]
    if not parameter.accepts(value):
        rule = "it is" if isinstance(parameter, Fixed) else "it must be"
        return f'"{name}" = {value!r} is not allowed: {rule} {parameter.allowed()}{_near(value, parameter)}'
    return None


def is_missing(value: object) -> bool:
    """Whether it is None or NaN: what a table has in the cell of an inactive parameter."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def in_words(condition: Condition) -> str:
    """ " when optimizer='sgd'", or nothing."""
    texts = [
        f"{parent}={values[0]!r}" if len(values) == 1 else f"{parent} in {list(values)!r}"
        for parent, values in condition.items()
    ]
    return f" when {' and '.join(texts)}" if texts else ""


def did_you_mean(name: object, names: Mapping[str, Any]) -> str:
    """A hint at the nearest of `names`, or at all of them, to the end of the sentence."""
    close = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else f"; there are {', '.join(names)}."


def _near(value: object, parameter: Parameter) -> str:
    """A hint for a misspelt option, to the end of the sentence."""
    if not isinstance(value, str) or not isinstance(parameter, Choice):
        return "."
    texts = [option for option in parameter.options if isinstance(option, str)]
    close = difflib.get_close_matches(value, texts, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "."
