"""Say why seats have no place in the cluster, once they have waited for a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray._private.state import available_resources_per_node

from orchestrator.console.plurals import plural
from orchestrator.definition.concurrency import RAYS_NAMES, seat_resources
from orchestrator.driving.waiting import Waiting
from orchestrator.record.encoding import now
from orchestrator.tune.autoscaler import can_grow
from orchestrator.tune.nodes import node_name

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

PATIENCE = 60.0  # seconds that a seat may wait for its place before anything is said
LOOK_SECONDS = 5.0  # between two looks
NAMED = 3  # nodes that are gone; the last ones


class WaitingSeats:
    """Watches Tune's trials, the seats. `tell` gets what waits and why, and None when no seat waits any more."""

    def __init__(
        self,
        why: Callable[[], str],
        tell: Callable[[Waiting | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._why, self._tell, self._clock = why, tell, clock
        self._seats: dict[str, Any] = {}  # by Tune's id
        self._since: dict[str, float] = {}  # seat → when it was first seen waiting
        self._looked = clock()
        self._told = 0  # waiting seats at the last message

    def add(self, seat: Any) -> None:
        """Tune adds a seat again when it has lost its worker."""
        self._seats[seat.trial_id] = seat
        self._since[seat.trial_id] = self._clock()

    def look(self) -> None:
        at = self._clock()
        if at - self._looked < LOOK_SECONDS:
            return
        self._looked = at
        pending = {name for name, seat in self._seats.items() if seat.status == "PENDING"}
        self._since = {seat: self._since.get(seat, at) for seat in pending}
        late = [at - since for since in self._since.values() if at - since >= PATIENCE]
        if len(late) != self._told:
            self._told = len(late)
            self._tell(Waiting(now(-max(late)), len(late), len(self._seats), self._why()) if late else None)

    def close(self) -> None:
        """Other seats follow."""
        if self._told:
            self._told = 0
            self._tell(None)


def shortage(sweep: Sweep, refused: Collection[str], used: Mapping[str, None]) -> str:
    """What each trial asks for, and what the cluster has. `used`: the nodes (by Ray's id) on which trials were, in order."""
    nodes = {node["NodeID"]: node for node in ray.nodes()}
    alive = [node for node in nodes.values() if node["Alive"]]
    free = available_resources_per_node()
    return in_words(
        seat_resources(sweep),
        [(node["Resources"], free.get(node["NodeID"], {})) for node in alive if node["NodeID"] not in refused],
        grows=can_grow(),
        refused=sum(node["NodeID"] in refused for node in alive),
        gone=[node_name(nodes[node]) for node in used if node in nodes and not nodes[node]["Alive"]],
    )


def in_words(
    asked: Mapping[str, float],
    nodes: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    *,
    grows: bool = False,
    refused: int = 0,
    gone: Sequence[str] = (),
) -> str:
    """`nodes`: what each has, and what of it is free.

    >>> in_words({"cpu": 2, "gpu": 1}, [({"CPU": 4, "GPU": 1}, {"CPU": 1})])
    'each asks for cpu: 2, gpu: 1; the cluster has cpu: 4 (1 free), gpu: 1 (0 free)'
    >>> in_words({"cpu": 1}, [], refused=2, gone=["worker-3"])
    'each asks for cpu: 1; the cluster has cpu: 0 (0 free) without the 2 nodes that are not used; gone: worker-3'
    """
    wants = ", ".join(f"{name}: {_amount(name, amount)}" for name, amount in asked.items())
    there = ", ".join(
        f"{name}: {_amount(name, sum(have.get(RAYS_NAMES[name], 0.0) for have, _ in nodes))} "
        f"({_amount(name, sum(free.get(RAYS_NAMES[name], 0.0) for _, free in nodes))} free)"
        for name in asked
    )
    verb = "is" if refused == 1 else "are"
    without = f" without the {plural(refused, 'node')} that {verb} not used" if refused else ""
    more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    lost = f"; gone: {', '.join(gone[-NAMED:])}{more}" if gone else ""
    grown = "; its autoscaler may add nodes" if grows else ""
    return f"each asks for {wants}; the cluster has {there}{without}{lost}{grown}"


def _amount(name: str, amount: float) -> str:
    return f"{amount / 2**30:.1f} GiB" if name == "memory" else f"{amount:g}"
