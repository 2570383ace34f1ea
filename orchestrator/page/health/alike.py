"""All configurations trained exactly alike: the training does not read its parameters, or it learns nothing."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.rules import alike as rule


def alike(run: Recorded) -> list[Finding]:
    """A finding if all configurations have the same values at the steps that they have in common."""
    curves = rule.curves_of(run.history)
    if not rule.alike(curves):
        return [_stuck(curves)] if rule.stuck(curves) else []
    return [
        Finding(
            "alike",
            f"All configurations trained exactly alike: {rule.CAUSE}.",
            f"{len(curves)} configurations have the same values at every step, to the last digit.",
            rule.REMEDY,
            "serious",
        )
    ]


def _stuck(curves: Sequence[rule.Curve]) -> Finding:
    told = f"No configuration is better than another: {len(curves)} configurations, {sum(map(len, curves))} reports."
    return Finding("alike", f"{rule.STUCK}.", told, rule.UNSTICK, "serious")
