"""Which checkpoints stay: those of the best trials, the baseline, trials that may resume, parents of forks, and those of the
winner's repetitions on fresh seeds. Until the finalists have all been trained again, none of their repetitions loses its own."""

from __future__ import annotations

import bisect
import shutil
from collections.abc import Iterable, Set
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

from orchestrator.console.plurals import plural
from orchestrator.driving.places import Places
from orchestrator.sweep import Sweep
from search.history import History, Trial, key_of
from search.records import BASELINE, FINALIST, Status
from search.rules.answers import WrongAnswer
from search.rules.conduct import takes_on_stopped
from search.rules.finalists import confirm, winner
from search.task import FULL

SMALL = 2**24  # bytes: a failed trial keeps its files if they are no larger, whatever other trials do
DONE = (Status.COMPLETED, Status.DIVERGED, Status.FAILED)


class Retention:
    """Deletes checkpoints that are not worth keeping. `running` are the trials that have a worker."""

    def __init__(self, sweep: Sweep, history: History, places: Places, running: Set[int]) -> None:
        self._searcher = sweep.searcher
        self._history = history
        self._places = places
        self._running = running
        self.leaving: set[int] = set()  # trials that are over, but whose workers have not finished yet
        self._resumes = takes_on_stopped(sweep.searcher, sweep.scheduler, replace(sweep.rules, finalists=0))
        self._finalists, self._confirmations = sweep.rules.finalists, sweep.rules.confirmations
        self._replaced = {trial.replaces for trial in history if trial.replaces is not None}
        self._keep = max(sweep.keep_checkpoints, sweep.finalist_count)
        kept = sorted((trial.loss, trial.number) for trial in history.having(Status.COMPLETED) if _counts(trial))
        self._kept = kept[: self._keep]  # completed trials whose checkpoints stay

    @property
    def best(self) -> Trial | None:
        """The best completed trial, found without a scan of all trials."""
        return self._history.trials[self._kept[0][1]] if self._kept else None

    def keeps(self, number: int) -> bool:
        """Whether this trial's checkpoint is worth keeping: the trial may resume, is the baseline or among the best."""
        trial = self._history.trials[number]
        if trial.status is Status.RUNNING or trial.first_origin == BASELINE or number in self._history.run.to_retry:
            return True
        if trial.status is Status.FAILED:  # the user may ask for another try
            return trial in self._history.having(Status.FAILED)[::-1][: self._keep]
        if trial.status is Status.STOPPED:  # the only kind of result until a trial is completed
            unpaid = number in self._history.run.unpaid  # it goes on once the budget is raised
            return number not in self._replaced and (unpaid or self._may_resume)
        if trial.status is Status.COMPLETED and trial.first_origin == FINALIST:
            return self._may_be_the_winners(trial)
        return trial.status is Status.COMPLETED and _counts(trial) and (trial.loss, number) in self._kept

    def _may_be_the_winners(self, trial: Trial) -> bool:
        """Whether this repetition is one of the winner's configuration, or the winner is not known yet."""
        history = self._history
        if history.having(Status.RUNNING) or confirm(history, self._finalists, self._confirmations) is not None:
            return True
        best = winner(history)
        return best is not None and key_of(best.config) == key_of(trial.config)

    @property
    def _may_resume(self) -> bool:
        """Whether stopped trials may go on: by the search, or as finalists while it has completed nothing of its own."""
        of_search = any(self._history.trials[number].first_origin != BASELINE for _, number in self._kept)
        return self._resumes or not self._kept or (self._finalists > 0 and not of_search)

    def pinned(self, number: int) -> tuple[int, ...]:
        """The steps of this trial from which others fork, or may fork: its worker must not delete their checkpoints.

        While the trial trains, only the step at which it will pause is added.
        """
        forkable = {step for parent, step in self._forkable() if parent == number}
        forking = {trial.began for trial in self._history.having(Status.RUNNING) if trial.parent == number}
        return tuple(sorted(forkable | forking))

    def _forkable(self) -> set[tuple[int, int]]:
        """The checkpoints from which the searcher may still fork. Raises WrongAnswer for all but pairs of whole numbers."""
        answer: object = self._searcher.forkable(self._history)
        pairs: Any = list(answer) if isinstance(answer, Iterable) else answer
        try:
            return {(index(trial), index(step)) for trial, step in pairs}
        except (TypeError, ValueError):
            raise WrongAnswer(
                self._searcher, "forkable", f"returned {pairs!r:.100}; return pairs (trial, step) of whole numbers"
            ) from None

    def begin(self, trial: Trial) -> None:
        """`trial` is going to be trained."""
        if trial.replaces is not None:
            self._replaced.add(trial.replaces)

    def end(self, trial: Trial) -> None:
        """`trial` has ended or paused: keep the checkpoints of the best, drop those of trials no longer among them."""
        if trial.status in DONE:
            self._drop(*self._outdone_by(trial))
        elif not self._may_resume:
            self._drop(trial)
        elif self._replaced:
            self._drop(*(self._history.trials[number] for number in self._replaced))

    def let_go(self, trial: Trial, *, is_held: bool, done: bool) -> None:
        """The trial is over. `done`: its worker has finished too; if not, a script may still be writing files."""
        if is_held and not done:
            self.leaving.add(trial.number)
        if done:
            self.leaving.discard(trial.number)
            self._drop(trial)

    def outnumbered(self) -> str:
        """That checkpoints will be deleted because fewer may stay than before, for the user; empty if none will."""
        completed = [trial for trial in self._history.having(Status.COMPLETED) if not self.keeps(trial.number)]
        count = sum(self._places.checkpoints(trial.number).is_dir() for trial in completed)
        if not count:
            return ""
        return (
            f"keep_checkpoints={self._keep}: the checkpoints of {plural(count, 'completed trial')} that {'is' if count == 1 else 'are'} not "
            f"among the best {self._keep} will be deleted"
        )

    def close(self) -> None:
        """Drop the checkpoints that arrived late, and what only a running sweep needs."""
        shutil.rmtree(self._places.functions, ignore_errors=True)
        self.leaving.clear()
        self._drop(*(trial for trial in self._history if trial.status is not Status.RUNNING))

    def _outdone_by(self, trial: Trial) -> list[Trial]:
        gone = [trial]
        if trial.status is Status.FAILED:
            gone += self._history.having(Status.FAILED)[::-1][self._keep : self._keep + 1]
        if trial.status is Status.COMPLETED and _counts(trial):
            might_resume = self._may_resume
            bisect.insort(self._kept, (trial.loss, trial.number))
            if might_resume and not self._may_resume:
                gone += self._history.having(Status.STOPPED)
            if len(self._kept) > self._keep:
                gone.append(self._history.trials[self._kept.pop()[1]])
        return gone

    def _drop(self, *trials: Trial) -> None:
        """Delete checkpoints that are not worth keeping, unless a fork starts there, or still may.

        A trial's folder and its log stay. Every failed trial also keeps its small files, which may show the reason.
        """
        needed = {other.parent for other in self._history.having(Status.RUNNING)}
        needed |= {number for number, _ in self._forkable()}
        for trial in trials:
            if trial.number in needed | self._running | self.leaving or self.keeps(trial.number):
                continue
            folder = self._places.checkpoints(trial.number)
            if trial.status is not Status.FAILED or _size(folder) > SMALL:
                shutil.rmtree(folder, ignore_errors=True)


def _counts(trial: Trial) -> bool:
    """Whether a completed trial is a candidate for the best: a full training that is not a finalist's repetition."""
    return trial.task == FULL and trial.first_origin != FINALIST


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
