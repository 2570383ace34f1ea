"""Histories of earlier runs: their best configurations start first, and some searchers learn from them.

A run uses the records that another had when it first named that one: it notes the number of the last record in its own
ledger and ignores later records of the other run, so a decision stays a function of the record. It also notes a
fingerprint of those records, and refuses another run under the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.definition.description import described_tasks
from orchestrator.definition.earlier import called, fingerprint, objection, stated
from orchestrator.errors import BadInput, ResumeRefused
from orchestrator.record.encoding import goal_of, record_of, to_json
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import find_run, full_path
from orchestrator.secrets import masked_value
from orchestrator.sweep import Sweep
from search.domain.conditions import is_active
from search.history import History
from search.records import Config, Suggestion
from search.space import Space

_TABLES = (".db", ".sqlite", ".sqlite3", ".csv", ".tsv", ".parquet", ".json", ".jsonl", ".xlsx", ".log")
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
    for each in sweep.transfer:
        run = called(each)
        if isinstance(each, History):
            history, up_to, digest = each, 0, fingerprint(each)
        else:
            ledger = Ledger.read(found(run, folder))
            try:
                up_to = noted[run]["up_to"] if run in noted else ledger.last
                history = _history(sweep, run, ledger, up_to)
            finally:
                ledger.close()
            digest = fingerprint(history, stated(sweep, run))
        if run not in noted:
            history.is_avoided = history.is_tried_first = True
            use = {"is_avoided": True, "is_tried_first": True}
            note = {"run": run, "up_to": up_to, "fingerprint": digest} | use
            texts.append(to_json(note | ({"results": _results(history)} if isinstance(each, History) else {})))
        elif noted[run]["fingerprint"] != digest:
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
        of_others = "://" in run or Path(run).suffix in _TABLES
        remedy = (
            " Of an Optuna study or a table, make a history: docs/ask_and_tell.md#results-from-elsewhere." * of_others
        )
        raise BadInput(f"Sweep(transfer): {error}{remedy}") from None
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
    values = stated(sweep, run)
    for name in values:
        if name in about["space"]["parameters"]:
            raise BadInput(
                f"Sweep(transfer): {run!r}: its record has the values of {name!r}; leave out the one that you state."
            )
    if wrong := objection(run, {*about["space"]["parameters"], *values}, sweep.space):
        raise BadInput(f"Sweep(transfer): {wrong}")
    space, goal = sweep.space, goal_of(about)
    history = History(space, horizon=about["horizon"], seed=about["seed"], tasks=described_tasks(about))
    for seq, table, row in ledger.deciding():
        if seq <= up_to:
            record = record_of(table, row, space, goal)
            history.append(_with(values, record, space) if isinstance(record, Suggestion) else record)
    return history


def _with(values: Config, suggestion: Suggestion, space: Space) -> Suggestion:
    """The suggestion with the stated values of the parameters that are active in its configuration."""
    config = {**suggestion.config, **values}
    active = [name for name in values if is_active(space.conditions[name], config)]
    return replace(suggestion, config={**suggestion.config, **{name: values[name] for name in active}})


def _results(history: History) -> list[dict[str, Any]]:
    """All results of a history from elsewhere, which no other record holds."""
    return [
        {
            "config": masked_value(t.config),
            "task": t.task,
            "status": t.status.value,
            "steps": t.steps,
            "losses": t.losses,
        }
        for t in history
    ]
