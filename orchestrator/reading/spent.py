"""What a running sweep has spent so far, and what is left, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.money.amounts import dollars, full_trainings, spent_words, trainings
from orchestrator.money.prices import held_by_trial, prices_of

if TYPE_CHECKING:
    from orchestrator.driver import Driver

LEAST_HOURS = 0.01  # of a device, below which they say nothing


def of_budget(budget: object) -> tuple[str, str]:
    """What follows the full trainings spent, and what ends the sentence. `budget`: of a sweep's description.

    >>> of_budget(4.0), of_budget("$200"), of_budget(None)
    ((' of 4', ''), ('', '; the budget is $200'), ('', ''))
    """
    if isinstance(budget, (int, float)):
        return f" of {budget:g}", ""
    return "", "" if budget is None else f"; the budget is {budget}"


def spent_in_words(driver: Driver) -> str:
    """Full trainings spent, and left of the budget; the time of the devices, and its price if that is known."""
    history, sweep = driver.history, driver.sweep
    spent, budget = history.spent, full_trainings(sweep.budget)
    of = "" if budget is None else f" of {budget:g}"
    parts = [f"{trainings(spent)}{of} full trainings"]
    if under_way := history.committed:
        parts.append(f"{trainings(under_way)} more under way")
    device, _ = held_by_trial(sweep.resources)
    used = history.device_time.by_device
    hours = sum(used.values()) / 3600
    if (limit := sweep.device_budget) is not None:
        parts.insert(0, f"{spent_words(sweep.budget, limit.spent(history))} of {limit.words}")
    else:
        costs = [prices_of(sweep.prices).usd(name, seconds) for name, seconds in used.items()]
        known = [usd for usd in costs if usd is not None]
        parts += [dollars(sum(known))] if known and len(known) == len(costs) else []
    if hours >= LEAST_HOURS:
        parts.append(f"{hours:.2g} {device.upper()}-hours" if hours < 10 else f"{hours:,.0f} {device.upper()}-hours")
    return ", ".join(parts)
