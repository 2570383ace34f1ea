"""What a run has cost, from its ledger: device time, GPU-hours, dollars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.money.amounts import dollars
from orchestrator.money.bill import OUTCOMES, Bill, bill
from orchestrator.money.first_steps import excess_of_first_steps
from orchestrator.money.prices import CPU, HOUR
from orchestrator.reading.forecasts import prices_in_force
from orchestrator.record.encoding import USED, began_of, used_of
from orchestrator.record.ledger import Ledger
from search.history import History
from search.records import Began, Used

REPORTS = "SELECT seq, trial, cost_seconds FROM report"
BEGINS = "SELECT seq, trial FROM suggestion UNION ALL SELECT seq, trial FROM lost"
WORTH_SAYING = 0.05  # of the training: shorter starts are not told
NO_TASK = "no task"  # of what was used before any training, such as the preparation of the data


def bill_of(ledger: Ledger, history: History) -> Bill:
    """The bill of a run, at the prices of its last invocation."""
    sweeps = ledger.sweeps()
    untested = {trial for (trial,) in ledger.query("SELECT DISTINCT trial FROM test WHERE metrics = '{}'")}
    used = [(seq, _named(used_of(row), untested)) for seq, _, row in ledger.deciding((USED,))]
    others: list[tuple[int, Began | Used]] = [*((row["seq"], began_of(row)) for row in sweeps), *used]
    reports = [(seq, trial, seconds) for seq, trial, seconds in ledger.query(REPORTS)]
    begins = [(seq, trial) for seq, trial in ledger.query(BEGINS)]
    return bill(reports, others, history.trials, prices_in_force(ledger), begins)


def _in_first_reports(ledger: Ledger, history: History) -> float:
    """The seconds of all reports by which first steps took longer than later ones: starts, not training."""
    begins = [(seq, trial) for seq, trial in ledger.query(f"{BEGINS} UNION ALL SELECT seq, NULL FROM sweep")]
    return sum(excess_of_first_steps(ledger.query(REPORTS), begins, history.trials).values())


def _named(used: Used, untested: Collection[int | None]) -> Used:
    """A test of the trials `untested`, which measured nothing, is none on the bill."""
    return replace(used, what="untested") if used.what == "test" and used.trial in untested else used


def cost(ledger: Ledger, history: History) -> dict[str, Any]:
    """The cost as `show --json` has it. `usd` is null if the price of a device that was used is not known.

    `breakdown` and `by_task`: device-seconds and dollars of each outcome and each task; they add up to the whole.
    """
    found, about = bill_of(ledger, history), ledger.sweep()["description"]
    return {
        "seconds": round(sum(trial.cost_seconds for trial in history), 3),
        "start_seconds": round(_in_first_reports(ledger, history), 3),
        "full_equivalents": round(history.spent, 3),
        "budget": about.get("budget"),
        "device_seconds": round(found.device_seconds, 3),
        "gpu_hours": round(found.gpu_hours, 4),
        "usd": _cents(found.usd),
        "prices": found.prices.plain(),
        "unpriced": found.unpriced,
        "devices": _parts(found.by(2)),
        "by_task": _parts(found.by(0)),
        "breakdown": _parts({name: found.by(1)[name] for name in OUTCOMES if name in found.by(1)}),
    }


def cost_words(facts: Mapping[str, Any]) -> str:
    """Device hours and dollars in one line for people; how to give a price, if none is known."""
    hours, gpus = facts["device_seconds"] / HOUR, facts["gpu_hours"]
    parts = [f"{gpus:,.3g} GPU-hours"] * bool(gpus) + [f"{hours - gpus:,.3g} CPU-hours"] * (CPU in facts["devices"])
    time = " and ".join(parts) or "no device time"
    if facts["usd"] is not None:
        return f"{dollars(facts['usd'])}  ({time})"
    device = next(iter(facts["unpriced"]), CPU)
    example = f"prices={{{device!r}: …}}"
    return f"{time}; in dollars once a price is given: Sweep({example}), or --prices FILE"


def _parts(parts: Mapping[str, tuple[float, float | None]]) -> dict[str, Any]:
    return {
        name or NO_TASK: {"device_seconds": round(seconds, 3), "usd": _cents(usd)}
        for name, (seconds, usd) in parts.items()
    }


def _cents(usd: float | None) -> float | None:
    return None if usd is None else round(usd, 6)
