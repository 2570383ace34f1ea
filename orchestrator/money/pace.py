"""How fast trials train, and what a start takes: a worker imports, compiles and reads the data before it trains.

The start shows before the first step (`Used` of the kind "start") and in the first step, where it exceeds the later
ones. It is paid once for each training, so it says nothing of the steps to come.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from orchestrator.money.first_steps import SLOW
from search.history import History, Trial
from search.records import Status


class Pace:
    """Seconds of a full training at each trial's own speed, and of a start to come.

    `share`: what a trial has trained, in full trainings. `workers`: so many starts were those of new processes, which
    take longer than all later ones; 0 if each trial starts a process of its own, so that all starts are alike.
    """

    def __init__(self, history: History, share: Callable[[Trial], float], workers: int) -> None:
        self._share = share
        timed = [trial for trial in history if trial.step > trial.began and trial.cost_seconds > 0]
        later = {trial.number: rate for trial in timed if (rate := self._later(trial)) > 0}
        self._usual = statistics.median(later.values()) if later else 0.0
        excess = {trial.number: self._beyond(trial, later[trial.number]) for trial in timed if trial.number in later}
        self._most = statistics.median(excess.values()) if excess else 0.0
        for trial in timed:
            if trial.number not in later and self._usual:
                excess[trial.number] = min(self._most, self._beyond(trial, self._usual))
        self.of_trial = {
            trial.number: (trial.cost_seconds - excess.get(trial.number, 0.0)) / share(trial) for trial in timed
        }
        time = history.device_time
        trained = time.reported - sum(excess.values())
        self.beside = (time.beside - time.starting) / trained if trained > 0 else 0.0  # a second of training
        self.start = _usual_of(time.starts, workers) + _usual_of([excess[number] for number in sorted(later)], workers)
        self.is_known = any(trial.number in later or trial.status is not Status.RUNNING for trial in timed)

    def _later(self, trial: Trial) -> float:
        """Seconds of a full training by the steps after the first report; 0 if there are none."""
        share = self._share(trial) - self._first_share(trial)
        return (trial.cost_seconds - trial.first_seconds) / share if share > 0 else 0.0

    def _beyond(self, trial: Trial, rate: float) -> float:
        """Seconds by which the first report's steps exceed what they take at this rate; only where they are slow."""
        likely = rate * self._first_share(trial)
        return trial.first_seconds - likely if trial.first_seconds > SLOW * likely else 0.0

    def _first_share(self, trial: Trial) -> float:
        return self._share(trial) * (trial.steps[0] - trial.began) / (trial.step - trial.began)


def _usual_of(seconds: Sequence[float], workers: int) -> float:
    """The median of starts that were not the first of a process; 0 before there is one."""
    return statistics.median(seconds[workers:]) if len(seconds) > workers else 0.0
