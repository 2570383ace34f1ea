"""The forecast of a running sweep, made anew from time to time and noted for those who read the record."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from orchestrator.money.forecast import Forecast, Range, forecast
from orchestrator.record.encoding import to_json
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from search.history import History

FORESEEN = "forecast"  # kind of the events
FIRST_SECONDS, PAUSE_SECONDS = 10.0, 30.0  # real ones, on any engine: until the first forecast, and between two
SHARE = 0.01  # of the time: what a long record's forecasts may cost


class Foresight:
    """Keeps the latest forecast. It decides nothing."""

    def __init__(self, sweep: Sweep, ledger: Ledger, history: History) -> None:
        self.latest: Forecast | None = None
        self._sweep, self._ledger, self._history = sweep, ledger, history
        self._made = time.monotonic()
        self._due = self._made + FIRST_SECONDS

    @property
    def left(self) -> Range | None:
        """Seconds until the sweep ends; None without a forecast, and once its time has run out."""
        return None if self.latest is None else seconds_left(self.latest, time.monotonic() - self._made)

    def refine(self, workers: int, seconds: float) -> None:
        """Make a new forecast if it is time; noted in a transaction of its own. `seconds`: left of the time budget."""
        begun = time.monotonic()
        if begun < self._due:
            return
        sweep = self._sweep
        self.latest = forecast(
            self._history, sweep.searcher, sweep.scheduler, sweep.rules,
            workers=workers, seconds=seconds, own_process=sweep.workload.has_own_process,
        )  # fmt: skip
        self._made = time.monotonic()
        soon = 0.0 if self.latest is None else self.latest.wall_seconds.middle / 2  # before its time has run out
        pause = min(max(FIRST_SECONDS, soon), PAUSE_SECONDS)
        self._due = self._made + max(pause, (self._made - begun) / SHARE)
        if self.latest is not None:
            with self._ledger.transaction():
                self._ledger.add_event(FORESEEN, to_json(asdict(self.latest)))


def seconds_left(seen: Forecast, age: float) -> Range | None:
    """What is left `age` seconds after the forecast; None once its time has run out: it was wrong, or all is done."""
    left = seen.wall_seconds + -age
    if left.middle <= 0:
        return None
    return Range(left.middle, max(0.0, left.low), left.high)


def read(text: str) -> Forecast:
    """The forecast in the text of an event."""
    found = json.loads(text)
    ranges = {name: Range(**value) for name, value in found.items() if isinstance(value, dict)}
    return Forecast(**found | ranges)
