"""The cost of a step of a task, as a share of a full training: declared, and learned from measured seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.task import FULL, Task, named

if TYPE_CHECKING:
    from search.history import Trial

HELD_UP = 20.0  # times the median seconds per step: a slower step is a stall, not a property of the configuration
LEARNING = 1.0  # trainings of a task, and full ones, after which the measured cost weighs as much as the declared one


class Costs:
    """The training done on each task, and the cost of its steps; the history updates it."""

    def __init__(self, horizon: int, tasks: Sequence[Task], trials: Sequence[Trial]) -> None:
        self.horizon = horizon
        self.tasks = tasks
        self.trials = trials
        self._trained: dict[str, int] = {}  # task → steps trained on it
        self._rates: tuple[int, dict[str, float]] = (-1, {})  # length of the history; task → share of a full training
        self._full = (-1, 0.0)  # length of the history; seconds of a full training

    def add(self, task: str, steps: int) -> None:
        """Record that `steps` more steps were trained on `task`."""
        self._trained[task] = self._trained.get(task, 0) + steps

    def trained(self, task: str = FULL) -> int:
        """The number of steps trained on this task."""
        return self._trained.get(task, 0)

    def each(self) -> list[tuple[str, int]]:
        """Every trained task with its steps, sorted by name."""
        return sorted(self._trained.items())

    def rate(self, name: str, length: int) -> float:
        """The share of a full training that one step of this task costs; `length` is the history's."""
        if self._rates[0] != length:
            self._rates = (length, {})
        rates = self._rates[1]
        if name not in rates:
            known = named(self.tasks, name)
            if known is None or known.name == FULL or known.resumes:
                rates[name] = 1 / self.horizon
            else:
                rates[name] = self._learned(known) / known.steps(self.horizon)
        return rates[name]

    def seconds_of_full(self, length: int) -> float:
        """The mean seconds of a full training over the trials of all tasks; `length` is the history's."""
        if self._full[0] != length:
            done = [trial for trial in self.trials if trial.step > trial.began]
            shares = [(trial.step - trial.began) * self.rate(trial.task, length) for trial in done]
            self._full = (length, _mean_rate([(t.cost_seconds, share) for t, share in zip(done, shares, strict=True)]))
        return self._full[1]

    def _learned(self, task: Task) -> float:
        """The cost of a training of `task`: the declared and the measured one, averaged on a log scale."""
        cheap, full = self._seconds_a_step(task.name), self._seconds_a_step(FULL)
        if not (cheap > 0 and full > 0):
            return task.cost
        measured = cheap * task.steps(self.horizon) / (full * self.horizon)
        evidence = min(self.trained(task.name) / task.steps(self.horizon), self.trained() / self.horizon)
        weight = evidence / (evidence + LEARNING)
        return float(task.cost ** (1 - weight) * measured**weight)

    def _seconds_a_step(self, task: str) -> float:
        """Mean seconds per step of the task, independent of the order of the reports; 0 without measurements.

        Trials that stalled (a suspended laptop, a stopped process) say nothing about the task and do not count.
        """
        ours = [trial for trial in self.trials if trial.task == task and trial.steps]
        return _mean_rate([(trial.cost_seconds, trial.step - trial.began) for trial in ours])


def _mean_rate(measured: Sequence[tuple[float, float]]) -> float:
    """Σ seconds / Σ amount, without the trials that stalled; 0 without measurements."""
    rates = sorted(seconds / amount for seconds, amount in measured)
    if not rates:
        return 0.0
    likely = HELD_UP * rates[len(rates) // 2]
    counted = [(seconds, amount) for seconds, amount in measured if seconds / amount <= likely]
    return math.fsum(seconds for seconds, _ in counted) / sum(amount for _, amount in counted)
