"""Forks of trainings that call report(): a trial continues from another one's checkpoint, with parameters of its own.

Where trials may fork, a trial that rests below the horizon leaves a copy of the checkpoint that it reported last, with the
records of its steps (`hand_on`). A fork begins with that copy (`take_over`), so `resumed_from()` leads to it, as after an
interruption. Only what is reported names its step and its checkpoint for certain, so nothing else can be forked.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from search.work import SCRIPT, Assignment
from trainables.scripts.reading import Reading
from trainables.scripts.step_count import REPORTED, StepCount
from trainables.scripts.trial_folder import MEMORY, PARENT, PARENTS_VALUES, PLACE, REPORTS, STEPS, TrialFolder

OF_ONE_TRIAL = ("token", "wrote", "shares")  # in its memory


def hands_on(assignment: Assignment, step: int, horizon: int) -> bool:
    """Whether the trial rests at `step`, and other trials may start from its checkpoint there."""
    return assignment.until in assignment.pinned and assignment.until <= step < horizon


def hand_on(folder: TrialFolder, count: StepCount, step: int, pinned: Collection[int]) -> Path:
    """Copy the checkpoint of `step`, the last one; returns the copy's folder. Deletes copies of steps that are not `pinned`.

    `why_nothing_to_hand_on` has found no objection to it.
    """
    copy = copy_of(folder.path.parent, step)
    for old in folder.path.parent.glob(f"{SCRIPT}-at-*"):
        if old not in {copy, *(copy_of(folder.path.parent, each) for each in pinned)}:
            shutil.rmtree(old, ignore_errors=True)
    if copy.is_dir():
        return copy
    row = _report_of(folder, count, step)
    checkpoint = folder.path / row["checkpoint"]  # may be outside the folder
    inside = Path(row["checkpoint"]) if folder.path in checkpoint.parents else Path(checkpoint.name)
    unfinished = copy.with_name(f"{copy.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    (unfinished / PLACE).mkdir(parents=True)
    (unfinished / inside).parent.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_dir():
        shutil.copytree(checkpoint, unfinished / inside, symlinks=True)
    else:
        shutil.copy2(checkpoint, unfinished / inside)
    (unfinished / PLACE / REPORTS).write_text(json.dumps({**row, "checkpoint": str(inside)}) + "\n")
    for name in (STEPS, MEMORY):
        shutil.copy2(folder.place / name, unfinished / PLACE / name)
    unfinished.replace(copy)
    return copy


def take_over(assignment: Assignment) -> None:
    """Let a fork begin with the copy that its parent has left, unless it has begun. Raises FileNotFoundError without a copy."""
    own = TrialFolder(assignment.folder / SCRIPT)
    if assignment.parent is None or own.read_memory():
        return
    copy = copy_of(assignment.parent, assignment.parent_step)
    if not copy.is_dir():
        raise FileNotFoundError(f"{assignment.parent} has no checkpoint at step {assignment.parent_step}")
    unfinished = own.path.with_name(f"{SCRIPT}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(copy, unfinished, symlinks=True)
    begun = TrialFolder(unfinished)
    memory = {name: value for name, value in begun.read_memory().items() if name not in OF_ONE_TRIAL}
    begun.write(MEMORY, memory)
    begun.write(PARENT, {"own": dict(assignment.config), "parent": dict(assignment.parent_config or {})})
    shutil.rmtree(own.path)
    unfinished.replace(own.path)


def why_not_the_parents(
    assignment: Assignment, folder: TrialFolder, count: StepCount, reading: Reading, *, is_first: bool
) -> str:
    """Why a fork does not continue its parent's training, from a reading that has just been placed; empty if it does.

    `is_first`: of this start. A training may measure the loaded weights once more before it goes on. At its first report after
    an update it has shown with which values it trains; then they are its own, whatever a schedule makes of them.
    """
    at = assignment.parent_step
    known = count.values.get(at)
    is_measured_again = count.last == at and known is not None and known.repeats(reading.value)
    if is_first and count.last <= at and not is_measured_again:
        return (
            f"this trial continues from another one's checkpoint at step {at}, but its training began with step {count.last}: load "
            "the checkpoint that resumed_from() returns, and go on from its step."
        )
    parent, text = folder.place / PARENT, folder.place / PARENTS_VALUES
    if count.last <= at or not parent.exists() or not text.exists():  # without PyTorch, nothing tells
        return ""
    why = text.read_text()
    if not why:
        parent.unlink()
    return why


def copy_of(checkpoints: Path, step: int) -> Path:
    """The folder with what the trial with these `checkpoints` has left at `step`; it may not exist."""
    return checkpoints / f"{SCRIPT}-at-{step}"


def why_nothing_to_hand_on(folder: TrialFolder, count: StepCount, step: int, until: int) -> str:
    """Why no other trial can start from `step`, which the training has just told, but should from `until`; empty if one can."""
    shift = count.memory.get("shift") or 0
    told = step - shift
    if step != until:
        return (
            f"the training told step {told} and not step {until - shift}, where trials are compared and may start from each other: report "
            f"that step, too, or choose an interval at whose multiples the training reports, such as interval={step}."
        )
    remedy = f"other trials may start from it there, so call report({told}, …, checkpoint=path), and load what resumed_from() returns."
    if count.kind != REPORTED:
        return f"step {told} came without report(), which alone tells where its checkpoint is; {remedy}"
    if _report_of(folder, count, step)["checkpoint"] is None:
        return f"the training reported step {told} without a checkpoint; {remedy}"
    return ""


def _report_of(folder: TrialFolder, count: StepCount, step: int) -> Mapping[str, Any]:
    """What the training reported at `step`: "step", as it counts, and "checkpoint"."""
    for line in reversed((folder.place / REPORTS).read_bytes().splitlines()):
        with contextlib.suppress(ValueError):  # of a process that was killed while it wrote
            row: dict[str, Any] = json.loads(line)
            if row["step"] + (count.memory.get("shift") or 0) == step:
                return row
    raise LookupError(f"{folder.place / REPORTS} has no step {step}")
