"""Enumerate the configurations of a space: count them, or list them. Constraints are ignored here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from search.domain.conditions import Condition, is_active
from search.domain.parameters import Parameter

_OTHER = object()


def expanded(
    values: Mapping[str, list[Any]], conditions: Mapping[str, Condition], order: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Every configuration of these values of the parameters, the first in `order` changing slowest."""
    return _expanded(values, conditions, order, {}, 0)


def _expanded(
    values: Mapping[str, list[Any]],
    conditions: Mapping[str, Condition],
    order: Sequence[str],
    config: dict[str, Any],
    depth: int,
) -> Iterator[dict[str, Any]]:
    if depth == len(order):
        yield {name: config[name] for name in values if name in config}
        return
    name = order[depth]
    if not is_active(conditions[name], config):
        yield from _expanded(values, conditions, order, config, depth + 1)
        return
    for value in values[name]:
        yield from _expanded(values, conditions, order, {**config, name: value}, depth + 1)


def families(conditions: Mapping[str, Condition], order: Sequence[str]) -> list[list[str]]:
    """The names, parents first, in groups that no condition connects, so that their counts multiply."""
    family = {name: {name} for name in order}
    for name, condition in conditions.items():
        for parent in condition:
            joined = family[name] | family[parent]
            family.update(dict.fromkeys(joined, joined))
    return [
        [other for other in order if other in family[name]]
        for name in order
        if name == next(other for other in order if other in family[name])
    ]


def count(
    groups: Sequence[Sequence[str]],
    parameters: Mapping[str, Parameter],
    conditions: Mapping[str, Condition],
    width: Callable[[Parameter], float],
) -> float:
    """The number of configurations if every parameter takes `width` values; `groups` are the `families`."""
    parents = {parent for condition in conditions.values() for parent in condition}

    def count_from(names: Sequence[str], config: dict[str, Any]) -> float:
        if not names:
            return 1
        name, rest = names[0], names[1:]
        if not is_active(conditions[name], config):
            return count_from(rest, config)
        total = width(parameters[name])
        if name not in parents:
            return total * count_from(rest, config)
        given = [value for condition in conditions.values() for value in condition.get(name, ())]
        named = [value for place, value in enumerate(given) if value not in given[:place]]
        split = sum(count_from(rest, {**config, name: value}) for value in named)
        others = max(total - len(named), 0)  # values that no condition names all have the same children
        return split + (others * count_from(rest, {**config, name: _OTHER}) if others else 0)

    return math.prod(count_from(group, {}) for group in groups)
