"""The checkpoints that trials of a run share, so that one may have gone on from another's training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.record.ledger import Ledger

REMEDY = (
    "Give each its own folder, with {folder} in the command or TRIAL_FOLDER in the script, and run the sweep again under "
    "another name."
)
# of a script (trainables/scripts/run.py, trainables/scripts/skipped_steps.py)
_TOLD = re.compile(r"trial \d+: it writes (?P<files>.+), as another trial does, so they overwrite each other")
_SKIPS = re.compile(r"loaded a checkpoint that is not its own, and (?:other trials write (?P<files>.+?): give)?")


@dataclass(frozen=True)
class Shared:
    """The files as the record names them; the trials that may have loaded a checkpoint of another, and those that failed
    because they had."""

    files: tuple[str, ...]
    trials: tuple[int, ...]
    failed: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.files or self.trials or self.failed)

    @property
    def sentence(self) -> str:
        if not self.files:
            return "A training went on from a checkpoint that may be another trial's."
        return f"Trials share files, and one may have gone on from another's training: {', '.join(self.files)}."


def shared_files(events: Sequence[Mapping[str, Any]], endings: Sequence[Mapping[str, Any]]) -> Shared:
    """What the rows of the tables "event" and "ending" tell of it."""
    files: dict[str, None] = {}
    trials, failed = dict[int, None](), dict[int, None]()
    for row in events:
        if row["kind"] == "notice" and (told := _TOLD.match(row["text"])):
            files |= dict.fromkeys(told["files"].split(", "))
    for found, rows, name in ((trials, events, "text"), (failed, endings, "reason")):
        for row in rows:
            if told := _SKIPS.search(row[name]):
                found[row["trial"]] = None
                files |= dict.fromkeys([told["files"]] if told["files"] else [])
    return Shared(tuple(files), tuple(trials), tuple(failed))


def shared_words(ledger: Ledger) -> str:
    """That trials share checkpoints, and what to do; empty if they do not."""
    found = shared_files(ledger.rows("event", "WHERE kind = 'notice'"), ledger.rows("ending"))
    return f"{found.sentence} {REMEDY}" if found else ""
