"""What earlier invocations recorded, in one sentence for people."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.record.ledger import Ledger
from search.history import History
from search.records import Status


def describe_found(name: str, ledger: Ledger, history: History, change: str) -> str:
    """The recorded trials of the run `name`, and what has changed since; call it before recording this invocation."""
    done = {status: history.count(status) for status in Status}
    cut = {row["trial"] for row in ledger.rows("verdict")}
    resting = sum(trial.number not in cut for trial in history.having(Status.STOPPED))
    done[Status.STOPPED] -= resting
    words = {Status.STOPPED: "cut by the scheduler"}
    parts = [
        f"{count} {words.get(status, status.value)}"
        for status, count in done.items()
        if count and status is not Status.RUNNING
    ]
    if resting:
        parts.append(f"{resting} resting (may be resumed)")
    if interrupted := done[Status.RUNNING]:
        parts.append(f"{interrupted} interrupted (resuming from their last checkpoints, if they have any)")
    reports = sum(len(trial.steps) for trial in history.trials)
    counts = f"{plural(len(history.trials), 'trial')}, {plural(reports, 'report')} on record"
    text = f"Continuing {name}: {counts}"
    return text + (": " + ", ".join(parts) if parts else "") + (f". Changed: {change}" if change else "") + "."
