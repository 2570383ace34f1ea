"""How many trials of a sweep train at once: what each asks for, and what machines have. Without Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.definition.machine import HAVE
from orchestrator.money.amounts import full_trainings

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

RAYS_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


def seat_resources(sweep: Sweep) -> dict[str, float]:
    """The resources that Ray reserves for a trial; they include memory, so that the trials of a node fit there."""
    asked = {name: float(amount) for name, amount in sweep.resources.items() if name in ("cpu", "gpu") and amount}
    return asked if sweep.memory_bytes is None else {**asked, "memory": float(sweep.memory_bytes)}


def counted_resources(sweep: Sweep) -> dict[str, float]:
    """The resources of a trial by which the trials of a machine are counted: one that reserves nothing counts as a CPU."""
    return seat_resources(sweep) or {"cpu": 1.0}


def capacity(sweep: Sweep, nodes: Sequence[Mapping[str, float]]) -> int:
    """The number of this sweep's trials that fit on nodes with these resources; a trial does not span nodes."""
    asked = counted_resources(sweep)
    return sum(
        min(int(node.get(RAYS_NAMES[name], 0.0) / amount + 1e-9) for name, amount in asked.items()) for node in nodes
    )


def most_useful(sweep: Sweep) -> int | None:
    """The largest useful number of concurrent trials; None if nothing limits it."""
    cheapest = min((task.cost for task in sweep.tasks), default=1.0)
    budget = full_trainings(sweep.budget)
    by_budget = None if budget is None else ceil(budget / cheapest)
    known = [wanted for wanted in (sweep.max_concurrent, sweep.limit, by_budget) if wanted is not None]
    return min(known, default=None)


def at_once_here(sweep: Sweep) -> int:
    """The number of trials that this machine trains at once; one if it has no room, since a cluster may have it."""
    here = {RAYS_NAMES[name]: float(HAVE[name]()) for name in counted_resources(sweep)}
    fits, wanted = max(1, capacity(sweep, [here])), most_useful(sweep)
    return fits if wanted is None else min(fits, wanted)
