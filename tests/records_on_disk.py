"""Runs whose records are written by hand into a real ledger: any history at all, without a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.page.recorded import Recorded
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.records import End, Goal, Lost, Report, Status, Suggestion, start
from search.space import Space
from search.work import Decision
from tests.support import small_sweep
from trainables.workloads.callable import FromFunction


def written(folder: Path, sweep: Sweep, records: Iterable[Any]) -> Recorded:
    """Write the records in order; returns the run as the page reads it.

    A `Suggestion` without a number gets the next one; a number with a `Decision` is a trial's, a pair of texts an event.
    """
    ledger = Ledger.write(folder)
    count = 0
    try:
        with ledger.transaction():
            ledger.add_sweep(sweep, "", [])
            for record in records:
                count += _add(ledger, record, count, sweep.goal)
    finally:
        ledger.close()
    return read(folder)


def read(folder: Path) -> Recorded:
    """The run as the page reads it."""
    ledger = Ledger.read(folder)
    try:
        return Recorded.of(ledger)
    finally:
        ledger.close()


def _add(ledger: Ledger, record: Any, count: int, goal: Goal) -> int:
    """Returns how many trials are new."""
    match record:
        case Suggestion():
            ledger.add_suggestion(count if record.trial is None else record.trial, record, seed=count)
            return record.trial is None
        case Report():
            value = goal.value(record.loss)
            ledger.add_report(
                record.trial, record.step, value, record.cost_seconds, {goal.metric: value} | record.metrics
            )
        case End():
            detail = f'Traceback (most recent call last):\n  File "t.py", line 3\n    f()\n{record.reason}'
            ledger.add_ending(record.trial, record.status, 1, record.reason, detail)
        case Lost():
            ledger.add_lost(record.trial, 1, record.reason)
        case (int(trial), Decision() as decision):
            ledger.add_decision(trial, decision)
        case (kind, text):
            ledger.add_event(kind, text)
    return 0


def trained(
    configs: Iterable[Mapping[str, Any]],
    losses: np.ndarray,
    *,
    stop_at: Mapping[int, int] | None = None,
    first: int = 0,
) -> Iterable[Any]:
    """A trial for each configuration; `losses`: (trials, steps), NaN where it diverges. `stop_at`: trial → last step."""
    for number, (config, curve) in enumerate(zip(configs, losses, strict=True), start=first):
        yield start(config, origin="random")
        last = (stop_at or {}).get(number, len(curve))
        for step, loss in enumerate(curve[:last], start=1):
            yield Report(number, step, float(loss), cost_seconds=0.5)
            if not math.isfinite(loss):
                break
        finite = bool(np.isfinite(curve[:last]).all())
        status = Status.DIVERGED if not finite else Status.COMPLETED if last == len(curve) else Status.STOPPED
        yield End(number, status)


def sweep_over(space: Space, horizon: int = 4, **changes: Any) -> Sweep:
    """A sweep over this space; nobody trains it, so the workload need not read the parameters."""
    return small_sweep(
        space=space, workload=FromFunction(_unused, metric="loss", mode="min", horizon=horizon), **changes
    )


def _unused(config: Mapping[str, Any], state: Any) -> Iterable[Mapping[str, float]]:
    yield {"loss": float(len(config))}
