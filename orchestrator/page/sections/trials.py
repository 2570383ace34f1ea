"""All trials in one table, the best first."""

from __future__ import annotations

import math

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.page.charts import Section, Table
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import number, place, setting
from orchestrator.reading.trial_counts import status_words
from search.history import Trial

WORDS = 60  # characters of a reason


def section(run: Recorded) -> Section | None:
    """None before the first trial."""
    trials = sorted(run.history, key=_rank)
    if not trials:
        return None
    names = list(dict.fromkeys(name for trial in trials for name in trial.config))
    columns = ("trial", *names, run.metric, "step", "seconds", "status", "origin")
    rows = [
        [
            str(trial.number), *(setting(trial.config.get(name, "–")) for name in names),
            number(run.value(trial.loss)) if math.isfinite(trial.loss) else "–", f"{trial.step}", _seconds(trial),
            _status(trial, run.state), trial.first_origin,
        ]
        for trial in trials
    ]  # fmt: skip
    line = orchestrator_line("export", place(run.folder), "--trials", "--output", "trials.csv")
    note = f"For a spreadsheet, with the reasons in full: {line}"
    table = Table(
        "All trials, the best first", columns, rows, (*names, run.metric, "step", "seconds"), note, folded=True
    )
    return Section("trials", "Trials", figures=[table])


def _rank(trial: Trial) -> tuple[bool, bool, float, int]:
    """Those trained to the end come first, then those with a value, each by value."""
    is_finite = math.isfinite(trial.loss)
    return (trial.status.value != "completed", not is_finite, trial.loss if is_finite else 0.0, trial.number)


def _seconds(trial: Trial) -> str:
    return "<0.001" if 0 < trial.cost_seconds < 0.001 else f"{trial.cost_seconds:.3g}"


def _status(trial: Trial, state: str) -> str:
    reason = trial.reason.partition("\n")[0] if trial.broke else ""
    cut = reason if len(reason) <= WORDS else f"{reason[: WORDS - 1]}…"
    words = status_words(trial.status.value, state)
    return f"{words}: {cut}" if cut else words
