"""What a driver has on record."""

from __future__ import annotations

from orchestrator.driver import Driver


def statuses(driver: Driver) -> list[str]:
    return [trial.status.value for trial in driver.history]
