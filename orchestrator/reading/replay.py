"""Train a recorded trial again, outside the sweep and apart from its files; on a CPU the numbers must be the same."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Mapping
from itertools import pairwise
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.driving.places import CHECKPOINTS, TRIALS, Places
from orchestrator.errors import BadInput, NoMetric, NotTheSame, TrialsFailed, did_you_mean
from orchestrator.failures import reason
from orchestrator.reading.export import by_hand
from orchestrator.reading.own_files import scripts_own
from orchestrator.reading.shared import REMEDY, Shared, shared_files
from orchestrator.reading.trained_again import trained_again
from orchestrator.record.encoding import number, unmasked
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import refuse_links
from orchestrator.reporting import PLACE, REPORTS
from orchestrator.worker.job import Job, prepare
from search.work import SCRIPT, Assignment

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


MEMORY = "memory.json"  # of a script's folder, beside its reports: how it counts its steps


def replay_trial(sweep: Sweep, folder: Path, trial: int, go_on: int | None) -> None:
    """Train `trial` again from scratch and compare, or (`go_on`) continue it from its checkpoint to that step."""
    console = Console(highlight=False)
    ledger = Ledger.read(folder)
    try:
        rows = ledger.rows("suggestion", "WHERE trial = :trial ORDER BY seq", trial=trial)
        if not rows:
            count = len({row["trial"] for row in ledger.rows("suggestion")})
            raise BadInput(
                f"{folder}: no trial {trial}; there are 0 to {count - 1}." if count else f"{folder}: no trials yet."
            )
        recorded = ledger.rows("report", "WHERE trial = :trial ORDER BY step", trial=trial)
        own = {"trial": trial, "parent": rows[0]["parent"]}
        lost = ledger.rows("lost", "WHERE trial = :trial ORDER BY seq", trial=trial)
        told = ledger.rows("event", "WHERE trial = :trial ORDER BY seq", trial=trial)
        others = shared_files(ledger.rows("event"), ledger.rows("ending"))
        repeated = [row for row in told if trained_again(row["text"]) is not None]
        saved = ledger.rows("checkpoint", "WHERE trial IN (:trial, :parent) ORDER BY seq", **own)
        parents = ledger.rows("suggestion", "WHERE trial = :parent ORDER BY seq", parent=rows[0]["parent"])
    finally:
        ledger.close()
    places, again = Places(folder), Places(folder / "replay" / f"{trial:05d}")  # laid out like a run of its own
    place = again.checkpoints(trial)
    refuse_links(again.folder.parent, again.folder, places.shared)
    shutil.rmtree(again.folder, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    _tell_how_it_counts(places.script(trial), again.folder / TRIALS / "recorded" / CHECKPOINTS / SCRIPT)
    last = recorded[-1]["step"] if recorded else 0
    if go_on is not None:
        files, kept = scripts_own(folder, trial)
        if kept and go_on > sweep.workload.horizon:
            raise BadInput(_ends_by_itself(sweep, rows[0], folder, go_on))
        _take_checkpoints(places.checkpoints(trial), place, go_on, last, files if kept else None)
    elif not recorded:
        raise BadInput(f"{folder}: trial {trial} has reported nothing that could be compared.")
    shared = places.shared
    if not (shared / ".complete").exists():
        try:
            prepare(sweep, shared)
        except Exception as error:
            raise TrialsFailed(f"the workload's prepare failed: {type(error).__name__}: {error}") from error
    parent = rows[0]["parent"]
    assignment = Assignment(
        trial=trial, config=unmasked(rows[0]["config"], sweep.space), seed=rows[0]["seed"], until=go_on or last, folder=place, task=rows[0]["task"],
        recorded=last if go_on else 0, threads=sweep.threads, workers=sweep.workers,
        checkpoint_seconds=sweep.checkpoint_seconds, parent=None if parent is None else places.checkpoints(parent),
        parent_step=rows[0]["parent_step"] or 0, prepared=shared,
        parent_config=unmasked(parents[0]["config"], sweep.space) if parents else None,
        digests={str(_copy_of(row, trial, place, folder)): row["sha256"] for row in saved},
    )  # fmt: skip
    before = {row["step"]: number(row["value"], row["kind"]) for row in recorded}
    differences = _train(
        Job(sweep, assignment), assignment.until, before, sweep.metric_name, console, goes_on=go_on is not None
    )
    console.print(f"checkpoints in {place}", soft_wrap=True)
    if differences:
        why = _resumed_before(differences[0], recorded, [row["seq"] for row in [*rows, *lost, *repeated]], others)
        raise NotTheSame(
            f"trial {trial}: {len(differences)} of {len(before)} steps differ from the record, the first at step "
            f"{differences[0]}.{why}"
        )
    if go_on is None:
        console.print(f"trial {trial}: all {len(before)} steps equal the record")


def _tell_how_it_counts(own: Path, recorded: Path) -> None:
    """Leave for a script, which is to be trained again alone, how it counted its steps beside the sweep's other trials."""
    with contextlib.suppress(OSError, ValueError):
        memory = json.loads((own / PLACE / MEMORY).read_text())
        (recorded / PLACE).mkdir(parents=True)
        told = {name: memory[name] for name in ("kind", "key", "shift") if name in memory}
        (recorded / PLACE / MEMORY).write_text(json.dumps(told))


