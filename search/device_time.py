"""The time for which trials hold their devices: the seconds of all reports, and those that no report counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.records import Began, Used


class DeviceTime:
    """Device-seconds by device; the history updates it. Two devices for one second are two device-seconds."""

    def __init__(self) -> None:
        self.devices = 1.0  # of one trial, at present
        self.latest = "cpu"  # the device on which a trial was placed last
        self.reported = 0.0  # seconds of all reports
        self.beside = 0.0  # seconds that no report counts: starts, lost work, tests, …
        self.starting = 0.0  # of these: until the first step after each start
        self.starts: list[float] = []  # the same, of each start in this invocation
        self._kind = "cpu"
        self._placed: dict[int, str] = {}  # trial → its device, if it has told its name
        self._totals: dict[str, float] = {}

    @property
    def by_device(self) -> Mapping[str, float]:
        """Device → device-seconds."""
        return self._totals

    def device(self, trial: int | None) -> str:
        """The device of this trial; before it has told, its kind ("gpu" or "cpu")."""
        return self._placed.get(-1 if trial is None else trial, self._kind)

    def began(self, record: Began) -> None:
        """An invocation begins, with other devices perhaps."""
        if record.device != self._kind:
            self._placed.clear()
            self.latest = record.device
        self._kind, self.devices = record.device, record.devices
        self.starts = []

    def report(self, trial: int, seconds: float) -> None:
        self.reported += seconds
        self._add(self.device(trial), seconds)

    def use(self, record: Used) -> None:
        if record.device:
            if self._kind == "gpu" and not self._placed:  # what ran before the first trial told its GPU ran on that one
                self._add_to(record.device, self._totals.pop(self._kind, 0.0))
            self.latest = record.device
            if record.trial is not None:
                self._placed[record.trial] = record.device
        self.beside += record.seconds
        if record.what == "start":
            self.starting += record.seconds
            self.starts.append(record.seconds)
        self._add(record.device or self.device(record.trial), record.seconds)

    def _add(self, device: str, seconds: float) -> None:
        self._add_to(device, seconds * self.devices)

    def _add_to(self, device: str, device_seconds: float) -> None:
        self._totals[device] = self._totals.get(device, 0.0) + device_seconds
