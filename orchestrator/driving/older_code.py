"""A trial that goes on after an edit may not get on with its checkpoint, which is of the code before it.

Then its next step never comes, and another try from that checkpoint would fail in the same way.
"""

from __future__ import annotations

import json
import math
import shutil

from orchestrator.definition.sources import EDITED, Source, edited, edits_told
from orchestrator.driving.places import Places
from orchestrator.driving.recorder import Recorder
from orchestrator.record.ledger import Ledger
from search.history import Trial


def told_of_older_code(trial: Trial, places: Places, ledger: Ledger) -> str:
    """What to add to the error of a trial that fails now, if its checkpoint is of other code; else nothing."""
    edits = _edits(trial, ledger, math.inf) if _has_checkpoint(trial, places) else []
    return f" (it went on from a checkpoint of older code, before this: {', '.join(edits)})" if edits else ""


def retry(trial: Trial, places: Places, ledger: Ledger, recorder: Recorder) -> None:
    """Let a failed trial have another try, without its checkpoint if it has failed for that. A fork's own is its parent's."""
    ending = ledger.rows("ending", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    is_of_older_code = trial.parent is None and _has_checkpoint(trial, places)
    if is_of_older_code and _edits(trial, ledger, ending[0]["seq"]) and (edits := _edits(trial, ledger, math.inf)):
        shutil.rmtree(places.checkpoints(trial.number))
        text = f"trial {trial.number} begins from the start: its checkpoint was of older code, before this: {', '.join(edits)}"
        recorder.tell("notice", text, trial.number)
    recorder.retry(trial)


def _has_checkpoint(trial: Trial, places: Places) -> bool:
    folder = places.checkpoints(trial.number)
    return any(folder.glob("step-*")) or places.script(trial.number).is_dir()


def _edits(trial: Trial, ledger: Ledger, until: float) -> list[str]:
    """What was edited between the last report of the trial and this place in the record."""
    reports = ledger.rows("report", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    if not reports:
        return []
    return edits_told(edited(_code(trial, ledger, reports[0]["seq"]), _code(trial, ledger, until)))


def _code(trial: Trial, ledger: Ledger, until: float) -> dict[str, Source]:
    """The files with which the trial trained there."""
    begun = [row for row in ledger.sweeps() if row["seq"] < until][-1]
    starts = ledger.rows("event", "WHERE trial = :trial AND kind = :kind", trial=trial.number, kind=EDITED)
    own = [json.loads(row["text"]) for row in starts if begun["seq"] < row["seq"] < until]
    files: dict[str, Source] = begun["description"].get("files", {})
    return {**files, **own[-1]} if own else files
