"""The time budget: what of it is used, whether it ended a run, and how to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.console.plurals import plural
from orchestrator.console.typed_command import recorded_line
from orchestrator.definition.units import time_option
from orchestrator.driving.time_spent import OUT_OF_TIME, recorded_seconds, seconds_left
from orchestrator.record.ledger import FILE, Ledger

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def out_of_time(ledger: Ledger, unfinished: int) -> dict[str, Any] | None:
    """The budget and the time used (seconds), the number of unfinished trials, and how to go on.

    None if the time budget did not end the last invocation.
    """
    lease = ledger.lease()
    if not lease or not ledger.rows(
        "event", "WHERE kind = :kind AND epoch = :epoch", kind=OUT_OF_TIME, epoch=lease.epoch
    ):
        return None
    sweep = ledger.sweep()
    budget, used = sweep["description"]["time_budget"], recorded_seconds(ledger)
    more = time_option(budget * math.ceil(used / budget + 0.5))  # at least half of the budget beyond what is used
    return {
        "budget_seconds": budget,
        "used_seconds": round(used, 3),
        "unfinished": unfinished,
        "to_go_on": recorded_line(sweep, "--time-budget", more)
        if sweep["command"]
        else f"run(sweep, time_budget={more!r})",
    }


def out_of_time_words(facts: Mapping[str, Any]) -> str:
    """For people: that the time is used up, what is unfinished, and how to go on."""
    left = f"; {plural(facts['unfinished'], 'trial', 'are')} unfinished" if facts["unfinished"] else ""
    used = f"The time budget of {time_option(facts['budget_seconds'])} is used up{left}."
    return f"{used} To continue: {facts['to_go_on']}"


def time_row(sweep: Sweep, folder: Path) -> list[str]:
    """The row of the plan: the time budget, what of it is used, and what happens at its end. Empty without one."""
    if sweep.budget_seconds is None:
        return []
    spent = _spent_seconds(folder)
    used = f", of which {time_option(float(round(spent)))} are used" if spent else ""
    kept = "; no time is reserved for finalists" if sweep.finalist_count else ""
    whole = time_option(sweep.budget_seconds)
    return [f"time       {whole} in all{used}; then nothing more starts, and running trials pause{kept}"]


def is_used_up(sweep: Sweep, folder: Path) -> bool:
    """Whether the run in `folder` has used its time budget."""
    return time_budget_left(sweep, folder) <= 0


def time_budget_left(sweep: Sweep, folder: Path) -> float:
    """Seconds that the run in `folder` has left of its time budget; infinite without one."""
    budget = sweep.budget_seconds
    return seconds_left(budget, 0.0 if budget is None else _spent_seconds(folder))


def _spent_seconds(folder: Path) -> float:
    """The driver's time on record; 0 of a new run."""
    if not (folder / FILE).exists():
        return 0.0
    ledger = Ledger.read(folder)
    try:
        return recorded_seconds(ledger)
    finally:
        ledger.close()
