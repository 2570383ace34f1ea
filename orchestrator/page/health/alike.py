"""All configurations trained exactly alike: the training does not read its parameters."""

from __future__ import annotations

from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.rules import alike as rule


def alike(run: Recorded) -> list[Finding]:
    """A finding if all configurations have the same values at the steps that they have in common."""
    curves = rule.curves_of(run.history)
    if not rule.alike(curves):
        return []
    return [
        Finding(
            "alike",
            f"All configurations trained exactly alike: {rule.CAUSE}.",
            f"{len(curves)} configurations have the same values at every step, to the last digit.",
            rule.REMEDY,
            "serious",
        )
    ]
