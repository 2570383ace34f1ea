"""Parameters that by their names set how long the learning rate warms up, and their lengths in steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from search.domain.scalars import is_number
from search.records import Config
from search.wording import shown

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

_LENGTH = re.compile(r"warm[_-]?up(?!.*(?:lr|rate|momentum|init|start|factor|decay|power|bias))", re.IGNORECASE)
MOST = 2.0  # horizons: a longer "warm-up" counts something other than steps


@dataclass(frozen=True)
class WarmUp:
    """A parameter that sets the length of the warm-up."""

    name: str
    low: float
    high: float
    unit: float  # steps for each 1 of its value: 1, or the horizon if it is a share

    @property
    def longest(self) -> int:
        """In steps, rounded up."""
        return -int(-self.high * self.unit // 1)

    def steps(self, config: Config) -> float:
        """The length in this configuration; 0 if the parameter is not active."""
        value = config.get(self.name)
        return value * self.unit if is_number(value) else 0.0  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.name} ({f'{self.low:g} to {self.high:g}' if self.low < self.high else f'{self.high:g}'})"


def warm_ups(parameters: Mapping[str, Mapping[str, Any]], horizon: int) -> list[WarmUp]:
    """Those of a space's `describe()["parameters"]`. Whether they count steps cannot be known: say "if"."""
    found = []
    for name, described in parameters.items():
        values = [described.get(key) for key in ("low", "high", "value")] + list(described.get("options", ()))
        numbers = [float(value) for value in values if is_number(value)]  # type: ignore[arg-type]
        if not numbers or not _LENGTH.search(name):
            continue
        is_share = max(numbers) <= 1 and not all(number.is_integer() for number in numbers)
        if 0 < max(numbers) <= MOST * horizon:
            found.append(WarmUp(name, min(numbers), max(numbers), float(horizon) if is_share else 1.0))
    return found


def beyond_the_first_cut(sweep: Sweep) -> str:
    """What to know of a scheduler that compares trials before their warm-up is over; empty otherwise."""
    scheduler, horizon = sweep.scheduler, sweep.workload.horizon
    first = getattr(scheduler, "grace_period", None)
    found = warm_ups(sweep.space.describe()["parameters"], horizon)
    longest = max(found, key=lambda each: each.longest, default=None)
    if first is None or longest is None or longest.longest <= first or not scheduler.cuts(horizon):
        return ""
    remedy = "narrow it, or take scheduler=RunToEnd()"
    if longest.longest <= horizon / 2:
        remedy = f"scheduler={shown(replace(scheduler, grace_period=longest.longest))} waits for its end"  # type: ignore[type-var]
    counts = "" if longest.unit > 1 else ", if it counts these steps"
    return f"{longest} reaches beyond step {first}{counts}: a trial may be stopped during its warm-up; {remedy}"
