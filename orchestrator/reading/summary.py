"""The summary of a run as plain data, and the places of its logs and checkpoints.

Reads only the ledger: needs neither Ray nor torch, and works while the sweep runs and on other people's runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.console.plurals import plural
from orchestrator.driving.places import Places
from orchestrator.reading.ahead import ahead
from orchestrator.reading.forecasts import foreseen, foreseen_words
from orchestrator.reading.gain import gain_by_history, gain_by_stands
from orchestrator.reading.out_of_time import out_of_time
from orchestrator.reading.own_files import scripts_own, step_of
from orchestrator.reading.scores import first_score, fresh_runs, outside, present_baseline, scores, unfair, untrained
from orchestrator.reading.spending import accounts
from orchestrator.reading.state import state, state_words, waiting
from orchestrator.reading.trial_counts import Cause, Stand, causes, load_history, retried, stands
from orchestrator.reading.untried import untried
from orchestrator.record.encoding import goal_of
from orchestrator.record.ledger import Ledger
from search.history import History, Trial
from search.records import FINALIST, FOUND, Config, Goal, Status, found_in
from search.rules.finalists import winner
from search.work import PASSED

LAST = 2**62  # beyond every `seq`
EMPTY_BYTES = 1000  # a checkpoint without a state has a smaller file


def summary(ledger: Ledger) -> dict[str, Any]:
    """The object that `show --json` prints."""
    with ledger.snapshot():
        about, word = description(ledger), state(ledger)
        found = stands(ledger)
        history = load_history(ledger, found)
        best = winner(history)
        baseline = present_baseline(about, history)
        value = None if best is None else scores(history, best, goal_of(about))["value"]
        return {
            "name": about["name"],
            "state": word,
            "metric": about["metric"],
            "mode": about["mode"],
            "trials": {status.value: history.count(status) for status in Status},
            "best": _about(ledger, history, best),
            "baseline": _about(ledger, history, baseline),
            "unfair": unfair(best, baseline, history.horizon) or untrained(about, baseline),  # why no gain is told
            "untried": untried(about, history, best, baseline),  # though the baseline is the best
            "outside": outside(about, best),  # of the present space
            "ahead": ahead(ledger, found, None if best is None else best.number, value, word),
            "cost": {},  # its place; the accounts fill it
            "resumes": _resumes(ledger, [seq for (seq,) in ledger.query("SELECT seq FROM sweep ORDER BY seq")]),
            "failures": [_failure(ledger, cause) for cause in causes(found)],
            "retried": retried(ledger),
            **accounts(ledger, history, goal_of(about)),
            "forecast": foreseen(ledger),
        }


def no_result(facts: Mapping[str, Any]) -> str:
    """Why no trial is the best, for a `summary` without one."""
    what, diverged = "full training" if facts["tasks"] else "trial", facts["trials"][Status.DIVERGED.value]
    if diverged:
        return f"no {what} has a finite {facts['metric']}: {plural(diverged, 'trial')} diverged"
    return f"no {what} has reported yet"


def _resumes(ledger: Ledger, begun: list[int]) -> int:
    """How many invocations after the first did something. `begun`: `seq` of each invocation's record."""
    resumed = 0
    for start, end in pairwise([*begun[1:], LAST]):
        between = " UNION ALL ".join(
            f"SELECT 1 FROM {table} WHERE seq > :start AND seq < :end"
            for table in ("suggestion", "report", "ending", "test")
        )
        resumed += bool(ledger.query(f"{between} LIMIT 1", start=start, end=end))
    return resumed


def glance(ledger: Ledger) -> dict[str, Any]:
    """The data for `status` and `list`, fast on a long record too: state, trials by status, best, cost, failures."""
    with ledger.snapshot():
        about, word = description(ledger), state(ledger)
        found = stands(ledger)
        goal = goal_of(about)
        if about.get("tasks") or any(stand.origin == FINALIST for stand in found):
            history = load_history(ledger, found)
            best, spent = winner(history), history.spent
            shown = None if best is None else {"trial": best.number, **scores(history, best, goal)}
            gain = gain_by_history(about, history, best, goal)
        else:
            spent = sum(stand.step - stand.began for stand in found if stand.step) / about["horizon"]
            incumbent = _incumbent(found, goal)
            shown = None if incumbent is None else {"trial": incumbent.trial, **first_score(incumbent.loss(goal), goal)}
            gain = gain_by_stands(ledger, about, found, incumbent, goal)
        counts = Counter(stand.status for stand in found)
        return {
            "state": state_words(ledger, word),
            "metric": about["metric"],
            "trials": {status.value: counts[status.value] for status in Status if counts[status.value]},
            "best": shown,
            "gain": gain,
            "ahead": None if shown is None else ahead(ledger, found, shown["trial"], shown["value"], word),
            "mode": about["mode"],
            "spent": spent,
            "budget": about.get("budget"),
            "failures": [_failure(ledger, cause) for cause in causes(found)],
            "retried": retried(ledger),
            "left": foreseen_words(ledger),
            "waiting": waiting(ledger),
            "out_of_time": out_of_time(ledger, counts[Status.RUNNING.value]),
        }


def _incumbent(found: list[Stand], goal: Goal) -> Stand | None:
    """Like `search.history.incumbent`, for a run without tasks and finalists."""
    candidates = [stand for stand in found if stand.status == Status.COMPLETED.value and stand.step]
    if not candidates:
        finite = [stand for stand in found if stand.step and isfinite(stand.loss(goal))]
        furthest = max((stand.step for stand in finite), default=0)
        candidates = [stand for stand in finite if stand.step == furthest]
    return min(candidates, key=lambda stand: (stand.loss(goal), stand.trial), default=None)


