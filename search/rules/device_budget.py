"""A budget of device time or of money: what is spent, what the running trials will still spend, and when to stop.

Something new starts only if the budget also covers it to its end, beside what the running trials still need and the
finalists' part. These are estimates, and workers die; so the budget is a hard stop too: once it is spent, every running
trial ends at its next report, and resumes if the budget is raised. The budget is thus exceeded by at most one report
interval of each running trial.

Estimates: a trial that has reported goes on at its own speed, all others take the mean seconds of a full training; both
grow by the share of device time that no report counts so far (starts, lost work). Nothing is known before the first
report, and then everything may start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.history import History, Trial
from search.records import End, Status, Suggestion, resume
from search.run_state import OUT_OF_BUDGET

NEARLY = 1e-9  # relative tolerance, because sums of seconds are not exact


@dataclass(frozen=True)
class DeviceBudget:
    """A limit on the time for which trials hold devices, in dollars, GPU-hours or CPU-hours."""

    amount: float
    words: str  # for people: "$200"
    rate: Callable[[str], float | None]  # device → what a second of it costs; None: not known, and counted as nothing

    def spent(self, history: History) -> float:
        """What the devices have cost so far: recorded steps, starts, lost work, tests."""
        used = history.device_time.by_device
        return sum((self.rate(device) or 0.0) * used[device] for device in sorted(used))

    def unknown(self, history: History) -> str:
        """A device that was used and whose cost is not known; empty if there is none."""
        return next((device for device in history.device_time.by_device if self.rate(device) is None), "")

    def committed(self, history: History) -> float:
        """What the running trials will still cost until they come to rest."""
        return sum(self._remaining(trial, history) for trial in history.having(Status.RUNNING))

    def of_full_trainings(self, count: float, history: History) -> float:
        """What so many full trainings cost, on the device that was used last; 0 before the first report."""
        return count * self._of(history.costs.seconds_of_full(len(history)), history.device_time.latest, history)

    def cost_of(self, suggestion: Suggestion, history: History) -> float:
        """What the training that it suggests will cost; 0 before the first report."""
        whole = history.steps(suggestion.task)
        steps = min(suggestion.until or whole, whole)
        if suggestion.kind == "resume" and suggestion.trial is not None:
            trial = history.trials[suggestion.trial]
            return self._to(trial, steps, history)
        return self.of_full_trainings(
            max(0, steps - (suggestion.parent_step or 0)) * history.costs.rate(suggestion.task, len(history)), history
        )

    def is_spent(self, history: History) -> bool:
        return self.spent(history) >= self.amount * (1 - NEARLY)

    def covers(self, suggestion: Suggestion, history: History, reserved: float) -> bool:
        """Whether `suggestion` can be trained to its end; `reserved`: full trainings that must stay possible."""
        needed = self.committed(history) + self.cost_of(suggestion, history) + self.of_full_trainings(reserved, history)
        return not self.is_spent(history) and self.spent(history) + needed <= self.amount * (1 + NEARLY)

    def end(self, trial: Trial, history: History) -> End | None:
        """The end of a running trial once the budget is spent; None before."""
        if trial.status is not Status.RUNNING or not self.is_spent(history):
            return None
        return End(trial.number, Status.STOPPED, f"{OUT_OF_BUDGET}{self.words} is spent, at step {trial.step}")

    def _remaining(self, trial: Trial, history: History) -> float:
        return self._to(trial, history.goal(trial), history)

    def _to(self, trial: Trial, step: int, history: History) -> float:
        """The cost of training `trial` on to `step`."""
        rate = history.costs.rate(trial.task, len(history))
        steps = trial.step - trial.began
        own = trial.cost_seconds / (steps * rate) if steps > 0 else history.costs.seconds_of_full(len(history))
        left = max(0, step - max(trial.step, trial.began)) * rate
        return left * self._of(own, history.device_time.device(trial.number), history)

    def _of(self, seconds: float, device: str, history: History) -> float:
        time = history.device_time
        beside = time.beside / time.reported if time.reported > 0 else 0.0
        return seconds * (1 + beside) * time.devices * (self.rate(device) or 0.0)


def next_unpaid(history: History) -> Suggestion | None:
    """The resumption of the next trial that a spent budget stopped, for it has been raised; None if there is none."""
    for trial in map(history.trials.__getitem__, history.run.unpaid):
        if history.task(trial.task) is not None:
            last = trial.suggestion
            return resume(trial, until=last.until, origin=last.origin, evidence="the budget has been raised")
    return None
