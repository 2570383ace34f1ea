"""How a sweep spent its cost and made its decisions: origins, tasks, finalists, waiting.

Computed from the ledger and its history alone, as plain data for `show --json` and as tables for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from orchestrator.driving.time_spent import WAITED
from orchestrator.reading.costs import cost
from orchestrator.reading.out_of_time import out_of_time, out_of_time_words
from orchestrator.reading.trial_counts import suggested
from orchestrator.reading.turns import in_words, turns
from orchestrator.record.ledger import Ledger
from search.history import History, key_of
from search.records import BASELINE, FALLBACK, FINALIST, Began, Goal, Over, Status
from search.rules.finalists import confirmed, depends_on_seed, winner
from search.run_state import RunState
from search.task import FULL

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST_REASON = 100  # characters of the reason of a fallback
USE_THE_SEED = (
    "If it should, let the training use its seed: a function or script reads TRIAL_SEED from its environment, or a script's "
    "command passes seed={seed}. No other seed may be fixed, as that of XGBoost and LightGBM is by default. "
    "Then run under a new name. A training without randomness needs no repetitions: finalists=0."
)
COPIES = "Not confirmed: the repetitions are copies of earlier runs"
NOT_CONFIRMED = f"{COPIES}, so the result does not depend on the seed, and no more of them start. {USE_THE_SEED}"


def accounts(ledger: Ledger, history: History, goal: Goal) -> dict[str, Any]:
    """This file's part of `show --json`. A history of finalists needs all their reports."""
    return {
        "cost": cost(ledger, history),
        "suggestions": suggested(ledger),
        "fallbacks": fallbacks(ledger),
        "tasks": tasks(history),
        "promotions": promotions(ledger, history),
        "turns": turns(ledger),
        "finalists": finalists(history, goal),
        "depends_on_seed": depends_on_seed(history),
        "waited_seconds": round(sum(float(row["text"]) for row in _events(ledger, WAITED)), 3),
        "over": why_over(ledger) or None,
        "out_of_time": out_of_time(ledger, history.count(Status.RUNNING)),
    }


def promotions(ledger: Ledger, history: History) -> dict[str, int]:
    """How often a promotion resumed from its checkpoint, or restarted and was paid in full."""
    if history.tasks:
        return dict(Counter(paid.how for paid in stretches(ledger).values() if paid.is_promotion))
    resumed = ledger.query("SELECT COUNT(*) FROM suggestion WHERE kind = 'resume'")[0][0]
    return {"went on": resumed} if resumed else {}  # nothing restarts without tasks


def fallbacks(ledger: Ledger) -> dict[str, int]:
    """Reason → how often a fallback replaced the searcher's suggestion."""
    reasons = [row["evidence"] for row in ledger.rows("suggestion", f"WHERE origin = '{FALLBACK}' ORDER BY seq")]
    return dict(Counter(reason[:LONGEST_REASON] or "unknown" for reason in reasons).most_common())


def why_over(ledger: Ledger) -> str:
    """Why the search is over; empty if it is not, or if the sweep has changed since."""
    state = RunState()
    for _, table, row in ledger.deciding(("sweep", "search_end")):
        state.add(Over(row["reason"]) if table == "search_end" else Began(row["change"]), None)
    return state.over


def tasks(history: History) -> list[dict[str, Any]]:
    """For every task, the cheapest first: results, its cost as declared and as measured, and its total cost."""
    found, passed = [], 0  # passed: steps of the previous task on the way to the full training
    for task in history.tasks:
        steps = task.steps(history.horizon)
        if task.resumes:
            took = sum(_between(trial.began, trial.step, passed, steps) for trial in history if trial.task == FULL)
            passed = steps
        else:
            took = history.costs.trained(task.name)
        found.append(
            {
                "task": task.name,
                "steps": steps,
                "results": len(history.results(task)),
                "declared": task.cost,
                "cost": round(history.cost_of(task), 4),
                "spent": round(took * history.cost_of(task) / steps, 3),
            }
        )
    return found


def finalists(history: History, goal: Goal) -> list[dict[str, Any]]:
    """Configurations that were trained again, sorted by their first score; all scores with the metric's own sign."""
    best = winner(history)
    return [
        {
            "trial": finalist.trial.number,
            "first": goal.value(finalist.trial.loss),
            "confirmed": [goal.value(loss) if isfinite(loss) else None for loss in finalist.losses],
            "mean": goal.value(finalist.mean) if isfinite(finalist.mean) else None,
            "winner": finalist.trial is best,
        }
        for finalist in confirmed(history)
    ]


@dataclass(frozen=True)
class Paid:
    """The starting point of the training after a suggestion."""

    how: str  # "from the start" | "went on" | "restarted" | "forked"
    step: int = 0  # the step from which it continues
    trial: int | None = None  # the trial from which it was forked

    @property
    def is_promotion(self) -> bool:
        return self.how in ("went on", "restarted")

    def __str__(self) -> str:
        if self.how == "went on":
            return f"went on from step {self.step}"
        if self.how == "forked":
            return f"forked from trial {self.trial} at step {self.step}"
        return "restarted, paid in full" if self.how == "restarted" else self.how


