"""Whether all configurations of a run trained exactly alike, for its summary."""

from __future__ import annotations

from orchestrator.definition.description import described_tasks
from orchestrator.reading.trial_counts import ANY_SPACE, Stand
from orchestrator.record.encoding import goal_of
from orchestrator.record.ledger import Ledger
from search.rules.alike import CAUSE, REMEDY, STUCK, UNSTICK, alike, curves_of, stuck
from search.task import FULL


def alike_words(ledger: Ledger, found: list[Stand]) -> str:
    """That all configurations trained exactly alike, and what to do; empty if they did not. `found`: all trials."""
    last = {(stand.step, stand.value) for stand in found if stand.step and stand.task == FULL}
    if len(last) > len({step for step, _ in last}):
        return ""  # two values at one step; so the curves of a long record need not be read
    about = ledger.sweep()["description"]
    goal, tasks = goal_of(about), described_tasks(about)
    history = ledger.history(ANY_SPACE, about["horizon"], about["seed"], goal, tasks=tasks)
    curves = curves_of(history)
    if not alike(curves):
        return f"{STUCK}. {UNSTICK}" if stuck(curves) else ""
    return f"All configurations trained exactly alike: {CAUSE}. {REMEDY}"
