"""Histories of earlier runs: their best configurations start first, and some searchers learn from them.

A run uses the records that another had when it first named that one: it notes the number of the last record in its own
ledger and ignores later records of the other run, so a decision stays a function of the record. It also notes a
fingerprint of those records, and refuses another run under the same name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.definition.description import described_tasks
from orchestrator.errors import BadInput, ResumeRefused, did_you_mean
from orchestrator.record.encoding import goal_of
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import find_run, full_path
from orchestrator.sweep import Sweep
from search.history import History

TRANSFER = "transfer"  # kind of the event that notes how many records of an earlier run are used


def earlier_histories(
    sweep: Sweep, folder: Path, events: Sequence[Mapping[str, Any]]
) -> tuple[list[History], list[str]]:
    """The histories of `sweep.transfer`, and the texts of events to record for runs named for the first time.

    `events` are the transfer events on record. A trial keeps its own task and steps; a trial whose configuration is not
    in the present space is marked (`in_space`), as after any change of the space. The best configurations of an earlier
    run start first, and random ones avoid all of its; its event notes both, as older releases did neither. Raises BadInput for a run with another
    metric or other parameters.
    """
    noted = {(note := json.loads(row["text"]))["run"]: note for row in events}
    histories, texts = [], []
    for run in sweep.transfer:
        ledger = Ledger.read(found(run, folder))
        try:
            up_to = noted[run]["up_to"] if run in noted else ledger.last
            history = _history(sweep, run, ledger, up_to)
        finally:
            ledger.close()
        fingerprint = _fingerprint(history)
        if run not in noted:
            history.is_avoided = history.is_tried_first = True
            use = {"is_avoided": True, "is_tried_first": True}
            texts.append(json.dumps({"run": run, "up_to": up_to, "fingerprint": fingerprint} | use))
        elif noted[run]["fingerprint"] != fingerprint:
            raise ResumeRefused(
                f"{folder}: transfer={run!r} does not hold the records that this run has begun with. Bring that run "
                "back, transfer from it under another name, or use another --name."
            )
        else:
            history.is_avoided = noted[run].get("is_avoided", False)
            history.is_tried_first = noted[run].get("is_tried_first", False)
        histories.append(history)
    return histories, texts


def found(run: str, folder: Path) -> Path:
    """The folder of an earlier run: beside this one, or anywhere."""
    try:
        place = find_run(run, folder.parent)
    except BadInput as error:
        raise BadInput(f"Sweep(transfer): {error}") from None
    if place == full_path(folder):
        raise BadInput(f"Sweep(transfer): {run!r} is this run itself; leave it out, its results are used anyway.")
    return place


def _history(sweep: Sweep, run: str, ledger: Ledger, up_to: int) -> History:
    known = [row["description"] for row in ledger.sweeps() if row["seq"] <= up_to]
    if not known:
        raise BadInput(f"Sweep(transfer): {run!r} has no records yet; wait for it, or leave it out.")
    about = known[-1]
    if about["metric"] != sweep.metric_name:
        raise BadInput(
            f"Sweep(transfer): {run!r} tunes {about['metric']!r}, this sweep {sweep.metric_name!r}; the metric must be the same."
        )
    names = set(about["space"]["parameters"])
    for name in sorted(names ^ set(sweep.space.names)):
        here = name in sweep.space.names
        raise BadInput(
            f"Sweep(transfer): {run!r} has {'no ' if here else 'a '}parameter {name!r}, and this sweep has {'one' if here else 'none'};"
            f" the parameters must be the same.{'' if here else did_you_mean(name, sweep.space.names)}"
        )
    tasks = described_tasks(about)
    return ledger.history(sweep.space, about["horizon"], about["seed"], goal_of(about), tasks=tasks, up_to=up_to)


def _fingerprint(history: History) -> str:
    told = [(sorted(t.config.items()), t.task, t.status.value, t.steps, t.losses) for t in history]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
