"""Health: what is wrong with this sweep, on which evidence, and what to do."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.report.charts import Section, Table
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
    """A sentence for each finding, and a table with its evidence and remedy; None before the first trial."""
    if not run.history.trials:
        return None
    found = checks(run)
    if not found:
        return Section("health", "Health", [nothing_found()])
    rows = [[finding.severity, finding.sentence, finding.evidence, finding.remedy] for finding in found]
    table = Table("Findings", ("", "Finding", "Evidence", "What to do"), rows)
    return Section("health", "Health", [f"{finding.sentence} {finding.remedy}" for finding in found], (table,))


def nothing_found() -> str:
    return f"None of the {len(CHECKS)} health checks has a finding."
