"""The searcher failed at most of its suggestions, and random configurations took their place."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.records import BASELINE, FALLBACK, FINALIST
from search.rules.conduct import NO_CHECKPOINT

LEAST = 3  # suggestions
MOST = 0.5  # of them


def searcher(run: Recorded) -> list[Finding]:
    """A finding if the searcher raised an error, or returned something wrong, for more than half of the suggestions."""
    told = [row["text"] for row in run.rows["event"] if row["kind"] == FALLBACK]
    errors = [text.splitlines()[0] for text in told if not text.startswith(NO_CHECKPOINT)]
    asked = sum(row["origin"] not in (BASELINE, FINALIST) for row in run.rows["suggestion"])
    if asked < LEAST or len(errors) <= MOST * asked:
        return []
    return [
        Finding(
            "searcher",
            f"The searcher failed at {len(errors)} of {plural(asked, 'suggestion')}, so this was mostly a random search.",
            f"The first time: {errors[0].rstrip('.')}.",
            "Correct the searcher, look at its first suggestions with --dry-run, and run the sweep again under a new name.",
            "serious",
        )
    ]