def _resumed_before(step: int, recorded: list[dict[str, Any]], restarts: list[int], others: Shared) -> str:
    """An explanation, if the trial was resumed before this step; else empty.

    `restarts`: the numbers (`seq`) of the records that the trial was resumed by a decision, lost its worker, or gave another
    value for a step that it repeated. `others`: what trials of the run share.
    A script that is stopped has often gone on: its last lines are recorded after it is resumed, at no cost.
    """
    resumed, has_resumed = [], False
    for last, first in pairwise(recorded):
        is_after = last["epoch"] != first["epoch"] or any(last["seq"] < seq < first["seq"] for seq in restarts)
        if (is_after or has_resumed) and first["cost_seconds"] > 0:
            resumed.append((last["step"], first["step"]))
        has_resumed = (is_after or has_resumed) and first["cost_seconds"] == 0
    before = [(last, first) for last, first in resumed if first <= step]
    if not before:
        return ""
    last, first = before[-1]
    if others:
        return f" The trial was resumed after step {last}. {others.sentence} {REMEDY}"
    seems = "does not seem to" if first == step else "perhaps does not"
    return (
        f" The trial was resumed after step {last}, and its training {seems} restore all "
        "of its state (random numbers, say): save that with the checkpoint too."
    )


def _copy_of(row: Mapping[str, Any], trial: int, place: Path, folder: Path) -> Path:
    """The path of a recorded checkpoint during the replay: the trial's own are copied, its parent's are not."""
    path = folder / str(row["path"])
    return place / path.name if row["trial"] == trial else path


def _train(
    job: Job, until: int, before: dict[int, float], metric: str, console: Console, *, goes_on: bool
) -> list[int]:
    """The steps of `before` at which another value came; from scratch, also those at which none came."""
    differences, missing = [], set() if goes_on else set(before)
    while True:
        answer = job.advance(patience=0.0)
        for item in answer.progress:
            if item.kind == "report":
                if metric not in item.metrics:
                    raise NoMetric(f"step {item.step} reported no {metric!r}.{did_you_mean(metric, item.metrics)}")
                value, old = float(item.metrics[metric]), before.get(item.step)
                missing.discard(item.step)
                same = old is None or old == value or (isnan(old) and isnan(value))
                console.print(
                    f"step {item.step:>4}  {metric} {value!r}"
                    + ("" if old is None else "  as recorded" if same else f"  recorded: {old!r}")
                )
                if not same:
                    differences.append(item.step)
            elif item.kind == "notice":
                console.print(item.text)
            elif item.kind == "ended":
                console.print(f"the training ended by itself at step {item.step}, before step {until}: {item.text}")
        if answer.lost:
            raise TrialsFailed(f"trial {job.trial}, trained again: {answer.lost}")
        if answer.failure:
            raise TrialsFailed(f"trial {job.trial}, trained again, failed: {reason(*answer.failure[:2])}")
        if answer.done:
            return sorted({*differences, *missing})


def _ends_by_itself(sweep: Sweep, row: Mapping[str, Any], folder: Path, go_on: int) -> str:
    """Why a script does not go on beyond its horizon, and the command that trains it on; `row`: its trial's suggestion."""
    places, horizon = Places(folder.absolute()), sweep.workload.horizon
    trial, own = places.trial(row["trial"]), places.script(row["trial"])
    text = f"--go-on {go_on}: this training ends by itself at step {horizon}, its horizon"
    words = [*(row["command"] or []), *shlex.split(getattr(sweep.workload, "resume", None) or "")]
    line = by_hand(words, trial, row["seed"], horizon, str(own), copied=own)
    if not row["command"] or line is None:
        return f"{text}; its files are in {own}."
    there = shlex.join(["cd", str(Path.cwd())])
    return (
        f"{text}. To train on, ask the script itself for more steps, on a copy of the trial's files: {there} && {line}"
    )


def _take_checkpoints(source: Path, place: Path, go_on: int, last: int, own: str | None) -> None:
    """Copy the trial's checkpoints. `own`: the folder of a script, which keeps them itself and reports their paths."""
    if go_on <= last:
        raise BadInput(f"--go-on {go_on}: the trial is at step {last} already; name a later step.")
    if own is None and not any(source.glob("*/manifest.json")):
        raise BadInput(f"{source}: no checkpoint is left of this trial; train it again without --go-on.")
    shutil.copytree(source, place, dirs_exist_ok=True)
    reports = place / SCRIPT / PLACE / REPORTS
    if own is not None and reports.is_file():  # the copies, because a script may delete older checkpoints
        before, after = (json.dumps(str(path.absolute()))[1:-1] for path in (Path(own), place / SCRIPT))
        reports.write_text(reports.read_text().replace(f'"{before}/', f'"{after}/'))
