"""Trials share checkpoints, so that the result of one may be the training of another."""

from __future__ import annotations

from orchestrator.console.plurals import plural
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.reading.shared import REMEDY, shared_files

MOST_NAMED = 10  # trials


def shared(run: Recorded) -> list[Finding]:
    """A finding if two trials write the same checkpoints, or a training went on from one that is not its own."""
    found = shared_files(run.rows["event"], run.rows["ending"])
    if not found:
        return []
    overwritten = "What one saves, another overwrites, so a saved model may be another trial's." if found.files else ""
    failed = f"Failed for it: {plural(len(found.failed), 'trial')}." if found.failed else ""
    return [
        Finding(
            "shared",
            found.sentence,
            " ".join(filter(None, (overwritten, _doubtful(run, found.trials), failed))),
            REMEDY,
            "serious",
        )
    ]


def _doubtful(run: Recorded, skipped: tuple[int, ...]) -> str:
    """Which results may be another trial's: those of trials that skipped steps, else of those that were interrupted."""
    epochs: dict[int, set[int]] = {}
    for row in run.rows["report"]:
        epochs.setdefault(row["trial"], set()).add(row["epoch"])
    trials = sorted(set(skipped) or {trial for trial, each in epochs.items() if len(each) > 1})
    if not trials:
        return ""
    best = ", the best among them" if run.best is not None and run.best.number in trials else ""
    how = "went on with a step that does not follow its own" if skipped else "went on after an interruption"
    named = ", ".join(map(str, trials[:MOST_NAMED])) + (", …" if len(trials) > MOST_NAMED else "")
    return f"{plural(len(trials), 'trial')} ({named}) {how}{best}."
