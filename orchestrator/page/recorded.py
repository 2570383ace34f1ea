"""Everything that the page reads of a run, loaded once in one snapshot of its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.definition.description import described_tasks
from orchestrator.money.first_steps import excess_of_first_steps
from orchestrator.reading.ahead import ahead
from orchestrator.reading.scores import present_baseline, scores
from orchestrator.reading.spending import accounts
from orchestrator.reading.state import state
from orchestrator.reading.summary import description
from orchestrator.reading.trial_counts import ANY_SPACE, stands
from orchestrator.record.encoding import USED, goal_of, used_of
from orchestrator.record.ledger import Ledger
from search.history import History, Trial
from search.records import FINALIST, Goal, Status
from search.rules.finalists import winner
from search.task import FULL

TABLES = (
    "sweep",
    "suggestion",
    "report",
    "verdict",
    "ending",
    "lost",
    "test",
    "decision",
    "event",
    "checkpoint",
    "lease",
)


@dataclass(frozen=True)
class Recorded:
    """A run: its description, its history, and the rows of its tables.

    `history` holds every report. Its losses are minimised; `goal.value(loss)` gives the metric's own value.
    """

    folder: Path
    about: Mapping[str, Any]  # the description in force
    state: str  # the word of `reading/state.py`
    goal: Goal
    history: History
    rows: Mapping[str, list[dict[str, Any]]]  # table → its rows in order, with `seq`, `time` and `epoch`
    accounts: Mapping[str, Any]  # what `reading/spending.py` counts
    ahead: Mapping[str, Any] | None  # a trial that `reading/ahead.py` finds

    @classmethod
    def of(cls, ledger: Ledger) -> Recorded:
        with ledger.snapshot():
            about = description(ledger)
            goal = goal_of(about)
            history = ledger.history(ANY_SPACE, about["horizon"], about["seed"], goal, tasks=described_tasks(about))
            rows = {table: ledger.rows(table) for table in TABLES}
            word, best = state(ledger), winner(history)
            value = None if best is None else scores(history, best, goal)["value"]
            leader = ahead(ledger, stands(ledger), None if best is None else best.number, value, word)
            return cls(ledger.folder, about, word, goal, history, rows, accounts(ledger, history, goal), leader)

    @property
    def name(self) -> str:
        """The folder's name, under which commands find the run; a renamed run has another one on record."""
        return self.folder.name

    @property
    def metric(self) -> str:
        return self.goal.metric

    @cached_property
    def best(self) -> Trial | None:
        """The trial that `show` calls the best."""
        return winner(self.history)

    @cached_property
    def baseline(self) -> Trial | None:
        """The trial of the baseline that the sweep names now."""
        return present_baseline(self.about, self.history)

    @cached_property
    def full(self) -> list[Trial]:
        """Completed full trainings of the search, in order of their numbers; finalists' repetitions are left out."""
        return [
            trial
            for trial in self.history
            if trial.task == FULL and trial.status is Status.COMPLETED and trial.first_origin != FINALIST
        ]

    @cached_property
    def start_seconds(self) -> dict[int, float]:
        """Trial → the seconds of its costs by which first steps took longer than later ones: starts, not training."""
        reports = [(row["seq"], row["trial"], row["cost_seconds"]) for row in self.rows["report"]]
        begins = [
            (row["seq"], row.get("trial")) for table in ("sweep", "suggestion", "lost") for row in self.rows[table]
        ]
        trial_of = {seq: trial for seq, trial, _ in reports}
        found: dict[int, float] = {}
        for seq, seconds in excess_of_first_steps(reports, begins, self.history.trials).items():
            found[trial_of[seq]] = found.get(trial_of[seq], 0.0) + seconds
        return found

    @cached_property
    def seconds_before_training(self) -> float:
        """The seconds that workers took before the trainings began: starts, beside `start_seconds`."""
        used = [used_of(row) for row in self.rows["event"] if row["kind"] == USED]
        return sum(each.seconds for each in used if each.what == "start")

    def value(self, loss: float) -> float:
        """The metric's own value of a loss."""
        return self.goal.value(loss)
