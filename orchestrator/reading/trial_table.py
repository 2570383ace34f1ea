"""A row for every trial of a run: its configuration, its last value, how it ended, what it cost."""

from __future__ import annotations

from typing import Any

from orchestrator.definition.description import described_tasks
from orchestrator.reading.codes import codes_of_record
from orchestrator.reading.summary import description
from orchestrator.reading.trial_counts import ANY_SPACE
from orchestrator.record.encoding import goal_of, number
from orchestrator.record.ledger import Ledger
from search.records import FINALIST, Suggestion
from search.rules.finalists import REPEATS


def trial_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """Trial, config.*, value, metric.* (the others of the same report), status, step, reason, seconds, task, origin and seed of
    each, from its last report; `repeats`: of a finalist's repetition, the trial whose configuration it has; `code`, if the
    training was edited: the number of the code that it last trained with."""
    begun, tuned = ledger.begun(), description(ledger)["metric"]
    asked = ledger.rows("suggestion")
    seeds = {row["trial"]: row["seed"] for row in asked if row["kind"] != "resume"}
    rows: dict[int, dict[str, Any]] = {
        trial: {
            "trial": trial, **{f"config.{name}": value for name, value in suggestion.config.items()},
            "value": None, "status": "running", "step": suggestion.parent_step or 0, "reason": "", "seconds": 0.0,
            "task": suggestion.task, "origin": suggestion.origin, "repeats": _repeated(suggestion), "seed": seeds[trial],
        }
        for trial, suggestion in begun.items()
    }  # fmt: skip
    changes = [(row["seq"], "report", row) for row in ledger.rows("report")]
    changes += [(row["seq"], "ending", row) for row in ledger.rows("ending")]
    changes += [(row["seq"], "resume", row) for row in asked if row["kind"] == "resume"]
    for _, kind, row in sorted(changes, key=lambda change: change[0]):
        known = rows[row["trial"]]
        if kind == "report":
            known["seconds"] += row["cost_seconds"]
            known |= {"value": number(row["value"], row["kind"]), "step": row["step"]}
            known |= {f"metric.{name}": value for name, value in row["metrics"].items() if name != tuned}
        elif kind == "ending":
            known |= {"status": row["status"], "reason": row["reason"]}
        else:
            known |= {"status": "running", "reason": ""}
    codes = codes_of_record(ledger)
    if len(codes.distinct) > 1:
        for trial, row in rows.items():
            row["code"] = next(reversed(codes.trials.get(trial, [])), None)
    return [rows[trial] for trial in sorted(rows)]


def _repeated(suggestion: Suggestion) -> int | None:
    number = suggestion.evidence.removeprefix(REPEATS)
    return int(number) if suggestion.origin == FINALIST and number != suggestion.evidence else None


def costed_rows(ledger: Ledger) -> list[dict[str, Any]]:
    """`trial_rows`, each with its cost in full trainings, the configuration's columns first, then value and other metrics."""
    rows, about = trial_rows(ledger), description(ledger)
    tasks = described_tasks(about)
    history = ledger.history(ANY_SPACE, about["horizon"], about["seed"], goal_of(about), tasks=tasks)
    for row, trial in zip(rows, history, strict=True):
        steps = max(0, trial.step - trial.began)
        row["full_trainings"] = round(steps * history.costs.rate(trial.task, len(history)), 6)
    first = ["trial", *_columns(rows, "config."), "value", *_columns(rows, "metric.")]
    return [{name: row.get(name, "") for name in first} | row for row in rows]


def _columns(rows: list[dict[str, Any]], prefix: str) -> list[str]:
    """The names that begin so, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row if name.startswith(prefix)))
