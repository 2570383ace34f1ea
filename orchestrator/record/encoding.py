"""Converts records to rows of the ledger, and rows to records."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from orchestrator.money.prices import held_by_trial
from orchestrator.secrets import MASK, masked, masked_value
from search.records import (
    Began,
    Config,
    End,
    Goal,
    Judged,
    Lost,
    Over,
    Record,
    Report,
    Retry,
    Status,
    Suggestion,
    Tested,
    Used,
)
from search.space import Space
from trainables.contract import CommandLine

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

NODE = "node"  # kind of the events that tell on which machine a trial trains, from there on
USED = "used"  # kind of the events that tell device time
RETRY = "another try"  # kind of the events by which the user asks for another try of a failed trial
EVENTS = (USED, RETRY)  # kinds of events that are tables of their own to those who read records
DECIDING = ("sweep", "suggestion", "report", "verdict", "ending", "lost", "search_end", "test", *EVENTS)
"""The tables whose rows are records of the history."""


def record_of(table: str, row: Mapping[str, Any], space: Space | None, goal: Goal) -> Record:
    """The record in a row of one of the tables `DECIDING`; without a `space` secrets stay masked."""
    if table == "sweep":
        return began_of(row)
    if table == "suggestion":
        return suggestion_of(row, space)
    if table == "report":
        loss = goal.loss(number(row["value"], row["kind"]))
        return Report(row["trial"], row["step"], loss, row["cost_seconds"], row["metrics"])
    if table == "verdict":
        return Judged(row["trial"], row["scheduler"])
    if table == "ending":
        return End(row["trial"], Status(row["status"]), row["reason"])
    if table == USED:
        return used_of(row)
    if table == RETRY:
        return Retry(row["trial"])
    if table == "lost":
        return Lost(row["trial"], row["reason"])
    return Over(row["reason"]) if table == "search_end" else Tested(row["trial"])


def began_of(row: Mapping[str, Any]) -> Began:
    """The beginning of an invocation, with what a trial holds; a record of an older release has no resources."""
    return Began(row["change"], *held_by_trial(row["description"].get("resources", {})))


def used_text(record: Used) -> str:
    """The text of the event for a record of device time."""
    device = {"device": record.device} if record.device else {}
    return to_json({"what": record.what, "seconds": round(record.seconds, 3)} | device)


def used_of(row: Mapping[str, Any]) -> Used:
    """The record of device time in such an event."""
    return Used(row["trial"], **json.loads(row["text"]))


def goal_of(description: Mapping[str, Any]) -> Goal:
    """The metric of a recorded sweep."""
    return Goal(description["metric"], description["mode"])


def suggestion_row(suggestion: Suggestion) -> dict[str, Any]:
    """The columns of a suggestion, as a reader gets them: secrets masked, JSON parsed."""
    return {
        "trial": suggestion.trial, "kind": suggestion.kind, "config": json.loads(to_json(masked_value(dict(suggestion.config)))),
        "task": suggestion.task, "until": suggestion.until, "origin": suggestion.origin,
        "evidence": masked(suggestion.evidence), "parent": suggestion.parent, "parent_step": suggestion.parent_step,
        "replaces": suggestion.replaces, "memo": suggestion.memo,
    }  # fmt: skip


def command_of(sweep: Sweep | None, config: Config) -> list[str]:
    """The words of the command that starts a script for this configuration; none for a training that is not a script."""
    if sweep is None or not isinstance(sweep.workload, CommandLine):
        return []
    try:
        return [str(word) for word in sweep.workload.arguments(config)]
    except Exception:  # the trial will fail with the same error, and report it
        return []


def suggestion_of(row: Mapping[str, Any], space: Space | None = None) -> Suggestion:
    config: Config = row["config"] if space is None else _in_order(unmasked(row["config"], space), space)
    return Suggestion(
        row["kind"], config, row["trial"], row["until"], row["task"], row["origin"], row["evidence"], row["memo"],
        parent=row["parent"], parent_step=row["parent_step"], replaces=row["replaces"],
    )  # fmt: skip


def _in_order(config: Config, space: Space) -> Config:
    """The configuration in the order of the space, as it was before it was recorded: a script may read its flags in turn."""
    return {**{name: config[name] for name in space.names if name in config}, **config}


def to_json(value: Any) -> str:
    """JSON with sorted keys; NaN and infinities as the strings "nan", "inf", "-inf"."""
    return json.dumps(_finite(value), sort_keys=True, ensure_ascii=False, allow_nan=False)


def kind_of(value: float) -> str:
    """'number', 'nan', 'inf' or '-inf': SQLite has no NaN."""
    return "number" if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def number(value: float | None, kind: str) -> float:
    """The inverse of storing `kind_of`."""
    return float(kind) if kind != "number" else float(value or 0.0)


def now(later: float = 0.0) -> str:
    """The time in UTC, so many seconds later, in Optuna's format. For people only: `seq` gives the order."""
    return (datetime.now(timezone.utc) + timedelta(seconds=later)).strftime("%Y-%m-%d %H:%M:%S.%f")


def seconds_between(earlier: str, later: str) -> float:
    """The seconds between two times of the ledger; 0 if the clock was set back."""
    begin, end = (datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f") for text in (earlier, later))
    return max(0.0, (end - begin).total_seconds())


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return kind_of(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


_JSON = ("config", "metrics", "description", "parameters", "code", "command", "before", "after")


def parsed(row: dict[str, Any]) -> dict[str, Any]:
    for column in _JSON:
        if column in row:
            row[column] = json.loads(row[column])
    if "metrics" in row:
        row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    return row


def unmasked(config: Config, space: Space) -> Config:
    """A recorded configuration with its secrets restored from the space.

    A secret stays masked if several look the same on record: a training that needs it fails instead of using another.
    """
    if not any(isinstance(value, str) and MASK in value for value in config.values()):
        return config

    def real(name: str, shown: str) -> str:
        options = space.parameters[name].values(2) if name in space.parameters else []
        meant = [text for text in options if isinstance(text, str) and masked_value({name: text})[name] == shown]
        return meant[0] if len(meant) == 1 else shown

    return {name: real(name, value) if isinstance(value, str) else value for name, value in config.items()}


def distributions(space: Space) -> Iterator[tuple[str, str, str | None]]:
    """Name, Optuna's JSON of the distribution and JSON of the choices, for every parameter that is not fixed."""
    for name, about in space.describe()["parameters"].items():
        kind = about["kind"]
        if kind == "fixed":
            continue
        if kind == "choice":
            options = [masked_value({name: option})[name] for option in about["options"]]
            attributes: dict[str, Any] = {"choices": options}
            yield name, to_json({"name": "CategoricalDistribution", "attributes": attributes}), to_json(options)
            continue
        whole = kind in ("int", "pow2")
        attributes = {
            "low": about["low"],
            "high": about["high"],
            "log": bool(about.get("log")) or kind == "pow2",
        }
        attributes["step"] = 1 if whole else None
        yield (
            name,
            to_json({"name": "IntDistribution" if whole else "FloatDistribution", "attributes": attributes}),
            None,
        )
