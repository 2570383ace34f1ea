"""The description of a sweep in the ledger: its settings as plain JSON, and which of them must not change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.definition import earlier
from orchestrator.definition.identity import as_before, identity, same_command
from orchestrator.definition.sources import sources_of, sources_of_policy
from orchestrator.money.amounts import Amount
from orchestrator.money.prices import prices_of
from orchestrator.secrets import masked_value
from search.task import Task
from trainables.contract import CommandLine

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FIXED = ("workload", "policy", "metric", "mode", "horizon")
"""Settings whose change makes every old result meaningless."""
NO_POLICY = "Fixed()"  # the policy of a sweep that names none


def describe(sweep: Sweep) -> dict[str, Any]:
    """All settings, with secrets masked. The short and the long form of a sweep give the same description."""
    command = sweep.workload.command if isinstance(sweep.workload, CommandLine) else ""
    described: dict[str, Any] = masked_value(
        {
            "name": sweep.name,
            "workload": _workload(sweep.workload, command),
            "policy": NO_POLICY if sweep.policy is None else identity(sweep.policy),
            "metric": sweep.metric_name,
            "mode": "max" if sweep.maximise else "min",
            "horizon": sweep.workload.horizon,
            "space": sweep.space.describe(),
            "searcher": identity(sweep.searcher),
            "scheduler": identity(sweep.scheduler),
            "num_samples": sweep.limit,
            "budget": str(sweep.budget) if isinstance(sweep.budget, Amount) else sweep.budget,
            "tasks": [_plain(task) for task in sweep.tasks],
            "finalists": sweep.finalist_count,
            "confirmations": sweep.confirmations if sweep.finalist_count else 0,
            "transfer": earlier.described(sweep),
            "max_concurrent": sweep.max_concurrent,
            "time_budget": sweep.budget_seconds,
            "target": sweep.target,
            "seed": sweep.seed,
            "resources": dict(sweep.resources),
            "prices": prices_of(sweep.prices).plain(),
            "workers": sweep.workers,
            "baseline": None if sweep.baseline_config is None else dict(sweep.baseline_config),
            "points_to_evaluate": [dict(point) for point in sweep.points_to_evaluate],
            "files": sources_of_policy(sweep.policy) | sources_of(sweep.workload),
        }
    )
    return described


def described_as_before(sweep: Sweep, name: str, before: str) -> str:
    """The "workload" or "policy" as a release would have described it that knew the settings in `before`."""
    thing = sweep.workload if name == "workload" else sweep.policy
    command = thing.command if isinstance(thing, CommandLine) else ""
    known = NO_POLICY if thing is None else as_before(thing, before)
    masked: str = masked_value(known.replace(repr(command), repr(same_command(command))) if command else known)
    return masked


def described_tasks(description: Mapping[str, Any]) -> list[Task]:
    """The tasks of a recorded description; none in one of an older release."""
    return [Task(**task) for task in description.get("tasks", ())]


def described_population(description: Mapping[str, Any]) -> int | None:
    """The members of a recorded sweep's population; None if its searcher is no population."""
    found = re.search(r"\bpopulation=(\d+), interval=", description["searcher"])
    return int(found[1]) if found else None


def _workload(workload: object, command: str) -> str:
    known = identity(workload)
    return known.replace(repr(command), repr(same_command(command))) if command else known


def _plain(task: Task) -> dict[str, Any]:
    changes = {
        name: value if value is None or isinstance(value, (bool, int, float, str)) else identity(value)
        for name, value in sorted(task.changes.items())
    }
    return {"name": task.name, "cost": task.cost, "share": task.share, "changes": changes, "resumes": task.resumes}
