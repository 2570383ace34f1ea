"""Budgets as people write them: 30, "30 full trainings", "40 gpu-hours", "$200"."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.money.prices import CPU, HOUR, Prices

USD, GPU_HOURS, CPU_HOURS = "$", "gpu-hours", "cpu-hours"
FULL = "full trainings"
UNITS = {
    USD: USD, "usd": USD, "dollar": USD, "dollars": USD,
    "gpu-hours": GPU_HOURS, "gpu-hour": GPU_HOURS, "gpu-h": GPU_HOURS, "gpuh": GPU_HOURS, "gpu-hrs": GPU_HOURS,
    "cpu-hours": CPU_HOURS, "cpu-hour": CPU_HOURS, "cpu-h": CPU_HOURS, "cpuh": CPU_HOURS, "cpu-hrs": CPU_HOURS,
    "": FULL, "full-trainings": FULL, "full-training": FULL, "trainings": FULL, "training": FULL,
}  # fmt: skip
TIMES = re.compile("s(ec(ond)?s?)?|m(in(ute)?s?)?|h(ou)?(rs?)?|d(ays?)?")  # units of a time budget
FORMS = "30 or '30 full trainings', '40 gpu-hours', '40 cpu-hours', '$200'"
_NUMBER = r"(?P<number>[+-]?(?:\d[\d,_]*(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)"
_FORM = re.compile(rf"(?P<before>\$?)\s*{_NUMBER}\s*(?P<unit>.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Amount:
    """An amount of device time or of money.

    >>> str(Amount(1200.5, USD)), str(Amount(40, GPU_HOURS))
    ('$1,200.50', '40 gpu-hours')
    """

    number: float
    unit: str

    def __str__(self) -> str:
        if self.unit == USD:
            return dollars(self.number)
        return f"{self.number:g} {self.unit}"

    def rate(self, device: str, prices: Prices) -> float | None:
        """How much of this unit one second of `device` costs; None without its price."""
        if self.unit == USD:
            return prices.usd(device, 1.0)
        return 1.0 / HOUR if (device == CPU) == (self.unit == CPU_HOURS) else 0.0


def dollars(amount: float) -> str:
    """An amount of money for people, in cents, or three digits of a small one.

    >>> dollars(200), dollars(0.5), dollars(0.01234), dollars(48837.601)
    ('$200', '$0.50', '$0.0123', '$48,837.60')
    """
    if 0 < abs(amount) < 0.1:
        return f"${float(f'{amount:.3g}'):f}".rstrip("0")
    cents = round(amount, 2)
    return f"${cents:,.0f}" if cents == round(cents) else f"${cents:,.2f}"


def full_trainings(budget: object) -> float | None:
    """A budget in full trainings; None if there is none, or it counts device time or money."""
    return budget if isinstance(budget, (int, float)) else None


def trainings(cost: float) -> str:
    """A cost in full trainings for people, without its unit: with one decimal below 100; a half goes up.

    >>> trainings(4.75), trainings(4.75 - 1e-9), trainings(1234.5)
    ('4.8', '4.8', '1,235')
    """
    return f"{rounded_trainings(cost):,.{1 if cost < 100 else 0}f}"


def rounded_trainings(cost: float) -> float:
    """The number that `trainings` shows."""
    scale = 10 if cost < 100 else 1
    return math.floor(cost * scale + 0.5 + 1e-6) / scale  # sums of steps are not exact


def budget_words(budget: object) -> str:
    """A budget for people, from a sweep or its description.

    >>> budget_words(2.5), budget_words("$200")
    ('2.5 full trainings', '$200')
    """
    return f"{budget:g} {FULL}" if isinstance(budget, (int, float)) else str(budget)


def spent_words(budget: object, spent: float) -> str:
    """What of a budget of device time or money is spent, in its unit."""
    unit = budget.unit if isinstance(budget, Amount) else ""
    return dollars(spent) if unit == USD else f"{spent:.3g} {unit}"


def budget_of(given: Any) -> float | Amount:
    """A budget: a number of full trainings, or an amount of device time or money. Raises BadInput."""
    title = f"Sweep(budget={given!r})"
    if isinstance(given, Amount):
        return given
    if not isinstance(given, str):
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < math.inf:
            raise BadInput(f"{title}: must be a number of full trainings, more than 0; or write {FORMS}.")
        return given
    match = _FORM.fullmatch(given.strip())
    if match is None:
        raise BadInput(f"{title}: must be a number of full trainings, or an amount with its unit; write {FORMS}.")
    unit = _unit(match["before"], match["number"], match["unit"], title)
    number = float(match["number"].replace(",", "").replace("_", ""))
    if not 0 < number < math.inf:
        raise BadInput(f"{title}: must be more than 0; leave it out for no limit.")
    return number if unit == FULL else Amount(number, unit)


def _unit(before: str, number: str, written: str, title: str) -> str:
    unit = re.sub(r"[\s_]+", "-", written.strip().lower())
    if before:
        if unit and UNITS.get(unit) != USD:
            raise BadInput(f"{title}: has two units, {before!r} and {written!r}; write {FORMS}.")
        return USD
    if unit in UNITS:
        return UNITS[unit]
    near = difflib.get_close_matches(unit, [known for known in UNITS if known], n=1, cutoff=0.6)
    hint = f" Did you mean {UNITS[near[0]]!r}?" if near else ""
    if TIMES.fullmatch(unit):
        time = f"{number}{unit[0]}"
        hint += f" To limit the time that passes, write --time-budget {time}, or Sweep(time_budget={time!r})."
    raise BadInput(f"{title}: unknown unit {written!r}.{hint} Write {FORMS}.")
