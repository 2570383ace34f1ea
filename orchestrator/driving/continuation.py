"""What earlier invocations recorded, in one sentence for people."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.record.ledger import Ledger
from orchestrator.record.provenance import other_packages
from search.history import History
from search.records import Status
from search.rules.baseline import awaits_baseline
from search.rules.conduct import Rules, new_baseline


def describe_found(name: str, ledger: Ledger, history: History, rules: Rules, change: str) -> str:
    """The recorded trials of the run `name`, and what has changed since; call it before recording this invocation."""
    done = {status: history.count(status) for status in Status}
    cut = {row["trial"] for row in ledger.rows("verdict")}
    replaced = {trial.replaces for trial in history}
    stopped = {trial.number for trial in history.having(Status.STOPPED)} - cut
    done[Status.STOPPED] -= len(stopped)
    words = {Status.STOPPED: "cut by the scheduler"}
    parts = [
        f"{count} {words.get(status, status.value)}"
        for status, count in done.items()
        if count and status is not Status.RUNNING
    ]
    if forks := len(stopped & replaced):
        parts.append(f"{forks} replaced by forks")
    if resting := len(stopped - replaced):
        parts.append(f"{resting} resting (may be resumed)")
    if interrupted := done[Status.RUNNING]:
        parts.append(f"{interrupted} interrupted (resuming from their last checkpoints, if they have any)")
    reports = sum(len(trial.steps) for trial in history.trials)
    counts = f"{plural(len(history.trials), 'trial')}, {plural(reports, 'report')} on record"
    text = f"Continuing {name}: {counts}"
    text += (": " + ", ".join(parts) if parts else "") + (f". Changed: {change}" if change else "") + "."
    if packages := other_packages(ledger.sweeps()[-1]["code"]):
        text += f" Other packages than before: {packages}."
    told = new_baseline_words(history, rules)
    return f"{text} {told[0].upper()}{told[1:]}." if told else text


def new_baseline_words(history: History, rules: Rules) -> str:
    """What happens to a baseline that a sweep with a record names, and that is not on it; empty if it is."""
    if not awaits_baseline(history, rules):
        return ""
    if new_baseline(history, rules) is None:
        return "the budget is used up, so the new baseline is not trained: raise it"
    return (
        "the new baseline is trained next" if history.room else "the new baseline is trained, one more than num_samples"
    )
