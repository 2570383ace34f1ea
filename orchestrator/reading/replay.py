"""Train a recorded trial again, outside the sweep and apart from its files; on a CPU the numbers must be the same."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from orchestrator.driving.places import CHECKPOINTS, TRIALS, Places
from orchestrator.errors import BadInput, NoMetric, NotTheSame, TrialsFailed, did_you_mean
from orchestrator.failures import reason
from orchestrator.reading.codes import codes_of_record, edits_since
from orchestrator.reading.export import by_hand
from orchestrator.reading.own_files import scripts_own
from orchestrator.reading.restarts import restarts, resumed_after
from orchestrator.reading.shared import REMEDY, Shared, shared_files
from orchestrator.record.encoding import number, unmasked
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import refuse_links
from orchestrator.reporting import PLACE, REPORTS
from orchestrator.worker.job import Job, prepare
from search.work import SCRIPT, Assignment
from trainables.carry_out import can_be_forked

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from search.records import Config


class _Trained(NamedTuple):
    """What the record has of a trial's training."""

    trial: int
    begun: Mapping[str, Any]  # the suggestion that it began with
    parents: Config | None  # the configuration of the trial that it forked from
    reports: list[dict[str, Any]]
    # numbers (`seq`) of records: a resume by decision, a lost worker, another value of a repeated step
    restarts: list[int]
    saved: list[dict[str, Any]]  # its checkpoints


MEMORY = "memory.json"  # of a script's folder, beside its reports: how it counts its steps


def replay_trial(sweep: Sweep, folder: Path, trial: int, go_on: int | None) -> None:
    """Train `trial` again from scratch and compare, or (`go_on`) continue it from its checkpoint to that step.

    Before a fork whose parent's checkpoint is gone, the trials that it descends from are trained again up to their forks.
    """
    console = Console(highlight=False)
    places, again = Places(folder), Places(folder / "replay" / f"{trial:05d}")  # laid out like a run of its own
    ledger = Ledger.read(folder)
    try:
        line = _lineage(ledger, trial, places, go_on)
        others = shared_files(ledger.rows("event"), ledger.rows("ending"))
        codes = codes_of_record(ledger)
    finally:
        ledger.close()
    own = line[-1]
    place = again.checkpoints(trial)
    refuse_links(again.folder.parent, again.folder, places.shared)
    shutil.rmtree(again.folder, ignore_errors=True)
    place.mkdir(parents=True, mode=0o700)
    _tell_how_it_counts(places.script(trial), again.folder / TRIALS / "recorded" / CHECKPOINTS / SCRIPT)
    last = own.reports[-1]["step"] if own.reports else 0
    if go_on is not None:
        files, kept = scripts_own(folder, trial)
        if kept and go_on > sweep.workload.horizon:
            if own.begun["command"]:
                raise BadInput(_ends_by_itself(sweep, own.begun, folder, go_on))
            longer: Any = sweep.workload  # a function that reports: the sweep's steps were the limit
            sweep = replace(sweep, workload=replace(longer, horizon=go_on))
        _take_checkpoints(places.checkpoints(trial), place, go_on, last, files if kept else None)
    elif not own.reports:
        raise BadInput(f"{folder}: trial {trial} has reported nothing that could be compared.")
    shared = places.shared
    if not (shared / ".complete").exists():
        try:
            prepare(sweep, shared)
        except Exception as error:
            raise TrialsFailed(f"the workload's prepare failed: {type(error).__name__}: {error}") from error
    why, steps = "", 0
    for before, it, after in zip([None, *line[:-1]], line, [*line[1:], None], strict=True):
        until = (go_on or last) if after is None else after.begun["parent_step"]
        if before is not None or after is not None:
            beginning = it.begun["parent_step"] if it.begun["parent"] is not None else 0
            console.print(f"trial {it.trial}, from step {beginning + 1} to {until}:", style="bold")
        pinned = () if after is None else (until,)
        assignment = _assignment(sweep, it, until, places, again, before, last if go_on else 0, pinned)
        values = {row["step"]: number(row["value"], row["kind"]) for row in it.reports if row["step"] <= until}
        differences = _train(
            Job(sweep, assignment), until, values, sweep.metric_name, console, goes_on=go_on is not None
        )
        steps += len(values)
        if differences and not why:
            edits = edits_since(codes, it.trial, sweep.describe()["files"])
            told = f" Edited since: {edits}." if edits else ""
            reason = told or _resumed_before(differences[0], it.reports, it.restarts, others)
            why = (
                f"trial {it.trial}: {len(differences)} of {len(values)} steps differ from the record, the first at step "
                f"{differences[0]}.{reason}"
            )
    console.print(f"checkpoints in {place}", soft_wrap=True)
    if why:
        raise NotTheSame(why)
    if go_on is None:
        console.print(f"trial {trial}: all {steps} steps equal the record")


