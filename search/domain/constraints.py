"""Constraints: named conditions that a whole configuration must meet, such as lr * batch <= 64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Constraint = Callable[[Mapping[str, Any]], bool]


def broken(constraints: Mapping[str, Constraint], config: Mapping[str, Any]) -> str | None:
    """The name of the first constraint that `config` breaks, or None."""
    for name, constraint in constraints.items():
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


def checked(constraints: object) -> Mapping[str, Constraint]:
    """The constraints given to `Space`, as a mapping; raises ValueError if they are not valid."""
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
