"""Free the disk of a run and keep its record: delete the checkpoints of all trials but the best, its
repetitions on fresh seeds and the baseline."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.console.plurals import plural
from orchestrator.driving.places import Places
from orchestrator.driving.retention import SMALL
from orchestrator.reading.beginning import listed
from orchestrator.reading.keeping import at_rest
from orchestrator.reading.runs import bytes_in
from orchestrator.reading.scores import fresh_runs, present_baseline
from orchestrator.reading.summary import description
from orchestrator.reading.trial_counts import load_history, stands
from orchestrator.record.encoding import goal_of
from orchestrator.record.ledger import Ledger
from orchestrator.record.storage import storage_errors
from search.records import Status
from search.rules.finalists import winner


@dataclass(frozen=True)
class Spare:
    """What can go."""

    folder: Path
    freed: dict[Path, int]  # folder → its bytes
    trials: tuple[int, ...]  # whose checkpoints are among them
    kept: tuple[str, ...]  # whose checkpoints stay, in words
    unfinished: tuple[int, ...]  # of `trials`, those that the same command would continue
    stopped: int  # of `trials`, those that a searcher or a larger budget may resume

    @property
    def bytes(self) -> int:
        return sum(self.freed.values())

    @property
    def later(self) -> str:
        """What would train again if the sweep were continued; empty if nothing would."""
        told = [listed(list(self.unfinished))] if self.unfinished else []
        if self.stopped:
            told.append(f"each of {plural(self.stopped, 'stopped trial')} that is resumed")
        return f"In a continued sweep, {' and '.join(told)} would train from the first step again." if told else ""


def spare(folder: Path) -> Spare:
    """Checkpoints, and files that only a running sweep needs. The best trial, its repetitions, the baseline and small files of failed trials stay."""
    ledger = Ledger.read(folder)
    try:
        history = load_history(ledger, stands(ledger))
        about = description(ledger)
        best, baseline = winner(history), present_baseline(about, history)
    finally:
        ledger.close()
    kept = {f"the best (trial {best.number})": best.number} if best is not None else {}
    if best is not None:
        again = [run.number for run, _ in fresh_runs(history, best, goal_of(about))]
        kept |= {f"its repetition (trial {number})": number for number in again}
    if baseline is not None:
        kept[f"the baseline (trial {baseline.number})"] = baseline.number
    places, freed, trials = Places(folder), dict[Path, int](), []
    for trial in history:
        place = places.checkpoints(trial.number)
        if trial.number in kept.values() or place.is_symlink() or not place.is_dir():
            continue
        size = bytes_in(place)
        if trial.status is not Status.FAILED or size > SMALL:
            freed[place] = size
            trials.append(trial)
    for rest in (folder / "ray", places.functions):
        if rest.is_dir() and not rest.is_symlink():
            freed[rest] = bytes_in(rest)
    return Spare(
        folder, freed, tuple(trial.number for trial in trials),
        tuple(words for words, number in kept.items() if places.checkpoints(number).is_dir()),
        tuple(trial.number for trial in trials if trial.status is Status.RUNNING),
        sum(trial.status is Status.STOPPED for trial in trials),
    )  # fmt: skip


def prune(found: Spare) -> int:
    """Delete it; returns the bytes that are free now. Raises RunInUse if a driver works on the run, or StorageError.

    After a kill the rest is there, and the next call deletes it. Links are removed and not followed.
    """
    before = bytes_in(found.folder)
    with at_rest(found.folder, "prune"), storage_errors(found.folder):
        for place in found.freed:
            shutil.rmtree(place, ignore_errors=False)
    return before - bytes_in(found.folder)
