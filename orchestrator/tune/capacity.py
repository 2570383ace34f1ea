"""How many trials of a sweep fit into a Ray cluster, and what each asks for."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from orchestrator.money.amounts import full_trainings

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.errors import BadInput
from orchestrator.tune.autoscaler import FIRST_REPORT_SECONDS, can_grow

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


RAYS_NAMES = {"cpu": "CPU", "gpu": "GPU", "memory": "memory"}


def seat_resources(sweep: Sweep) -> dict[str, float]:
    """The resources that Ray reserves for a trial; they include memory, so that the trials of a node fit there."""
    asked = {name: float(amount) for name, amount in sweep.resources.items() if name in ("cpu", "gpu") and amount}
    return asked if sweep.memory_bytes is None else {**asked, "memory": float(sweep.memory_bytes)}


def seats(sweep: Sweep, unfit: Collection[str] = ()) -> int:
    """The number of trials that may run at once: the room on the cluster's nodes, except `unfit` ones, up to `max_concurrent`.

    A cluster that can grow is asked for `max_concurrent` seats; those that do not fit yet wait for their node.
    """
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    fits, wanted = capacity(sweep, [have for node, have in nodes.items() if node not in unfit]), _wanted(sweep)
    grows = fits < (wanted or 1) and can_grow(FIRST_REPORT_SECONDS)
    if fits == 0 and not grows and capacity(sweep, list(nodes.values())):
        raise BadInput(
            "no node of the cluster can run the sweep, for the reasons told. Code, data and packages must be at the same "
            "places on each node as on this machine."
        )
    if fits == 0 and not grows:
        raise BadInput(
            f"Sweep(resources={dict(sweep.resources)!r}): one trial asks for more than the cluster has on any node "
            f"({'; '.join(sorted({_has(sweep, have) for have in nodes.values()}, reverse=True))})."
        )
    if wanted is None:  # a budget of device time: it bounds the trials, and nothing bounds how many run at once
        return max(1, fits)
    return wanted if grows else min(wanted, fits)


def _has(sweep: Sweep, node: Mapping[str, float]) -> str:
    """A node's amounts of the resources that a trial needs."""
    have = {name: node.get(RAYS_NAMES[name], 0.0) for name in seat_resources(sweep)}
    return ", ".join(
        f"memory: {amount / 2**30:.1f} GiB for trials" if name == "memory" else f"{name}: {amount:g}"
        for name, amount in have.items()
    )


def _wanted(sweep: Sweep) -> int | None:
    """The largest useful number of concurrent trials; None if nothing limits it."""
    cheapest = min((task.cost for task in sweep.tasks), default=1.0)
    budget = full_trainings(sweep.budget)
    by_budget = None if budget is None else ceil(budget / cheapest)
    known = [wanted for wanted in (sweep.max_concurrent, sweep.limit, by_budget) if wanted is not None]
    return min(known, default=None)


def capacity(sweep: Sweep, nodes: Sequence[Mapping[str, float]]) -> int:
    """The number of this sweep's trials that fit on nodes with these resources; a trial does not span nodes."""
    asked = seat_resources(sweep)
    if not asked:
        return os.cpu_count() or 1
    return sum(
        min(int(node.get(RAYS_NAMES[name], 0.0) / amount + 1e-9) for name, amount in asked.items()) for node in nodes
    )
