"""Constraints: named conditions that a whole configuration must meet, such as lr * batch <= 64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search.domain.conditions import did_you_mean

Constraint = Callable[[Mapping[str, Any]], bool]


class ConstraintFailed(ValueError):
    """A constraint raised an error, which is the `__cause__`, in place of saying whether it is met."""


def broken(
    constraints: Mapping[str, Constraint], config: Mapping[str, Any], parameters: Mapping[str, Any]
) -> str | None:
    """The name of the first constraint that `config` breaks, or None. `parameters`: all of the space, by name."""
    for name, constraint in constraints.items():
        try:
            met = bool(constraint(config))
        except Exception as error:
            why = f'Space: the constraint "{name}" failed on {dict(config)} with {error!r}'
            remedy = _remedy(error, config, parameters)
            raise ConstraintFailed(f"{why}{remedy}{'' if remedy.endswith(('?', '.')) else '.'}") from error
        if not met:
            return name
    return None


def _remedy(error: Exception, config: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    asked = error.args[0] if isinstance(error, KeyError) and error.args else None
    if asked is not None and asked not in config:
        if asked not in parameters:
            return f'; there is no parameter "{asked}"{did_you_mean(asked, parameters)}'
        return f'; "{asked}" is not active there: write c.get("{asked}"), and say what holds without it'
    if absent := [name for name in parameters if name not in config]:
        return f"; {', '.join(absent)}: not active there, so c.get(name) is None"
    return ""


def checked(constraints: object) -> Mapping[str, Constraint]:
    """The constraints given to `Space`, as a mapping; raises ValueError if they are not valid."""
    if constraints is None:
        return {}
    if not isinstance(constraints, Mapping):
        raise ValueError(
            f"Space: constraints must be a dict of name: predicate, not {constraints!r}; try "
            '{"small": lambda c: c["batch"] <= 512}.'
        )
    for name, constraint in constraints.items():
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"Space: the constraint name {name!r} must be non-empty text; say what must hold.")
        if not callable(constraint):
            raise ValueError(
                f'Space: the constraint "{name}" must be a function of the configuration, '
                f'not {constraint!r}; try lambda c: c["batch"] <= 512.'
            )
    return constraints
