"""Where a running sweep stands, followed from its events: what the display shows beside the history itself."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from orchestrator.console.signals import SIGNALLED
from orchestrator.driving.shown import DOING, WAITING
from orchestrator.failures import in_brief
from search.records import FINALIST, Status
from search.rules.to_start import to_start
from search.task import FULL

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.money.forecast import Range
    from search.history import Trial


class Standing:
    """One invocation of a sweep."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.doing = ""  # before the first training: what the engine does
        self.waiting = ""  # why workers wait
        self.is_over = False  # the engine has ended
        self._is_cut = False  # … by an error or a second Ctrl-C
        self.trend = _recorded_trend(driver)  # loss of the best trial after each full training
        rest = to_start(driver.history, driver.sweep.searcher, driver.rules)
        self.most = None if rest is None else driver.history.started + rest  # configurations in all
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

    def end(self, *, is_cut: bool) -> None:
        """The engine has ended; `is_cut`: not by itself."""
        self.is_over, self._is_cut, self.waiting = True, is_cut, ""

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
    def time_left(self) -> Range | None:
        """Seconds until the first of the sweep's limits is reached; None if that cannot be told.

        That is before the driver's first forecast, once the forecast's time has run out, and while nothing runs, since
        trials wait or the search is over.
        """
        driver = self.driver
        rests = not driver.running and (driver.over or driver.history.count(Status.RUNNING))
        return None if rests else driver.foresight.left

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


def _recorded_trend(driver: Driver) -> list[float]:
    """The trend of earlier invocations."""
    rows = driver.ledger.query("SELECT trial FROM ending WHERE status = 'completed' ORDER BY seq")
    trials = [driver.history.trials[number] for (number,) in rows]
    losses = [trial.loss for trial in trials if trial.task == FULL and trial.first_origin != FINALIST]
    return list(accumulate(losses, min))
