"""The checkpoints that trials of a run share, so that one may have gone on from another's training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.record.ledger import Ledger

REMEDY = (
    "Give each its own folder, with {folder} in the command or TRIAL_FOLDER in the script, and run the sweep again under "
    "another name."
)
# of a script (trainables/scripts/run.py, trainables/scripts/skipped_steps.py)
_SKIPS = "a checkpoint that is not its own"
_TOLD = re.compile(r"trial \d+: it writes (?P<files>.+), as another trial does, so they overwrite each other")


@dataclass(frozen=True)
class Shared:
    """The files as the events name them, and the trials that may have loaded a checkpoint of another."""

    files: tuple[str, ...]
    trials: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.files or self.trials)

    @property
    def sentence(self) -> str:
        if not self.files:
            return "A training went on from a checkpoint that may be another trial's."
        return f"Trials share files, and one may have gone on from another's training: {', '.join(self.files)}."


def shared_files(events: Iterable[Mapping[str, Any]]) -> Shared:
    """What the rows of the table "event" tell of it."""
    files: dict[str, None] = {}
    trials: dict[int, None] = {}
    for row in events:
        if row["kind"] != "notice":
            continue
        if told := _TOLD.match(row["text"]):
            files |= dict.fromkeys(told["files"].split(", "))
        elif _SKIPS in row["text"]:
            trials[row["trial"]] = None
    return Shared(tuple(files), tuple(trials))


def shared_words(ledger: Ledger) -> str:
    """That trials share checkpoints, and what to do; empty if they do not."""
    found = shared_files(ledger.rows("event", "WHERE kind = 'notice'"))
    return f"{found.sentence} {REMEDY}" if found else ""
