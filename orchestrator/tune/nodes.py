"""Find the nodes of a cluster that can run a trial: each is checked before its first one."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.failures import last_words
from orchestrator.tune.capacity import capacity

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

ANSWER_SECONDS = 60.0  # a node that is silent for longer may just be slow: it is tried


def unfit_nodes(sweep: Sweep, known: Collection[str] = ()) -> dict[str, str]:
    """The nodes (by Ray's id) that cannot load this sweep, each with a message; `known` nodes are not checked again.

    On one node alone nothing is asked: what is wrong there ends the sweep with its own words.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if len(alive) < 2:
        return {}
    nodes = {n["NodeID"]: n for n in alive if n["NodeID"] not in known and capacity(sweep, [n["Resources"]])}
    reference = [ray.put(sweep)]
    answers = {node: _asked(node).remote(reference) for node in nodes}
    ready, _ = (
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS) if answers else ([], [])
    )
    unfit = {}
    for node, answer in answers.items():
        if answer in ready:
            try:
                ray.get(answer)
            except Exception as error:
                why = last_words(str(error)) or "no reason given"
                unfit[node] = f"node {_name(nodes[node])} is not used: it cannot load the sweep: {why}"
    return unfit


def _load(reference: list[Any]) -> None:
    import orchestrator.tune.seat

    ray.get(reference[0])
    del orchestrator


def _asked(node: str) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(_load).options(num_cpus=0, max_retries=0, scheduling_strategy=there)


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, id {node['NodeID'][:8]})"
