"""The driver's time over all invocations, kept in the ledger. A time budget limits it."""

from __future__ import annotations

import math
from collections.abc import Callable

from orchestrator.record.ledger import Ledger

SPENT, WAITED = "spent", "waited"  # kinds of events: seconds of the driver, and of workers that waited for decisions
OUT_OF_TIME = "time"  # kind of the event that an invocation ended because the time budget was used up
NOTE_SECONDS, NOTE_SHARE = 1.0, 0.01  # note the time when it has grown by this many seconds and by this share


class TimeSpent:
    """Continues the count of earlier invocations; for a killed one, from the last time that it noted."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._before = recorded_seconds(ledger)
        self._began = clock()
        self._noted = 0.0  # seconds of this invocation that are on record

    @property
    def seconds(self) -> float:
        return self._before + self._clock() - self._began

    def note(self) -> None:
        """Note the time, in case this invocation is killed; seldom enough to stay a small part of the record."""
        spent = self._clock() - self._began
        if spent - self._noted >= max(NOTE_SECONDS, NOTE_SHARE * spent):
            self._ledger.add_event(SPENT, f"{spent:.3f}")
            self._noted = spent

    def close(self, waited: float) -> None:
        """Note the whole time, and how long workers waited."""
        self._ledger.add_event(SPENT, f"{self._clock() - self._began:.3f}")
        self._ledger.add_event(WAITED, f"{waited:.3f}")


def seconds_left(budget: float | None, spent: float) -> float:
    """What is left of a time budget; infinite without one."""
    return math.inf if budget is None else max(0.0, budget - spent)


def recorded_seconds(ledger: Ledger) -> float:
    """The driver's time over all invocations on record."""
    told = {row["epoch"]: float(row["text"]) for row in ledger.rows("event", f"WHERE kind = '{SPENT}' ORDER BY seq")}
    return sum(told.values())
