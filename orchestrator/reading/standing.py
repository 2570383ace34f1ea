"""Where a running sweep stands, followed from its events: what the display shows beside the history itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING

from orchestrator.console.signals import SIGNALLED
from orchestrator.driving.shown import DOING, WAITING
from orchestrator.driving.time_spent import seconds_left
from orchestrator.failures import in_brief
from orchestrator.money.amounts import full_trainings
from orchestrator.reading.time_left import TimeLeft, time_left
from search.records import FINALIST, Status
from search.rules.to_start import repetitions_to_start, to_start
from search.task import FULL

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from search.history import Trial

ENDINGS = [status.value for status in Status if status is not Status.RUNNING]


class Standing:
    """One invocation of a sweep. `clock` gives real seconds, also in a simulation."""

    def __init__(self, driver: Driver, clock: Callable[[], float] = time.monotonic) -> None:
        self.driver = driver
        self.doing = ""  # before the first training: what the engine does
        self.waiting = ""  # why workers wait
        self.is_over = False  # the engine has ended
        self._is_cut = False  # … by an error or a second Ctrl-C
        self.trend = _recorded_trend(driver)  # loss of the best trial after each full training
        rest = to_start(driver.history, driver.sweep.searcher, driver.rules)
        self.most = None if rest is None else driver.history.started + rest  # configurations in all
        self._clock = clock
        self._began: float | None = None  # when the first report of this invocation came: before, workers start
        self._steps_before = self._steps
        self._ended_before = self._ended
        self._spent_before = driver.history.spent
        self._ends: list[tuple[float, int, float]] = []  # seconds, trials ended, full trainings spent
        self._origins: tuple[int, dict[str, int]] = (-1, {})

    def hear(self, kind: str, text: str) -> None:
        """Follow an event."""
        if kind == DOING:
            self.doing = text
        elif kind == WAITING:
            self.waiting = text
        elif kind == Status.COMPLETED.value and not self.driver.over:  # finalists do not belong to the search
            best = self.best
            if best is not None and best.status is Status.COMPLETED:
                self.trend.append(best.loss)
        if kind in ENDINGS and self._began is not None:
            ended, spent = self._ended - self._ended_before, self.driver.history.spent - self._spent_before
            self._ends.append((self._clock() - self._began, ended, spent))

    def end(self, *, is_cut: bool) -> None:
        """The engine has ended; `is_cut`: not by itself."""
        self.is_over, self._is_cut, self.waiting = True, is_cut, ""

    def look(self) -> None:
        """Note when the trials begin to train."""
        if self._began is None and self._steps > self._steps_before:
            self._began, self._ended_before, self._spent_before = self._clock(), self._ended, self.driver.history.spent

    @property
    def best(self) -> Trial | None:
        return self.driver.best

    @property
    def state(self) -> str:
        """What happens, where that is not plain from the counts."""
        driver, stop = self.driver, in_brief(self.driver.stop_reason)
        if self.is_over:
            is_signal = self._is_cut or stop == SIGNALLED
            return "interrupted" if is_signal else f"stopped: {stop}" if stop else "done"
        if stop:
            return f"stopping: {stop}; trials save their checkpoints"
        if self.doing:
            return self.doing
        if driver.over:
            return "the search is over; the running trials finish" if driver.running else "finishing"
        if not driver.history.trials:
            return "starting"
        if not driver.history.run.has_reported:
            alone = len(driver.running) == 1 and driver.rules.first_alone
            return "one trial at a time until the first report" if alone else "no report yet"
        return ""

    @property
    def time_left(self) -> TimeLeft | None:
        """Until the first of the sweep's limits is reached; None if that cannot be told yet.

        The driver's forecast, once there is one; before, from the pace of the trainings that have ended. None too once
        the time of the forecast has run out, and once the search is over and nothing runs.
        """
        if self.driver.over and not self.driver.running:
            return None
        if self.driver.foresight.latest is not None:
            left = self.driver.foresight.left
            return None if left is None else TimeLeft(left.middle, left.low, left.high)
        found = []
        if self.most is not None:
            found.append(time_left([(at, ended) for at, ended, _ in self._ends], self._to_end(self.most)))
        if (budget := full_trainings(self.driver.sweep.budget)) is not None:
            spent_ends = [(at, spent) for at, _, spent in self._ends]
            found.append(time_left(spent_ends, budget - self.driver.history.spent))
        known = [each for each in found if each is not None]
        most = seconds_left(self.driver.sweep.budget_seconds, self.driver.spent_seconds)
        return TimeLeft(*(min(seconds, most) for seconds in min(known))) if known else None

    @property
    def origins(self) -> dict[str, int]:
        """Who proposed the suggestions so far, the most frequent first."""
        asked = self.driver.history.asked
        if self._origins[0] != asked:
            rows = self.driver.ledger.query(
                "SELECT origin, COUNT(*) FROM suggestion GROUP BY origin ORDER BY 2 DESC, 1"
            )
            self._origins = (asked, dict(rows))
        return self._origins[1]

    def _to_end(self, most: int) -> int:
        """Trainings that have not ended, if `most` configurations are started in all: running, to start, to repeat."""
        history = self.driver.history
        to_come = 0 if self.driver.over else max(0, most - history.started)
        return history.count(Status.RUNNING) + to_come + repetitions_to_start(history, self.driver.rules, to_come)

    @property
    def _steps(self) -> int:
        return sum(steps for _, steps in self.driver.history.costs.each())

    @property
    def _ended(self) -> int:
        history = self.driver.history
        return len(history.trials) - history.count(Status.RUNNING)


def _recorded_trend(driver: Driver) -> list[float]:
    """The trend of earlier invocations."""
    rows = driver.ledger.query("SELECT trial FROM ending WHERE status = 'completed' ORDER BY seq")
    trials = [driver.history.trials[number] for (number,) in rows]
    losses = [trial.loss for trial in trials if trial.task == FULL and trial.first_origin != FINALIST]
    return list(accumulate(losses, min))