def _failure(ledger: Ledger, cause: Cause) -> dict[str, Any]:
    log = trial_log(ledger.folder, cause.trial)
    return cause._asdict() | {"log": str(log) if log.exists() else None}


def trial_log(folder: Path, trial: int) -> Path:
    """The file that holds a trial's output."""
    return Places(folder).trial(trial) / "log.txt"


def description(ledger: Ledger) -> dict[str, Any]:
    description: dict[str, Any] = ledger.sweep()["description"]
    return description


def _about(ledger: Ledger, history: History, trial: Trial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    tests = ledger.rows("test", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    last = ledger.rows("report", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    found = found_in(last[0]["metrics"], trial.config) if last else {}
    checkpoint = _checkpoint(ledger, trial)
    return {
        "trial": trial.number,
        "config": dict(trial.config),
        "found": found,
        "turned": _turned(ledger, trial.config, trial.number, found),
        "forked": None if trial.parent is None else {"from": trial.parent, "at": trial.began},
        **scores(history, trial, goal_of(description(ledger))),
        "task": trial.task,
        "step": trial.step,
        "status": trial.status.value,
        "checkpoint": checkpoint,
        "other_step": _other_step(ledger, trial),  # than that of the value, if the checkpoint is of one
        "fresh": [
            {"trial": run.number, "value": value, "checkpoint": _checkpoint(ledger, run)}
            for run, value in fresh_runs(history, trial, goal_of(description(ledger)))
        ],
        "no_checkpoint": "" if checkpoint is not None else _why_no_checkpoint(ledger, trial.number),
        "test": tests[0]["metrics"] if tests else None,
    }


def _checkpoint(ledger: Ledger, trial: Trial) -> str | None:
    """The path of a trial's last checkpoint, its own or one that its script reported; None without one."""
    reported = scripts_own(ledger.folder, trial.number, trial.step)[1]
    found = newest_checkpoint(ledger, trial.number) or (reported and Path(reported).absolute())
    return None if found is None else str(found)


def _other_step(ledger: Ledger, trial: Trial) -> str:
    """That a script's checkpoint is, or may be, of another step than the score, in one clause; else empty."""
    own, found = scripts_own(ledger.folder, trial.number, trial.step)
    step = None if own is None or found is None else step_of(Path(own), Path(found))
    if step is not None:
        return f"of step {step}; the score is of step {trial.step}" if step != trial.step else ""
    if found is not None and trial.reason.endswith(PASSED):
        return f"perhaps of a step beyond the horizon; the score is of step {trial.step}"
    return ""


def _why_no_checkpoint(ledger: Ledger, trial: int) -> str:
    """Why a trial has no checkpoint though it should; empty if its training keeps none."""
    told = ledger.rows("event", "WHERE trial = :trial AND kind = 'notice' ORDER BY seq DESC", trial=trial)
    if found := next(
        (row["text"] for row in told if re.search(r"\bno checkpoint (?:on leaving|at step)", row["text"])), ""
    ):
        return str(found)
    saved = ledger.rows("checkpoint", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial)
    try:
        if saved:
            (ledger.folder / saved[0]["path"]).stat()
    except OSError as error:
        what = "may not be read" if isinstance(error, PermissionError) else "is gone"
        return f"that of step {saved[0]['step']} {what} ({saved[0]['path']})"
    return ""


def fork_words(best: dict[str, Any], folder: Path) -> str:
    """Of a trial that took over another one's state, that its configuration holds for its last steps only; else empty."""
    if (fork := best["forked"]) is None:
        return ""
    return (
        f"These values hold after step {fork['at']}: up to it, the training is that of trial {fork['from']}, with other values. "
        f"`{orchestrator_line('export', folder, '--schedule')}` has them all."
    )


def _turned(ledger: Ledger, config: Config, number: int, found: Mapping[str, float]) -> dict[str, float]:
    """Knob → its last value, for each that a policy changed in the training; without those that the training `found`."""
    rows = ledger.rows("decision", "WHERE trial = :trial AND position IS NOT NULL ORDER BY seq", trial=number)
    return {
        knob: rows[-1]["after"][knob]
        for knob in (rows[-1]["before"] if rows else ())
        if any(row["before"].get(knob) != row["after"].get(knob) for row in rows)
        and not found.keys() & found_in({f"{FOUND}{knob}": 0.0}, config).keys()
    }


def turned_words(best: dict[str, Any], folder: Path) -> str:
    """Of a trial whose policy changed knobs, which, and where each change is; else empty."""
    if not best["turned"]:
        return ""
    changed = [f"the {knob.replace('_', ' ')} (at the end {value:.4g})" for knob, value in best["turned"].items()]
    where = "" if best["forked"] else f" `{orchestrator_line('export', folder, '--schedule')}` has each change."
    return f"This is the configuration; in the training, the policy changed {', '.join(changed)}.{where}"


def newest_checkpoint(ledger: Ledger, trial: int) -> Path | None:
    """The last checkpoint of a trial that exists, matches the record and holds a state."""
    for row in ledger.rows("checkpoint", "WHERE trial = :trial ORDER BY seq DESC", trial=trial):
        path: Path = ledger.folder / row["path"]
        with contextlib.suppress(OSError):  # deleted since, or of another kind, without a manifest
            if hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest() == row["sha256"]:
                return None if _is_empty(path) else path.absolute()
    return None


def _is_empty(checkpoint: Path) -> bool:
    """Whether a generator yielded no state for it, or none that can be saved: it only marks the step."""
    file = checkpoint / "state.json"
    if not file.is_file() or file.stat().st_size > EMPTY_BYTES:
        return False
    with contextlib.suppress(ValueError, AttributeError):  # damaged
        return json.loads(file.read_bytes()).get("state", file) is None
    return False
