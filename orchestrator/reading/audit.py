"""Derive every decision of a run again from its record, and report the differences.

A decision is a function of the record before it. The audit goes through the record row by row: it trusts measurements
and events, and compares each decision with that of the sweep's rules, searcher and scheduler. It accepts decisions
before the last change of the sweep as recorded, because their settings are gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.console.plurals import plural
from orchestrator.definition.sources import Source, edited
from orchestrator.errors import NotTheSame
from orchestrator.failures import shortened
from orchestrator.record.encoding import record_of, suggestion_row, to_json
from orchestrator.record.ledger import Ledger
from orchestrator.record.provenance import deciders
from orchestrator.record.warm_start import TRANSFER, earlier_histories
from orchestrator.secrets import masked
from orchestrator.sweep import Sweep
from search.contract import derived_seed
from search.history import History, Trial
from search.records import FINALIST, Began, End, Judged, Lost, Over, Report, Retry, Status, Suggestion, Tested, Used
from search.rules.conduct import (
    Instead,
    Wait,
    after_loss,
    after_report,
    early_end,
    leave_lost_task,
    next_move,
    out_of_budget,
    rest,
    to_test,
    without_checkpoint,
)
from search.rules.finalists import confirm


@dataclass(frozen=True)
class Difference:
    """One place at which the record differs from the rules."""

    seq: int  # the number of the record
    text: str

    def __str__(self) -> str:
        return f"record {self.seq}: {self.text}"


@dataclass(frozen=True)
class Findings:
    """The result of an audit."""

    decisions: int  # decisions that were derived again
    before: int  # decisions before the last change of the sweep, which were not
    differences: tuple[Difference, ...]


def audit(sweep: Sweep, ledger: Ledger) -> Findings:
    """Compare the record in `ledger` with the decisions of `sweep`, which made it. Look at the first difference first."""
    taught, _ = earlier_histories(sweep, ledger.folder, ledger.rows("event", f"WHERE kind = '{TRANSFER}'"))
    history = History(
        sweep.space,
        horizon=sweep.workload.horizon,
        seed=sweep.seed,
        tasks=sweep.tasks,
        limit=sweep.limit,
        earlier=taught,
    )
    rows = ledger.deciding()
    changed = max((seq for seq, table, row in rows if table == "sweep" and row["change"]), default=0)
    auditor = _Auditor(sweep, history)
    found: list[Difference] = []
    decisions = before = 0
    for seq, table, row in rows:
        decided = table in ("suggestion", "verdict", "ending", "search_end", "test")
        if seq < changed:
            before += decided
            history.append(record_of(table, row, sweep.space, sweep.goal))
            continue
        decisions += decided
        found += [Difference(seq, text) for text in auditor.take(table, row)]
    found += [Difference(ledger.last, text) for text in auditor.still_due("the record ends")]
    return Findings(decisions, before, tuple(found))


def print_audit(sweep: Sweep, folder: Path) -> None:
    """Audit the run in `folder` and print the result. Raises NotTheSame if there are differences."""
    ledger = Ledger.read(folder)
    try:
        findings = audit(sweep, ledger)
        before, now = ledger.sweep()["code"].get("deciders", {}), deciders(sweep)
    finally:
        ledger.close()
    console = Console(highlight=False)
    for difference in findings.differences:
        console.print(str(difference), markup=False, soft_wrap=True)
    if findings.before:
        console.print(f"{plural(findings.before, 'decision')} before the last change of the sweep not audited")
    if findings.differences:
        raise NotTheSame(
            f"{folder.name}: the record differs from what the rules say, first in {findings.differences[0]}. {_why(before, now)}"
        )
    console.print(f"{folder.name}: {plural(findings.decisions, 'decision')} derived again, all as recorded")


def _why(before: Mapping[str, Source], now: Mapping[str, Source]) -> str:
    """Why decisions may differ, by the source of the user's own searcher and scheduler at the start and now."""
    if changed := edited(before, now):
        return f"The code of {', '.join(changed)} has changed since; audit with the code that made the run."
    if not now or before.keys() != now.keys():
        return "If the code of a searcher or scheduler has changed since, audit with the code that made the run."
    own = ", ".join(name for name in now if name.endswith("()"))
    return (
        f"The code of {own} has not changed since, so its decisions do not depend on the history alone: it keeps "
        "a state, or takes randomness from elsewhere than generator(history). The sweep's --dry-run asks it twice and compares."
    )


