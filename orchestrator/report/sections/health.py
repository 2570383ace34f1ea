"""Health: what is wrong with this sweep, on which evidence, and what to do."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.report.charts import Section
from orchestrator.report.health.cheap_task import cheap_task
from orchestrator.report.health.edge import edge
from orchestrator.report.health.failures import failures
from orchestrator.report.health.finding import SEVERITIES, Finding
from orchestrator.report.health.influence import influence
from orchestrator.report.health.noise import noise
from orchestrator.report.health.progress import baseline_is_best, few_trials, progress
from orchestrator.report.health.rungs import rungs
from orchestrator.report.health.waiting import waiting
from orchestrator.report.recorded import Recorded

CHECKS: tuple[Callable[[Recorded], list[Finding]], ...] = (
    failures,
    few_trials,
    baseline_is_best,
    noise,
    rungs,
    cheap_task,
    edge,
    progress,
    waiting,
    influence,
)


def checks(run: Recorded) -> list[Finding]:
    """The findings of all checks, the serious ones first."""
    found = [finding for check in CHECKS for finding in check(run)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def section(run: Recorded) -> Section | None:
    """A paragraph for each finding: what, on which evidence, what to do. None before the first trial."""
    if not run.history.trials:
        return None
    words = [_words(finding) for finding in checks(run)]
    return Section("health", "Health", words or [f"None of the {len(CHECKS)} health checks has a finding."])


def _words(finding: Finding) -> str:
    severity = "Serious: " if finding.severity == "serious" else ""
    return f"{severity}{finding.sentence} {finding.evidence} {finding.remedy}"
