"""How many trials of a sweep run at once in a Ray cluster."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.definition.concurrency import RAYS_NAMES, capacity, counted_resources, most_useful
from orchestrator.errors import BadInput
from orchestrator.tune.autoscaler import FIRST_REPORT_SECONDS, can_grow

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def seats(sweep: Sweep, unfit: Collection[str] = ()) -> int:
    """The number of trials that may run at once: the room on the cluster's nodes, except `unfit` ones, up to `max_concurrent`.

    A cluster that can grow is asked for `max_concurrent` seats; those that do not fit yet wait for their node.
    """
    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    fits, wanted = room(sweep, unfit), most_useful(sweep)
    grows = fits < (wanted or 1) and can_grow(FIRST_REPORT_SECONDS)
    if fits == 0 and not grows and capacity(sweep, list(nodes.values())):
        raise BadInput(
            "no node of the cluster can run the sweep, for the reasons above. Code, data and packages must be at the same "
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


def room(sweep: Sweep, unfit: Collection[str]) -> int:
    """The trials that fit on the nodes of the cluster, except `unfit` ones."""
    return capacity(sweep, [node["Resources"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in unfit])


def _has(sweep: Sweep, node: Mapping[str, float]) -> str:
    """A node's amounts of the resources that a trial needs."""
    have = {name: node.get(RAYS_NAMES[name], 0.0) for name in counted_resources(sweep)}
    return ", ".join(
        f"memory: {amount / 2**30:.1f} GiB for trials" if name == "memory" else f"{name}: {amount:g}"
        for name, amount in have.items()
    )
