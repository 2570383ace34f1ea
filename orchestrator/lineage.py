"""May this sweep continue that record, and what is different from the last time?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ResumeRefused
from orchestrator.ledger import Ledger, to_json, unmasked
from orchestrator.sweep import FIXED, Sweep
from search.trial import BASELINE


def what_changed(sweep: Sweep, ledger: Ledger, earlier: Sequence[Mapping[str, Any]]) -> str:
    """What differs from the last invocation, in words; raises ResumeRefused if old results would lose their meaning."""
    if not earlier:
        return ""
    before = earlier[-1]["description"]
    after = json.loads(to_json(sweep.describe()))  # as the ledger reads it back: JSON has no tuples
    assert isinstance(before, dict)
    for name in FIXED:
        if before[name] != after[name]:
            raise ResumeRefused(
                f"{ledger.folder}: started with {name} = {before[name]}, now {after[name]}. The old results do not mean the "
                f"same any more. Use another --name, or move {ledger.folder} away."
            )
    if before["space"] != after["space"]:
        _check_overlap(sweep, ledger)
    _check_tasks(ledger, earlier, after["tasks"])
    return ", ".join(
        f"{name}: {_short(before.get(name))} → {_short(after[name])}"
        for name in after
        if before.get(name) != after[name] and (name in before or after[name])  # older releases knew fewer settings
    )


def _check_tasks(ledger: Ledger, earlier: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> None:
    """A task may come and go; but results under one name must all mean the same training."""
    known = {task["name"]: task for row in earlier for task in row["description"].get("tasks", ())}
    for task in tasks:
        old = known.get(task["name"], task)
        differing = [field for field in ("share", "changes", "resumes") if old[field] != task[field]]
        if differing and not (old["resumes"] and task["resumes"]):  # those results are parts of full trainings
            field = differing[0]
            raise ResumeRefused(
                f"{ledger.folder}: task {task['name']!r} was recorded with {field} = {old[field]}, now {task[field]}. The old "
                f"results of the task do not mean the same any more. Give the task another name, or use another --name."
            )


def _check_overlap(sweep: Sweep, ledger: Ledger) -> None:
    rows = ledger.rows("suggestion")
    real = [(row["origin"], unmasked(row["config"], sweep.space)) for row in rows]
    configs = [config for origin, config in real if origin != BASELINE] or [config for _, config in real]
    if configs and not any(sweep.space.contains(config) for config in configs):
        raise ResumeRefused(
            f"{ledger.folder}: space has changed and holds none of the {len(configs)} configurations on record "
            f"(for example {configs[-1]}: {sweep.space.why_not(configs[-1])}). Use another --name, or move {ledger.folder} away."
        )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