def _lineage(ledger: Ledger, trial: int, places: Places, go_on: int | None) -> list[_Trained]:
    """The trial, preceded by those that it descends from, as far back as none has a checkpoint to fork from."""
    line: list[_Trained] = []
    number: int | None = trial
    while number is not None:
        rows = ledger.rows("suggestion", "WHERE trial = :trial ORDER BY seq", trial=number)
        if not rows:
            count = len({row["trial"] for row in ledger.rows("suggestion")})
            raise BadInput(
                f"{ledger.folder}: no trial {trial}; there are 0 to {count - 1}."
                if count
                else f"{ledger.folder}: no trials yet."
            )
        lost = ledger.rows("lost", "WHERE trial = :trial ORDER BY seq", trial=number)
        told = ledger.rows("event", "WHERE trial = :trial ORDER BY seq", trial=number)
        parent, step = rows[0]["parent"], rows[0]["parent_step"] or 0
        line.insert(
            0,
            _Trained(
                number,
                rows[0],
                None if parent is None else ledger.begun()[parent].config,
                ledger.rows("report", "WHERE trial = :trial ORDER BY step", trial=number),
                restarts(rows, lost, events=told),
                ledger.rows("checkpoint", "WHERE trial IN (:trial, :parent) ORDER BY seq", trial=number, parent=parent),
            ),
        )
        gone = go_on is None and parent is not None and not can_be_forked(places.checkpoints(parent), step)
        number = parent if gone else None
    return line


def _assignment(
    sweep: Sweep,
    it: _Trained,
    until: int,
    places: Places,
    again: Places,
    before: _Trained | None,
    recorded: int,
    pinned: tuple[int, ...],
) -> Assignment:
    """The training of `it` below `again`; `before`: its parent, if that has been trained there, too.

    `pinned`: the step at which it leaves a checkpoint to fork from.
    """
    begun, place = it.begun, again.checkpoints(it.trial)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    parent = begun["parent"]
    return Assignment(
        trial=it.trial, config=unmasked(begun["config"], sweep.space), seed=begun["seed"], until=until, folder=place, task=begun["task"],
        recorded=recorded, threads=sweep.threads, workers=sweep.workers, checkpoint_seconds=sweep.checkpoint_seconds,
        parent=None if parent is None else (places if before is None else again).checkpoints(parent),
        parent_step=begun["parent_step"] or 0, prepared=places.shared, pinned=pinned,
        parent_config=None if it.parents is None else unmasked(it.parents, sweep.space),
        digests={str(_copy_of(row, it.trial, place, places.folder)): row["sha256"] for row in it.saved},
    )  # fmt: skip


def _tell_how_it_counts(own: Path, recorded: Path) -> None:
    """Leave for a script, which is to be trained again alone, how it counted its steps beside the sweep's other trials."""
    with contextlib.suppress(OSError, ValueError):
        memory = json.loads((own / PLACE / MEMORY).read_text())
        (recorded / PLACE).mkdir(parents=True)
        told = {name: memory[name] for name in ("kind", "key", "shift") if name in memory}
        (recorded / PLACE / MEMORY).write_text(json.dumps(told))


def _resumed_before(step: int, recorded: list[dict[str, Any]], restarts: list[int], others: Shared) -> str:
    """An explanation, if the trial was resumed before this step; else empty. `others`: what trials of the run share."""
    found = resumed_after(step, recorded, restarts)
    if found is None:
        return ""
    last, first = found
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
                if goes_on:
                    console.print("To train longer, raise the number of steps in the training, and run this again.")
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