class _Auditor:
    """Folds the record into a history, and keeps the records that must follow by the rules."""

    def __init__(self, sweep: Sweep, history: History) -> None:
        self._sweep = sweep
        self._rules = sweep.rules
        self._history = history
        self._due: list[Over | Judged | End] = []

    def take(self, table: str, row: Mapping[str, Any]) -> Iterator[str]:
        """The differences in the next row, which is then added to the history."""
        record = record_of(table, row, self._sweep.space, self._sweep.goal)
        if isinstance(record, Used):  # a measurement, between decisions
            self._history.append(record)
            return
        expected = self._due.pop(0) if self._due else None
        if isinstance(record, (Suggestion, Report, End, Judged, Lost, Retry, Tested)) and (
            impossible := self._impossible(record, row)
        ):
            yield impossible
            return
        if expected is not None:
            if not _same(expected, record):
                yield f"{_shown(record)}, where {_shown(expected)} is due"
                self._due.clear()
        elif isinstance(record, Suggestion):
            yield from self._suggestion(record, row)
        elif isinstance(record, Over):
            yield from self._over(record)
        elif isinstance(record, End):
            yield from self._end(record)
        elif isinstance(record, Judged):
            yield f"{_shown(record)}, where the scheduler lets it go on"
        elif isinstance(record, Tested):
            yield from self._test(record)
        self._history.append(record)
        self._follow(record)

    def still_due(self, instead: str) -> Iterator[str]:
        """The records that had to follow and did not."""
        for record in self._due[:1]:
            yield f"{instead}, where {_shown(record)} is due"

    def _follow(self, record: object) -> None:
        """Note which records must come next by the rules."""
        if isinstance(record, Report):
            trial = self._history.trials[record.trial]
            self._due = list(after_report(trial, self._history, self._sweep.scheduler, self._rules))
        elif isinstance(record, Lost):
            end = after_loss(self._history.trials[record.trial], self._history, self._rules, record.reason)
            self._due = [] if end is None else [replace(end, reason=shortened(end.reason))]
        elif isinstance(record, Began):
            ends = [leave_lost_task(trial, self._history) for trial in self._history.having(Status.RUNNING)]
            self._due = [end for end in ends if end is not None]

    def _impossible(
        self, record: Suggestion | Report | End | Judged | Lost | Retry | Tested, row: Mapping[str, Any]
    ) -> str:
        """Why this cannot have happened; the record is then left out. Empty if it can."""
        history = self._history
        if isinstance(record, Suggestion):
            new = record.kind != "resume"
            number = len(history.trials) if new else record.trial
            if record.trial != number or not (new or 0 <= (number or 0) < len(history.trials)):
                return f"{_shown(record)}, where the next new trial is {len(history.trials)}"
            if not new and history.trials[number or 0].status is Status.RUNNING:
                return f"{_shown(record)}, which is running already"
            return ""
        if not 0 <= record.trial < len(history.trials):
            return f"{_shown(record)}, which was never suggested"
        trial = history.trials[record.trial]
        if isinstance(record, Retry):
            return "" if trial.status is Status.FAILED else f"{_shown(record)}, which is {trial.status.value}"
        if not isinstance(record, Tested) and trial.status is not Status.RUNNING:
            return f"{_shown(record)}, which is {trial.status.value} already"
        if isinstance(record, Report):
            late = record.step <= max(trial.step, trial.began)
            return f"{_shown(record)}, which is at step {max(trial.step, trial.began)} already" if late else ""
        return "" if row["step"] == trial.step else f"{_shown(record)} at step {row['step']}, but it is at {trial.step}"

    def _next_move(self) -> Suggestion | Over | Wait:
        """The move that the rules make now."""
        move = next_move(self._history, self._sweep.searcher, self._sweep.scheduler, self._rules)
        return move.move if isinstance(move, Instead) else move

    def _suggestion(self, record: Suggestion, row: Mapping[str, Any]) -> Iterator[str]:
        move: Suggestion | Over | Wait | None = self._next_move()
        if not isinstance(move, Suggestion) and record.origin == FINALIST:  # copies, which earlier releases trained
            move = confirm(self._history, self._rules.finalists, self._rules.confirmations, also_copies=True) or move
        if not isinstance(move, Suggestion):
            yield f"{_shown(record)}, where {_shown(move)}"
            return
        number = move.trial if move.kind == "resume" else len(self._history.trials)
        move = replace(move, trial=number)
        if move.kind == "fork" and record.kind != "fork":  # the parent's checkpoint was gone: only the record knows
            instead = without_checkpoint(move, self._history)
            number = instead.trial if instead.kind == "resume" else len(self._history.trials)
            move = replace(instead, trial=number)
        wanted = suggestion_row(move)
        for name, value in wanted.items():
            if to_json(value) != to_json(row[name]):
                yield f"{_shown(record)}: {name} is {row[name]!r}, where the rules say {value!r}"
        seed = derived_seed(self._sweep.seed, number)
        if row["seed"] != seed:
            yield f"{_shown(record)}: its seed is {row['seed']}, where the sweep's gives {seed}"

    def _over(self, record: Over) -> Iterator[str]:
        move = self._next_move()
        if self._history.run.over:
            yield f"{_shown(record)}, which it is already: {self._history.run.over}"
        elif not isinstance(move, Over) or not _same(move, record):
            yield f"{_shown(record)}, where {_shown(move)}"

    def _end(self, record: End) -> Iterator[str]:
        """An end that does not follow from a report: the trial paused, ended by itself, or failed."""
        trial = self._history.trials[record.trial]
        planned = rest(trial)
        if planned is not None and _same(planned, record):
            return
        spent = out_of_budget(trial, self._history, self._rules)
        if spent is not None and _same(spent, record):
            return
        by_itself = _ended_itself(trial, self._history, record.reason)
        if record.status is Status.FAILED:  # the audit takes failures and their reasons from the record
            if by_itself or (planned is not None and planned.reason == record.reason):
                yield f"{_shown(record)}, which is no failure"
        elif record.status is not Status.COMPLETED or not by_itself:
            yield f"{_shown(record)}, where it goes on"

    def _test(self, record: Tested) -> Iterator[str]:
        history = self._history
        waits = history.count(Status.RUNNING) or not history.run.over
        if waits or record.trial not in [trial.number for trial in to_test(history, self._rules)]:
            yield f"{_shown(record)}, where {'the search goes on' if waits else 'others are the best and the baseline'}"


