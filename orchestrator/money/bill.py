"""The bill of a sweep: device time and dollars, by task and by what the time was for.

Device time is the time for which trials held their devices, times the number of these: recorded steps, starts, lost
work, tests. Devices that wait between trials are on no trial's bill, although their owner charges for them.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.money.first_steps import excess_of_first_steps
from orchestrator.money.prices import CPU, GPU, HOUR, Prices
from search.costs import HELD_UP
from search.device_time import DeviceTime
from search.history import Trial
from search.records import FINALIST, Began, Used

OUTCOMES = {  # what time was for → words for people, in the order of a bill
    "completed": "trainings that were completed",
    "stopped": "trainings that were stopped early",
    "finalists": "finalists trained again",
    "running": "trainings that have not ended",
    "failed": "trainings that failed or diverged",
    "lost": "work lost with a worker, or repeated",
    "stalled": "steps that were held up",
    "start": "starts, and the extra time of first reports",
    "beside": "checkpoints and messages",
    "prepare": "preparation of the data",
    "test": "tests",
    "untested": "looking for a test; there is none",
}
PREPARATION = ""  # the task of what belongs to none


@dataclass(frozen=True)
class Plan:
    """So many trainings of so many hours each, at one price.

    >>> Plan(trainings=220, hours=4.2, usd_per_hour=0.90).usd
    831.6
    """

    trainings: float
    hours: float  # of a training, on one machine
    usd_per_hour: float

    @property
    def machine_hours(self) -> float:
        return self.trainings * self.hours

    @property
    def usd(self) -> float:
        return round(self.machine_hours * self.usd_per_hour, 9)

    def wall_hours(self, machines: int) -> float:
        """Hours until it is done on so many machines, if all of them are always busy."""
        return self.machine_hours / machines


@dataclass(frozen=True)
class Bill:
    """Device-seconds by task, outcome and device."""

    seconds: Mapping[tuple[str, str, str], float]
    prices: Prices

    @property
    def device_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def gpu_hours(self) -> float:
        return sum(amount for (_, _, device), amount in self.seconds.items() if device != CPU) / HOUR

    @property
    def unpriced(self) -> list[str]:
        """The devices that were used and have no price."""
        used = {device for (_, _, device), amount in self.seconds.items() if amount}
        return sorted(device for device in used if self.prices.of(device) is None)

    @property
    def usd(self) -> float | None:
        """Dollars in all; None if the price of a device is missing."""
        return self._usd(self.seconds)

    def by(self, place: int) -> dict[str, tuple[float, float | None]]:
        """Task (0), outcome (1) or device (2) → its device-seconds and its dollars; nothing that is zero."""
        parts: dict[str, dict[tuple[str, str, str], float]] = {}
        for cell, amount in self.seconds.items():
            if amount:
                parts.setdefault(cell[place], {})[cell] = amount
        return {name: (sum(part.values()), self._usd(part)) for name, part in parts.items()}

    def _usd(self, cells: Mapping[tuple[str, str, str], float]) -> float | None:
        known = [self.prices.usd(device, amount) for (_, _, device), amount in cells.items() if amount]
        costs = [usd for usd in known if usd is not None]
        return sum(costs) if self.prices and len(costs) == len(known) else None


def bill(
    reports: Iterable[tuple[int, int, float]],
    others: Sequence[tuple[int, Began | Used]],
    trials: Sequence[Trial],
    prices: Prices,
    begins: Iterable[tuple[int, int]] = (),
) -> Bill:
    """The bill of a record. `reports`: number of the record, trial, seconds; `others`: number of the record, record.

    `begins`: number of the record and the trial that gets a new worker there, beside the invocations in `others`.
    """
    reported = sorted(reports)
    invocations = [(seq, None) for seq, record in others if isinstance(record, Began)]
    starts = excess_of_first_steps(reported, [*invocations, *begins], trials)
    steps = [(seq, trial, took - starts.get(seq, 0.0)) for seq, trial, took in reported]
    usual = _usual(steps, trials)
    seconds: dict[tuple[str, str, str], float] = {}
    time = DeviceTime()

    def add(trial: int | None, what: str, amount: float, device: str = "") -> None:
        task = PREPARATION if trial is None else trials[trial].task
        cell = (task, what, device or time.device(trial))
        seconds[cell] = seconds.get(cell, 0.0) + amount * time.devices

    ahead = sorted(others, key=lambda each: each[0])
    for seq, trial, took in [*steps, (float("inf"), -1, 0.0)]:
        while ahead and ahead[0][0] < seq:
            _, record = ahead.pop(0)
            if isinstance(record, Began):
                time.began(record)
                continue
            time.use(record)
            if record.what != "device":
                add(record.trial, record.what, record.seconds, record.device)
        if trial >= 0:
            if starting := starts.get(int(seq), 0.0):
                add(trial, "start", starting)
            limit = usual.get(trials[trial].task, took)
            stalled = took - limit if took > HELD_UP * limit > 0 else 0.0
            add(trial, outcome(trials[trial]), took - stalled)
            if stalled:
                add(trial, "stalled", stalled)
    return Bill(_named(seconds), prices)


def outcome(trial: Trial) -> str:
    """What the recorded steps of a trial were for."""
    if trial.status.is_failure:
        return "failed"
    return "finalists" if trial.first_origin == FINALIST else trial.status.value


def _named(seconds: Mapping[tuple[str, str, str], float]) -> dict[tuple[str, str, str], float]:
    """A GPU that was used before any trial told its model is the one that was named first."""
    first = next((device for _, _, device in seconds if device not in (CPU, GPU)), GPU)
    found: dict[tuple[str, str, str], float] = {}
    for (task, what, device), amount in seconds.items():
        cell = (task, what, first if device == GPU else device)
        found[cell] = found.get(cell, 0.0) + amount
    return found


def _usual(steps: Sequence[tuple[int, int, float]], trials: Sequence[Trial]) -> dict[str, float]:
    """Task → the median seconds of its steps."""
    took: dict[str, list[float]] = {}
    for _, trial, seconds in steps:
        took.setdefault(trials[trial].task, []).append(seconds)
    return {task: statistics.median(each) for task, each in took.items()}
