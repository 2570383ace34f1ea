"""Say why seats have no place in the cluster, once they have waited for a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.tune.autoscaler import can_grow
from orchestrator.tune.capacity import RAYS_NAMES, seat_resources

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

PATIENCE = 60.0  # seconds that a seat may wait for its place before anything is said
LOOK_SECONDS = 5.0  # between two looks


class WaitingSeats:
    """Watches Tune's trials, the seats. `tell` gets the reason, and "" when no seat waits any more.

    why: (waiting seats, all seats) → the reason.
    """

    def __init__(
        self,
        why: Callable[[int, int], str],
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._why, self._tell, self._clock = why, tell, clock
        self._seats: list[Any] = []
        self._since: dict[str, float] = {}  # seat → when it was first seen waiting
        self._looked = clock()
        self._told = 0  # waiting seats at the last message

    def add(self, seat: Any) -> None:
        self._seats.append(seat)
        self._since[seat.trial_id] = self._clock()

    def look(self) -> None:
        now = self._clock()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        pending = {seat.trial_id for seat in self._seats if seat.status == "PENDING"}
        self._since = {seat: self._since.get(seat, now) for seat in pending}
        late = sum(now - since >= PATIENCE for since in self._since.values())
        if late != self._told:
            self._told = late
            self._tell(self._why(late, len(self._seats)) if late else "")


def shortage(sweep: Sweep, waiting: int, seats: int) -> str:
    """What the waiting trials ask for, and what the cluster has."""
    return in_words(
        seat_resources(sweep), ray.cluster_resources(), ray.available_resources(), waiting, seats, can_grow()
    )


def in_words(
    asked: Mapping[str, float],
    have: Mapping[str, float],
    free: Mapping[str, float],
    waiting: int,
    seats: int,
    grows: bool,
) -> str:
    """
    >>> in_words({"cpu": 2, "gpu": 1}, {"CPU": 4, "GPU": 1}, {"CPU": 1}, waiting=2, seats=3, grows=False)
    '2 of 3 places for trials wait: each asks for cpu: 2, gpu: 1; the cluster has cpu: 4 (1 free), gpu: 1 (0 free)'
    """
    wants = ", ".join(f"{name}: {_amount(name, amount)}" for name, amount in asked.items())
    there = ", ".join(
        f"{name}: {_amount(name, have.get(RAYS_NAMES[name], 0.0))} ({_amount(name, free.get(RAYS_NAMES[name], 0.0))} free)"
        for name in asked
    )
    grown = "; its autoscaler may add nodes" if grows else ""
    return f"{waiting} of {seats} places for trials wait: each asks for {wants}; the cluster has {there}{grown}"


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if name == "memory" else f"{amount:g}"
