"""Whether a sweep may continue a record, and what has changed since the last invocation."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.console.plurals import plural
from orchestrator.definition.description import FIXED, described_as_before
from orchestrator.definition.differing import differing, other_function, without_edits
from orchestrator.definition.identity import without_digests
from orchestrator.definition.sources import edited, edits_told
from orchestrator.errors import ResumeRefused
from orchestrator.money.amounts import USD, Amount
from orchestrator.record.chain import HEAD
from orchestrator.record.encoding import to_json, unmasked
from orchestrator.record.file_lock import FileLock
from orchestrator.record.ledger import COPY, FILE, LOCK, Ledger
from orchestrator.record.warm_start import TRANSFER, earlier_histories
from orchestrator.sweep import Sweep
from search.domain.parameters import Fixed
from search.records import BASELINE, Status

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
EARLIER = "earlier"  # folder in the run's folder, for earlier starts that taught nothing


def what_changed(sweep: Sweep, ledger: Ledger, earlier: Sequence[Mapping[str, Any]]) -> str:
    """The changes since the last invocation, in words; raises ResumeRefused if old results would lose their meaning."""
    if not earlier:
        return ""
    before, after = earlier[-1]["description"], _described(sweep)
    for name in FIXED:
        if not _same(name, sweep, earlier[-1], after):
            if other := other_function(before.get(name), after[name]):
                raise ResumeRefused(
                    f"{ledger.folder}: {other}. Give this sweep another name, or move {ledger.folder} away."
                )
            told = [f"{part} = {old}, now {new}" for part, old, new in _changes(name, sweep, earlier[-1], after)]
            raise ResumeRefused(
                f"{ledger.folder}: started with {'; '.join(told)}. The old results do not mean the "
                f"same any more. Use another --name, or move {ledger.folder} away."
            )
    for old, new in edited(before.get("files", {}), after["files"]).values():
        if (
            old["path"] and new["path"] and old["path"] != new["path"]
        ):  # a notebook and its script are the same training
            raise ResumeRefused(
                f"{ledger.folder}: started with {old['path']}, now {new['path']}, which is another script: its content "
                f"differs. Use another --name, or move {ledger.folder} away."
            )
    if before["space"] != after["space"]:
        _check_space(sweep, ledger, before["space"]["parameters"])
    _check_tasks(ledger, earlier, after["tasks"])
    return _differences(sweep, earlier[-1], after)


def make_ready(sweep: Sweep, folder: Path) -> str:
    """Refuse to continue the record in `folder` before anything there is touched, or set aside one that taught nothing.

    A record taught nothing if trials failed, or the training was changed, before the first report: after the fix, all
    configurations should run again. Returns a message for people.
    """
    why = nothing_learned(sweep, folder)
    if not why:
        return ""
    lock = FileLock(folder / LOCK)
    if not lock.acquire():
        return ""  # another driver is at work; opening the ledger will report it
    try:
        target = set_aside(folder)
    finally:
        lock.release()
    return f"Starting afresh: {why}. That record is in {target}."


def nothing_learned(sweep: Sweep, folder: Path) -> str:
    """Why the record in `folder` taught nothing, in words; empty if it taught something, or there is none.

    Raises ResumeRefused if it must not be continued, and BadInput for missing earlier runs.
    """
    if not (folder / FILE).exists():
        earlier_histories(sweep, folder, [])
        return ""
    ledger = Ledger.read(folder)
    try:
        earlier, refusal = ledger.sweeps(), None
        try:
            what_changed(sweep, ledger, earlier)
            earlier_histories(sweep, folder, ledger.rows("event", f"WHERE kind = '{TRANSFER}'"))
        except ResumeRefused as error:
            refusal = error
        if ledger.rows("report", "LIMIT 1"):
            if refusal is not None:
                raise refusal
            return ""
        failed = sum(row["status"] == Status.FAILED.value for row in ledger.rows("ending"))
        if not earlier or not (failed or refusal):
            return ""
        changed = _differences(sweep, earlier[-1], _described(sweep))
        return (
            "nothing had been reported before"
            + (f", {plural(failed, 'trial')} had failed" if failed else "")
            + (f". Changed: {changed}" if changed else "")
        )
    finally:
        ledger.close()


def set_aside(folder: Path) -> Path:
    """Move the record in `folder`, which the caller has locked, to a new folder below it; returns that folder."""
    count = len(list((folder / EARLIER).glob("*")))
    target = folder / EARLIER / str(count + 1)
    target.mkdir(parents=True, mode=0o700)
    for name in (
        COPY,
        HEAD,
        "trials",
        "prepared",
        "report",
        "replay",
        "mirrors",
        f"{FILE}-wal",
        f"{FILE}-shm",
        FILE,
    ):  # the ledger last
        if (folder / name).exists():
            shutil.move(folder / name, target / name)
    return target


def _described(sweep: Sweep) -> dict[str, Any]:
    """The description as the ledger returns it: JSON has no tuples."""
    described: dict[str, Any] = json.loads(to_json(sweep.describe()))
    return described


def _differences(sweep: Sweep, earlier: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    before = earlier["description"]
    changes = [
        f"{part}: {old} → {new}"
        for name in after
        if name not in ("files", *_without_effect(sweep))
        and not _same(name, sweep, earlier, after)
        and (name in before or after[name])
        for part, old, new in _changes(name, sweep, earlier, after)
    ]
    return ", ".join(changes + edits_told(edited(before.get("files", {}), after["files"])))


def _without_effect(sweep: Sweep) -> tuple[str, ...]:
    """Settings that are on record, and change no decision: prices, unless the budget is in dollars."""
    return () if isinstance(sweep.budget, Amount) and sweep.budget.unit == USD else ("prices",)


def _same(name: str, sweep: Sweep, earlier: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    before = earlier["description"].get(name)
    if before == after[name]:
        return True
    if name not in ("workload", "policy") or not isinstance(before, str):
        return False
    if described_as_before(sweep, name, before) == before or _is_edit(name, earlier["description"], after):
        return True
    other_python = earlier["code"]["python"].split(".")[:2] != PYTHON.split(".")
    return other_python and without_digests(before) == without_digests(after[name])


def _is_edit(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether workloads differ by what is told as an edit: the code of a lambda, or what `functools.partial` was given."""
    told = edited(before.get("files", {}), after["files"])
    return (
        name == "workload"
        and any(each.endswith("<lambda>()") or " of " in each for each in told)
        and without_edits(before[name]) == without_edits(after[name])
    )


