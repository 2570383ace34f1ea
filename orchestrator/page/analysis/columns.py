"""The searched parameters as columns of numbers, read from a recorded description: the space itself is not needed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.secrets import MASK
from search.history import Trial
from search.records import Config

Array = NDArray[np.float64]

INACTIVE = 0.5  # the place of a parameter that a configuration does not have, as in the unit cube


@dataclass(frozen=True)
class Column:
    """One searched parameter. `place` puts its values on the unit interval, as `Space.to_unit` does."""

    name: str
    kind: str  # float, int, pow2 or choice
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    options: tuple[Any, ...] = ()
    when: str = ""  # the condition under which it is active, for people; "" if it always is

    @property
    def is_category(self) -> bool:
        return self.kind == "choice"

    def place(self, value: Any) -> float:
        """0 at the lower end of the range, 1 at the upper; an option by the middle of its bin, in order."""
        if self.is_category:
            shown = [repr(option) for option in self.options]
            index = shown.index(repr(value)) if repr(value) in shown else len(shown) // 2
            return (index + 0.5) / max(1, len(shown))
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return INACTIVE
        low, high, at = self.low, self.high, float(value)
        if self.log:
            if at <= 0:
                return 0.0
            low, high, at = math.log(low), math.log(high), math.log(at)
        return min(1.0, max(0.0, (at - low) / (high - low))) if high > low else INACTIVE

    def value(self, place: float) -> float:
        """The inverse of `place`, for numbers."""
        if self.log:
            return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))
        return self.low + place * (self.high - self.low)

    def shown(self, value: Any) -> float | str | None:
        """The value as a figure takes it: a number, the name of an option, or None if it has none."""
        if value is None and not self.is_category:
            return None
        if self.is_category or isinstance(value, (bool, str)) or not isinstance(value, (int, float)):
            return str(value)
        return float(value)


def columns_of(about: Mapping[str, Any]) -> list[Column]:
    """The searched parameters of a recorded description, in its order; fixed ones and secrets are left out."""
    found = []
    for name, each in about.get("space", {}).get("parameters", {}).items():
        kind = each.get("kind")
        if kind == "choice":
            options = tuple(each["options"])
            if len(options) > 1 and not any(isinstance(one, str) and MASK in one for one in options):
                found.append(Column(name, kind, options=options, when=_condition(each)))
        elif kind in ("float", "int", "pow2") and each["low"] < each["high"]:
            log = bool(each.get("log")) or kind == "pow2"
            found.append(Column(name, kind, float(each["low"]), float(each["high"]), log, when=_condition(each)))
    return found


def as_trained(trial: Trial) -> Config:
    """Its configuration, with what its training itself found in the place of what it began at."""
    return {name: trial.found.get(name, value) for name, value in trial.config.items()}


def finders(name: str, trials: Iterable[Trial]) -> int:
    """How many of the trials found their value of a parameter in training."""
    return sum(name in trial.found and name in trial.config for trial in trials)


def secrets_of(about: Mapping[str, Any]) -> list[str]:
    """The parameters whose values the record masks."""
    return [
        name
        for name, each in about.get("space", {}).get("parameters", {}).items()
        if any(isinstance(one, str) and MASK in one for one in each.get("options", ()))
    ]


def places(columns: Sequence[Column], configs: Sequence[Config]) -> Array:
    """(configurations, columns): the place of each value; `INACTIVE` where a configuration lacks the parameter."""
    rows = [[c.place(config[c.name]) if c.name in config else INACTIVE for c in columns] for config in configs]
    return np.array(rows, dtype=np.float64).reshape(len(configs), len(columns))


def _condition(each: Mapping[str, Any]) -> str:
    terms = [
        f"{parent} = {values[0]}" if len(values) == 1 else f"{parent} is {' or '.join(map(str, values))}"
        for parent, values in each.get("when", {}).items()
    ]
    return " and ".join(terms)
