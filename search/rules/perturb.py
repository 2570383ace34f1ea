"""Perturbation (PBT's explore): draw each setting afresh, or move it a little on its own scale."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from search.domain.parameters import Choice, Fixed, Float, Int, Parameter, Pow2
from search.domain.scalars import is_number
from search.records import Config
from search.space import Space

FACTORS = (0.8, 1.2)
AT_ZERO = 0.1  # of the range: what a factor moves a value of a range from 0 by, on average
ATTEMPTS = 20  # if every perturbation breaks a constraint, keep the configuration after these


def perturbed(
    config: Config, space: Space, rng: np.random.Generator, *, resample: float, keep: Collection[str] = ()
) -> dict[str, Any]:
    """A feasible perturbation of `config`; settings in `keep` stay if the conditions allow it."""

    def pick(name: str, parameter: Parameter) -> Any:
        if isinstance(parameter, Fixed):
            return parameter.value
        if name not in config:  # it has become active
            return parameter.from_unit(rng.random())
        if name in keep:
            return config[name]
        if rng.random() < resample:
            return parameter.from_unit(rng.random())
        return moved(config[name], parameter, up=bool(rng.random() < 0.5))

    for _ in range(ATTEMPTS):
        found = space.walk(pick)
        if space.contains(found):
            return found
    return dict(config)


def moved(value: Any, parameter: Parameter, *, up: bool) -> Any:
    """The value a little higher or lower, inside the bounds."""
    factor = FACTORS[up]
    if isinstance(parameter, Float):
        step = AT_ZERO * (parameter.high - parameter.low) * (1 if up else -1)
        new = step if value == 0 else value * (factor if value > 0 else FACTORS[not up])
        return min(max(new, parameter.low), parameter.high)
    if isinstance(parameter, Int):
        step = max(1, round(abs(value) * abs(factor - 1)))
        return min(max(value + (step if up else -step), parameter.low), parameter.high)
    if isinstance(parameter, Pow2):
        return min(max(value * 2 if up else value // 2, parameter.low), parameter.high)
    if isinstance(parameter, Choice) and _is_ordered(parameter):
        index = parameter.options.index(value) + (1 if up else -1)
        return parameter.options[min(max(index, 0), len(parameter.options) - 1)]
    return value


def _is_ordered(choice: Choice) -> bool:
    numbers = all(is_number(option) for option in choice.options)
    return numbers and list(choice.options) == sorted(choice.options)
