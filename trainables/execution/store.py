"""Store the checkpoints of one trial, and decide which of them to keep.

`step-000012+000128/` holds the state after 12 evaluations and 128 samples of the next epoch. Only this module knows
that the place is a folder; for another kind of place (object storage) write another class with these methods.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from search.work import Saved
from trainables.execution import checkpoint
from trainables.execution.checkpoint import DamagedCheckpoint

KEEP = 2  # newest ones, in case the last is damaged
_NAME = re.compile(r"step-(\d{6,})\+(\d{6,})")


class Found(NamedTuple):
    """A checkpoint's place in the training and in the file system."""

    step: int
    cursor: int  # samples into the next epoch
    path: Path


class Store:
    """The checkpoints in `folder`. `digests`: the recorded SHA-256 of each checkpoint's manifest, by path."""

    def __init__(self, folder: Path, digests: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self._digests = digests

    def save(self, state: dict[str, Any], *, step: int, cursor: int = 0) -> Saved:
        """Write `state` durably; replaces an older checkpoint of the same place.

        Raises OSError if it cannot be written (full disk, …); the other checkpoints then stay as they are.
        """
        path = self.folder / f"step-{step:06d}+{cursor:06d}"
        return _told(step, path, checkpoint.write(path, state))

    def newest(self, recorded: int, *, on_the_way: bool = True) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest undamaged state at a step <= `recorded`, and a notice for each checkpoint skipped.

        `on_the_way`: allow one that has already seen a part of the epoch after `recorded`. An undamaged checkpoint with
        another digest than the recorded one is skipped, too.
        """
        notices: list[str] = []
        for found in reversed(self.find()):
            if found.step > recorded or (found.step == recorded and found.cursor and not on_the_way):
                continue
            try:
                return checkpoint.load(found.path, self._digests.get(str(found.path))), notices
            except DamagedCheckpoint as damage:
                notices.append(f"damaged checkpoint passed over: {damage}")
        return None, notices

    def find(self) -> list[Found]:
        """All checkpoints, oldest first; loading them shows whether they are undamaged."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        matches = [match for name in names if (match := _NAME.fullmatch(name))]
        return sorted(Found(int(match[1]), int(match[2]), self.folder / match[0]) for match in matches)

    def prune(self, keep: int = KEEP, recorded: int | None = None, pinned: Collection[int] = ()) -> None:
        """Delete all but the `keep` newest, the newest one at a step <= `recorded`, and those at `pinned` steps.

        Deletes nothing if the newest one is damaged.
        """
        checkpoints = self.find()
        kept = checkpoints[-max(keep, 1) :]
        if recorded is not None:
            kept += [found for found in checkpoints if found.step <= recorded][-1:]
        superfluous = [found for found in checkpoints if found not in kept and found.step not in pinned]
        if superfluous:
            try:
                checkpoint.check(checkpoints[-1].path)
            except DamagedCheckpoint:
                return
            for found in superfluous:
                checkpoint.delete(found.path)

    def clean(self, step: int, cursor: int) -> None:
        """Delete what a training that continues from here cannot use: later checkpoints and unfinished folders."""
        for found in self.find():
            if (found.step, found.cursor) > (step, cursor):
                checkpoint.delete(found.path)
        for path in self.folder.glob("step-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)


def describe(found: Found) -> Saved:
    """The checkpoint as a worker reports it. Raises DamagedCheckpoint."""
    return _told(found.step, found.path, checkpoint.written(found.path))


def _told(step: int, path: Path, written: checkpoint.Written) -> Saved:
    return Saved(step, path=str(path), sha256=written.sha256, bytes=written.bytes)
