"""How long workers hold their devices, beside the seconds that reports count: starts, lost work, jobs.

Measured by the driver's clock, from the order to the end. The time of a report's own steps is in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.record.encoding import seconds_between
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.history import History, Trial
from search.records import Status, Used
from search.work import Progress

LEAST = 0.001  # seconds worth a record
LEAST_ESTIMATED = 1.0  # the same for an estimate from the times of records, which are set by another clock


@dataclass
class _Held:
    """A worker that has an order."""

    since: float  # the clock when its time was accounted for last
    has_reported: bool = False


class DeviceClock:
    """The orders that workers have, and since when. `at_once`: account for a trial's time at each of its answers."""

    def __init__(self, clock: Callable[[], float], *, at_once: bool) -> None:
        self._clock = clock
        self._at_once = at_once
        self._held: dict[str, _Held] = {}

    def begin(self, order: str) -> None:
        """A worker got this order: a trial's number, or the name of a job."""
        self._held[order] = _Held(self._clock())

    def answered(self, trial: Trial, answers: Sequence[Progress]) -> list[Used]:
        """What the answers of a trial's worker show beside the steps that they report; call it before recording them."""
        held = self._held.get(str(trial.number))
        named = [Used(trial.number, 0.0, "device", item.text) for item in answers if item.kind == "device"]
        reports = [item for item in answers if item.kind == "report"]
        if held is None or not reports:
            return named
        repeated = sum(item.cost_seconds for item in reports if item.step <= trial.step)
        counted = sum(item.cost_seconds for item in reports)
        passed = self._clock() - held.since
        is_first, held.has_reported = not held.has_reported, True
        found = [*named, Used(trial.number, repeated, "lost")]
        if is_first or self._at_once:
            held.since += passed
            found.append(Used(trial.number, passed - counted, "start" if is_first else "beside"))
        else:
            held.since += counted
        return _worth(found)

    def end(self, order: str, what: str, trial: int | None = None, device: str = "") -> list[Used]:
        """The worker has the order no more; `what` the time was for that is not accounted for yet."""
        held = self._held.pop(order, None)
        return [] if held is None else _worth([Used(trial, self._clock() - held.since, what, device)])


def _worth(found: Sequence[Used]) -> list[Used]:
    return [record for record in found if record.seconds >= LEAST or record.what == "device"]


def cut_off(ledger: Ledger, history: History) -> list[Used]:
    """What the workers of a driver that was killed did after their trials' last records, as far as the ledger reaches.

    An estimate from the times of the records; call it before this driver writes.
    """
    lease = ledger.lease()
    if lease is None or ledger.rows("event", f"WHERE kind = '{STATE}' AND epoch = :epoch", epoch=lease.epoch):
        return []
    last, found = ledger.last_heard(), []
    for trial in history.having(Status.RUNNING):
        times = [lease.time]
        for table in ("suggestion", "report", "event"):
            rows = ledger.query(f"SELECT MAX(time) FROM {table} WHERE trial = :trial", trial=trial.number)
            times += [row[0] for row in rows if row[0]]
        found.append(Used(trial.number, seconds_between(max(times), last), "lost"))
    return [record for record in found if record.seconds >= LEAST_ESTIMATED]