def stretches(ledger: Ledger) -> dict[int, Paid]:
    """`seq` of every suggestion → the starting point of its training, derived from the record."""
    reached: dict[int, int] = {}
    trained: dict[str, set[str]] = {}  # configuration → the tasks on which it was started
    rows = [(row["seq"], False, row) for row in ledger.rows("report")]
    rows += [(row["seq"], True, row) for row in ledger.rows("suggestion")]
    found: dict[int, Paid] = {}
    for seq, is_suggestion, row in sorted(rows, key=lambda item: item[0]):
        if not is_suggestion:
            reached[row["trial"]] = row["step"]
        elif row["kind"] == "resume":
            found[seq] = Paid("went on", reached.get(row["trial"], 0))
        elif row["kind"] == "fork":
            found[seq] = Paid("forked", row["parent_step"] or 0, row["parent"])
        else:
            before = trained.setdefault(key_of(row["config"]), set())
            is_new = not before - {row["task"]} or row["origin"] in (BASELINE, FINALIST)
            found[seq] = Paid("from the start" if is_new else "restarted")
            before.add(row["task"])
    return found


def observations(ledger: Ledger) -> dict[int, tuple[str, Paid]]:
    """`seq` of every report → its task, and the starting point of the training that led to it."""
    paid, latest = stretches(ledger), dict[int, tuple[str, Paid]]()
    rows = [(row["seq"], row["trial"], None) for row in ledger.rows("report")]
    rows += [(row["seq"], row["trial"], row["task"]) for row in ledger.rows("suggestion")]
    found = {}
    for seq, trial, task in sorted(rows, key=lambda item: item[0]):
        if task is not None:
            latest[trial] = (task, paid[seq])
        elif trial in latest:
            found[seq] = latest[trial]
    return found


# For people.


def print_accounts(facts: Mapping[str, Any], console: Console, *, health_follows: bool = False) -> None:
    """This file's part of the summary. `health_follows`: the health checks are printed below, with what to do."""
    if facts["finalists"]:
        console.print("")
        console.print(_finalist_table(facts))
        who = _who_won(facts["finalists"], facts["metric"])
        copied = f"{COPIES}; see Health." if health_follows else NOT_CONFIRMED
        console.print(copied if facts["depends_on_seed"] is False else who, highlight=False, soft_wrap=True)
        console.print("")
    if facts["tasks"]:
        console.print("")
        console.print(_task_table(facts["tasks"]))
        went_on, restarted = (facts["promotions"].get(how, 0) for how in ("went on", "restarted"))
        console.print(
            f"Promotions   {went_on} continued from their checkpoints, {restarted} started over at full cost",
            highlight=False,
        )
    if facts["turns"]:
        console.print(f"Turns        {in_words(facts['turns'])}", highlight=False, soft_wrap=True)
    for reason, count in facts["fallbacks"].items():
        console.print(f"Fallback     {count} × {reason}", highlight=False, markup=False, soft_wrap=True)
    if facts["waited_seconds"] >= 0.05:
        waited, trained = facts["waited_seconds"], facts["cost"]["seconds"]
        console.print(
            f"Waiting      workers waited {waited:.1f} s for decisions, {100 * waited / (waited + trained):.1f} % of worker time",
            highlight=False,
        )
    if facts["over"]:
        console.print(f"Search       over: {facts['over']}", highlight=False, markup=False, soft_wrap=True)
    if facts["out_of_time"]:
        console.print(
            f"Time         {out_of_time_words(facts['out_of_time'])}", highlight=False, markup=False, soft_wrap=True
        )


def _finalist_table(facts: Mapping[str, Any]) -> Table:
    runs = max(len(finalist["confirmed"]) for finalist in facts["finalists"])
    table = _table("finalists", "first score", *[f"fresh seed {run + 1}" for run in range(runs)], "mean of fresh")
    best = "best so far" if _waiting(facts["finalists"]) else "winner"
    for finalist in facts["finalists"]:
        label = f"trial {finalist['trial']}" + (f" ({best})" if finalist["winner"] else "")
        again = [_number(value, "diverged") for value in finalist["confirmed"]]
        again += ["–"] * (runs - len(again))
        table.add_row(label, _number(finalist["first"]), *again, _number(finalist["mean"]))
    return table


def _who_won(found: list[dict[str, Any]], metric: str) -> str:
    first, best = found[0], next((finalist for finalist in found if finalist["winner"]), None)
    if best is None:
        return "A later configuration has a better first score, and has not been trained again."
    if best["mean"] is None:
        return "No fresh run has ended yet; the first score decides for now."
    if waiting := _waiting(found):
        return f"Not decided: {' and '.join(waiting)} {'has' if len(waiting) == 1 else 'have'} no fresh seed yet."
    if best is first:
        return "The winner did not change: the trial with the best first score is the best on fresh seeds, too."
    return (
        f"The winner changed: trial {first['trial']} had the best first score ({metric} {_number(first['first'])}), "
        f"trial {best['trial']} is the best on fresh seeds ({_number(best['mean'])})."
    )


def _waiting(found: list[dict[str, Any]]) -> list[str]:
    """The finalists of which no repetition has ended with a result."""
    return [f"trial {each['trial']}" for each in found if not each["confirmed"]]


def _task_table(found: list[dict[str, Any]]) -> Table:
    table = _table("task", "steps", "results", "cost declared", "measured", "spent")
    for task in found:
        table.add_row(
            task["task"], str(task["steps"]), str(task["results"]), f"{task['declared']:.3g}", f"{task['cost']:.3g}",
            f"{task['spent']:.2f}",
        )  # fmt: skip
    return table


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _number(value: float | None, otherwise: str = "–") -> str:
    return otherwise if value is None else f"{value:.4g}"


def _between(began: int, reached: int, low: int, high: int) -> int:
    """Steps of a training from `began` to `reached` that lie in (low, high]."""
    return max(0, min(reached, high) - max(began, low))


def _events(ledger: Ledger, kind: str) -> list[dict[str, Any]]:
    return ledger.rows("event", f"WHERE kind = '{kind}' ORDER BY seq")
