"""The reports of trials by step: the rungs at which schedulers and searchers compare them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.history import Trial


class Curves:
    """Losses of all trials by step; the history updates them."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials
        self._early: dict[int, Trial] = {}  # trials that ended by themselves
        self._at: dict[int, dict[int, float]] = {}
        self._reached: dict[int, dict[int, float]] = {}  # cached for the steps asked for

    def add(self, trial: Trial, step: int, loss: float) -> None:
        """Add the loss of `trial` at `step`, before the trial itself records it."""
        before = trial.step or trial.began
        for asked, rung in self._reached.items():
            if before < asked <= step:
                rung[trial.number] = loss
        self._at.setdefault(step, {})[trial.number] = loss

    def end_early(self, trial: Trial) -> None:
        """Record that `trial` ended by itself before the end of its task: its last loss holds up to there."""
        self._early[trial.number] = trial
        self._reached.clear()

    def go_on(self, trial: Trial) -> None:
        """Record that a trial that ended by itself is resumed."""
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
        """Trial number → last loss, for trials that ended by themselves before `step`."""
        early = (trial for trial in self._early.values() if trial.steps and trial.began < step)
        return {trial.number: trial.loss for trial in early if trial.step < step <= trial.whole}