def _changes(
    name: str, sweep: Sweep, earlier: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """What differs in a setting: the name and both values of each part."""
    before, now = earlier["description"].get(name), after[name]
    if name in ("workload", "policy") and isinstance(before, str):
        now = described_as_before(sweep, name, before)  # without the settings that a later release has added
    return differing(name, before, now)


def _check_tasks(ledger: Ledger, earlier: Sequence[Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> None:
    """Raise ResumeRefused if a task's name now means another training; tasks may be added and removed."""
    known = {task["name"]: task for row in earlier for task in row["description"].get("tasks", ())}
    for task in tasks:
        old = known.get(task["name"], task)
        differing = [field for field in ("share", "changes", "resumes") if old[field] != task[field]]
        if differing and not (old["resumes"] and task["resumes"]):  # their results are parts of full trainings
            field = differing[0]
            raise ResumeRefused(
                f"{ledger.folder}: task {task['name']!r} was recorded with {field} = {old[field]}, now {task[field]}. The old "
                f"results of the task do not mean the same any more. Give the task another name, or use another --name."
            )


def _check_space(sweep: Sweep, ledger: Ledger, parameters: Mapping[str, Any]) -> None:
    """Raise ResumeRefused if no recorded configuration is in the space, or if one lacks a fixed parameter that was not in
    the space before: it would count as if it had been trained with that value."""
    rows = ledger.rows("suggestion")
    real = [(row["origin"], unmasked(row["config"], sweep.space)) for row in rows]
    configs = [config for origin, config in real if origin != BASELINE] or [config for _, config in real]
    inside = [config for config in configs if sweep.space.contains(config)]
    if configs and not inside:
        why = (sweep.space.why_not(configs[-1]) or "").removesuffix(".")
        raise ResumeRefused(
            f"{ledger.folder}: space has changed and holds none of the {len(configs)} configurations on record "
            f"(for example {configs[-1]}: {why}). Use another --name{_taken_over(sweep, ledger, parameters)}, "
            f"or move {ledger.folder} away."
        )
    for config in inside:
        settled = sweep.space.check(config)
        for name in settled:
            if name not in config and name not in parameters:
                raise ResumeRefused(
                    f"{ledger.folder}: space has a new fixed parameter {name} = {settled[name]!r}, and configurations on "
                    f"record were trained without it (for example {config}). The old results do not mean the same any "
                    f"more. Use another --name{_taken_over(sweep, ledger, parameters)}, or move {ledger.folder} away."
                )


def _taken_over(sweep: Sweep, ledger: Ledger, before: Mapping[str, Any]) -> str:
    """How a run of another name uses the old results, in words; `before`: the parameters on record."""
    run, space = ledger.folder.name, sweep.space
    if new := [name for name in space.names if name not in before]:
        values = ", ".join(f"{name!r}: …" for name in new)
        return f" with transfer={{{run!r}: {{{values}}}}}, which states the old trainings' value of what is new"
    fixed = [
        name for name, each in space.parameters.items() if isinstance(each, Fixed) and before[name]["kind"] != "fixed"
    ]
    narrow = (
        f"with transfer=({run!r},) and a range of {fixed[0]!r} that holds the old values, with a prior, or "
        if fixed
        else ""
    )
    return f" {narrow}with points_to_evaluate=[…] for the best of them"
