"""Health: what is wrong with this sweep, on which evidence, and what to do."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.page.charts import Section
from orchestrator.page.health.alike import alike
from orchestrator.page.health.cheap_task import cheap_task
from orchestrator.page.health.copies import copies
from orchestrator.page.health.edge import edge
from orchestrator.page.health.edited import edited
from orchestrator.page.health.failures import failures
from orchestrator.page.health.finding import SEVERITIES, Finding
from orchestrator.page.health.influence import influence
from orchestrator.page.health.inherited import inherited
from orchestrator.page.health.machine import machine
from orchestrator.page.health.noise import noise
from orchestrator.page.health.overfitting import overfitting
from orchestrator.page.health.progress import baseline_is_best, few_trials
from orchestrator.page.health.resumed import resumed
from orchestrator.page.health.rungs import rungs
from orchestrator.page.health.searcher import searcher
from orchestrator.page.health.shared import shared
from orchestrator.page.health.starts import starts
from orchestrator.page.health.waiting import waiting
from orchestrator.page.health.warm_up import warm_up
from orchestrator.page.recorded import Recorded

CHECKS: tuple[Callable[[Recorded], list[Finding]], ...] = (
    failures,
    machine,
    searcher,
    alike,
    few_trials,
    baseline_is_best,
    copies,
    shared,
    inherited,
    edited,
    resumed,
    noise,
    rungs,
    warm_up,
    overfitting,
    cheap_task,
    edge,
    starts,
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
