"""What trials have reported, by step: the rungs that schedulers and searchers compare at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.history import Trial


class Curves:
    """Losses of all trials by step; grown by the history."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials
        self._early: dict[int, Trial] = {}  # completed by an end of their own
        self._at: dict[int, dict[int, float]] = {}
        self._reached: dict[int, dict[int, float]] = {}  # for the steps that were asked for

    def add(self, trial: Trial, step: int, loss: float) -> None:
        """`trial` is about to report `step`."""
        before = trial.step or trial.began
        for asked, rung in self._reached.items():
            if before < asked <= step:
                rung[trial.number] = loss
        self._at.setdefault(step, {})[trial.number] = loss

    def end_early(self, trial: Trial) -> None:
        """`trial` ended by itself before the end of its task: its last loss holds up to there."""
        self._early[trial.number] = trial
        self._reached.clear()

    def go_on(self, trial: Trial) -> None:
        """… and is taken on after all."""
        del self._early[trial.number]
        self._reached.clear()

    def at(self, step: int) -> Mapping[int, float]:
        return self._at.get(step, {}) | self._held(step) if self._early else self._at.get(step, {})

    def reached(self, step: int) -> Mapping[int, float]:
        if step not in self._reached:
            rung = self._reached[step] = {}
            for trial in self.trials:
                index = bisect_left(trial.steps, step)
                if trial.began < step and index < len(trial.steps):
                    rung[trial.number] = trial.losses[index]
            rung |= self._held(step)
        return self._reached[step]

    def _held(self, step: int) -> dict[int, float]:
        """Trial number → last loss, of those that ended by themselves before `step`."""
        early = (trial for trial in self._early.values() if trial.steps and trial.began < step)
        return {trial.number: trial.loss for trial in early if trial.step < step <= trial.whole}
