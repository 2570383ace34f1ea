"""Workers waited while the searcher decided."""

from __future__ import annotations

from orchestrator.page.analysis.words import percent
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded

SHARE, SECONDS = 0.1, 10.0  # of the workers' time, and at least; less is not worth a change


def waiting(run: Recorded) -> list[Finding]:
    """A finding if waiting for decisions took a good part of the workers' time."""
    waited = float(run.accounts["waited_seconds"])
    trained = sum(trial.cost_seconds for trial in run.history)
    if waited < SECONDS or waited < SHARE * (waited + trained):
        return []
    decisions = max(1, len(run.rows["suggestion"]))
    return [
        Finding(
            "waiting",
            "Workers waited for decisions.",
            f"They waited {waited:.0f} s in all, {percent(waited / (waited + trained))} of their time, {waited / decisions:.2g} s "
            f"for each of {decisions} decisions; training took {trained:.0f} s.",
            "Use a searcher that decides faster (Sobol, Tpe); in longer trainings the waiting would matter less.",
            "advice",
        )
    ]
