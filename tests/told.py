"""Runs told by hand: a ledger with whatever trials a test wants, written in one transaction, and read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.driving.time_spent import WAITED
from orchestrator.record.encoding import NODE
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from orchestrator.sweep import Sweep
from search.records import Status, Suggestion
from search.task import FULL
from tests.support import small_sweep


@dataclass(frozen=True)
class Told:
    """A trial, as it will be on record."""

    config: Mapping[str, Any]
    values: Sequence[float]  # of the metric, a report each
    status: Status = Status.COMPLETED
    origin: str = "initial"
    reason: str = ""
    task: str = FULL
    seconds: float = 1.0  # of a report
    start_seconds: float = 0.0  # by which its first report takes longer
    metrics: Mapping[str, float] = field(default_factory=dict)  # beside the metric
    machine: str = ""  # where it trained, in a cluster


def tell(folder: Path, trials: Sequence[Told], sweep: Sweep | None = None, *, waited: float = 0.0) -> Path:
    """A finished run with these trials, in order."""
    ledger = Ledger.write(folder)
    with ledger.transaction():
        ledger.add_sweep(sweep or small_sweep(), "", [])
        for number, trial in enumerate(trials):
            given = Suggestion("start", trial.config, number, task=trial.task, origin=trial.origin)
            ledger.add_suggestion(number, given, seed=number)
            if trial.machine:
                ledger.add_event(NODE, trial.machine, number)
            for step, value in enumerate(trial.values, start=1):
                took = trial.seconds + trial.start_seconds * (step == 1)
                ledger.add_report(number, step, value, took, {"loss": value} | dict(trial.metrics))
            ledger.add_ending(number, trial.status, len(trial.values), trial.reason)
        ledger.add_event(WAITED, f"{waited:.3f}")
        ledger.add_event(STATE, "finished")
    ledger.close()
    return folder
