"""A trial that was ahead of the best one where the search left it: its scheduler never trained it to the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.reading.own_files import scripts_own
from orchestrator.reading.trained_on import train_on
from orchestrator.reading.trial_counts import Stand
from orchestrator.record.encoding import goal_of, number
from orchestrator.record.ledger import Ledger
from search.records import FINALIST, Goal, Status
from search.task import FULL


def ahead(
    ledger: Ledger, found: Iterable[Stand], best: int | None, value: float | None, state: str
) -> dict[str, Any] | None:
    """The trial that was ahead, its step and value, and the command that trains it on (None without a checkpoint); None if
    no trial was, or if the run is going on or to be continued. `found`: all trials; `value`: the score of the best one as
    it is told, the mean of its fresh seeds if there are any; `state`: of the run.
    """
    if best is None or value is None or state in ("running", "interrupted", "out of time"):
        return None
    about = ledger.sweep()["description"]
    goal, horizon = goal_of(about), about["horizon"]
    rows = ledger.rows("report", "WHERE trial = :trial ORDER BY step", trial=best)
    curve = {row["step"]: goal.loss(number(row["value"], row["kind"])) for row in rows}
    leader = _leader(curve, goal.loss(value), found, goal)
    if leader is None:
        return None
    return {
        "trial": leader.trial,
        "step": leader.step,
        "value": leader.value,
        "train_on": train_on(ledger, leader.trial, horizon) if _can_go_on(ledger, leader.trial) else None,
    }


def ahead_words(leader: Mapping[str, Any], metric: str, mode: str) -> str:
    """For people.

    >>> ahead_words({"trial": 7, "step": 9, "value": 0.25, "train_on": None}, "loss", "min")
    'trial 7 had a lower loss, 0.25 at step 9, but was not trained further'
    """
    way = "lower" if mode == "min" else "higher"
    on = f". To train it on: {leader['train_on']}" if leader["train_on"] else ""
    return (
        f"trial {leader['trial']} had a {way} {metric}, {leader['value']:.4g} at step {leader['step']}, but was not trained "
        f"further{on}"
    )


def _leader(curve: Mapping[int, float], score: float, found: Iterable[Stand], goal: Goal) -> Stand | None:
    """The stopped trial with the lowest loss that is below the `score` of the best trial, whose losses are `curve`, and
    below its loss at the same step: a curve that rises later is no reason to regret the other."""
    if not curve:
        return None
    resting = [stand for stand in found if stand.status == Status.STOPPED.value and stand.task == FULL and stand.step]
    lower = [stand for stand in resting if isfinite(stand.loss(goal)) and stand.loss(goal) < score]
    for stand in sorted(lower, key=lambda stand: (stand.loss(goal), stand.trial)):
        then = max((step for step in curve if step <= stand.step), default=None)
        if stand.origin != FINALIST and (then is None or stand.loss(goal) < curve[then]):
            return stand
    return None


def _can_go_on(ledger: Ledger, trial: int) -> bool:
    """Whether a checkpoint of the trial is there: ours, or files of its script."""
    rows = ledger.rows("checkpoint", "WHERE trial = :trial", trial=trial)
    folders = [Path(ledger.folder, row["path"]) for row in rows]
    own = scripts_own(ledger.folder, trial)[1]
    return own is not None or any((folder / "manifest.json").is_file() for folder in folders)
