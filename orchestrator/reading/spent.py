"""What a running sweep has spent so far, and what is left, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.driver import Driver

LEAST_HOURS = 0.01  # of a device, below which they say nothing


def spent_in_words(driver: Driver) -> str:
    """Full trainings spent, and left of the budget; the hours of the devices that trials have reported."""
    history, sweep = driver.history, driver.sweep
    spent, budget = history.spent, sweep.budget
    of = "" if budget is None else f" of {budget:g}"
    parts = [f"{spent:.2f}{of} full trainings"]
    if under_way := history.committed:
        parts.append(f"{under_way:.1f} more under way")
    device = "gpu" if sweep.resources.get("gpu") else "cpu"
    hours = sum(trial.cost_seconds for trial in history) * float(sweep.resources.get(device, 0)) / 3600
    if hours >= LEAST_HOURS:
        parts.append(f"{hours:.2g} {device.upper()}-hours" if hours < 10 else f"{hours:,.0f} {device.upper()}-hours")
    return ", ".join(parts)