def _ended_itself(trial: Trial, history: History, reason: str) -> bool:
    end = early_end(trial, history, "")
    return end.status is Status.COMPLETED and reason.startswith(end.reason)


def _same(one: object, other: object) -> bool:
    """Whether they are the same on record, where secrets are masked."""
    if isinstance(one, (End, Over)) and isinstance(other, (End, Over)):
        return type(one) is type(other) and replace(one, reason=masked(one.reason)) == other
    return one == other


def _shown(what: object) -> str:
    if isinstance(what, Suggestion):
        return f"{what.kind} of trial {what.trial} ({what.origin})"
    if isinstance(what, End):
        return f"trial {what.trial} is {what.status.value} ({what.reason})"
    if isinstance(what, Judged):
        return f"trial {what.trial} is cut by {what.scheduler}"
    if isinstance(what, Over):
        return f"the search is over ({what.reason})"
    if isinstance(what, Report):
        return f"a report of trial {what.trial} at step {what.step}"
    if isinstance(what, Lost):
        return f"trial {what.trial} loses its worker"
    if isinstance(what, Tested):
        return f"a test of trial {what.trial}"
    if isinstance(what, Retry):
        return f"another try of trial {what.trial}"
    return "the run is taken up again" if isinstance(what, Began) else "nothing is to be run"
