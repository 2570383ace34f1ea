"""Find the nodes of a cluster that can run a trial: each is checked before its first one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.definition.concurrency import capacity
from orchestrator.failures import last_words
from orchestrator.tune.file_sync import FileSync
from orchestrator.tune.home import Home
from orchestrator.tune.module_path import not_found
from orchestrator.worker.limits import why_lost

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

SALVAGE_SECONDS = 60.0  # for a dead worker's last files to arrive
ANSWER_SECONDS = 60.0  # a node that is silent for longer may just be slow: it is tried


def unfit_nodes(sweep: Sweep, home: Home, known: Collection[str] = ()) -> dict[str, str]:
    """The nodes (by Ray's id) that cannot load this sweep, each with a message; `known` nodes are not checked again.

    On one node alone nothing is asked: what is wrong there ends the sweep with its own words.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    if len(alive) < 2:
        return {}
    nodes = {n["NodeID"]: n for n in alive if n["NodeID"] not in known and capacity(sweep, [n["Resources"]])}
    reference = [ray.put(sweep)]
    answers = {node: _on(node, _load).remote(reference, home) for node in nodes}
    ready, _ = (
        ray.wait(list(answers.values()), num_returns=len(answers), timeout=ANSWER_SECONDS) if answers else ([], [])
    )
    unfit = {}
    for node, answer in answers.items():
        if answer in ready:
            try:
                why = ray.get(answer)
                if why:
                    unfit[node] = f"node {node_name(nodes[node])} is not used: {why}"
            except Exception as error:
                why = not_found(str(error)) or last_words(str(error)) or "no reason given"
                why = re.sub(r"^(ValueError|FileExistsError): ", "", why)
                unfit[node] = f"node {node_name(nodes[node])} is not used: it cannot run the sweep: {why}"
    return unfit


def why_lost_on(node: str, home: Home, folder: Path) -> str:
    """Why the worker of the trial in `folder` is gone. `node`: where it was, if the cluster may have several.

    From a node that does not see the run's folder, the worker's notes and the trial's last files are fetched.
    """
    why = ""
    if any(each["NodeID"] == node and each["Alive"] for each in ray.nodes()):
        with contextlib.suppress(Exception):  # the node is on its way out, which shows in the meantime
            why = ray.get(_on(node, _salvage).remote(home, folder), timeout=SALVAGE_SECONDS)
    for each in ray.nodes():
        if each["NodeID"] == node:
            gone = f"its node is gone: {node_name(each)}"
            return gone if not each["Alive"] else f"{why or why_lost(folder)}; on node {node_name(each)}"
    return why_lost(folder)


def _salvage(home: Home, folder: Path) -> str:
    why = why_lost(folder)
    if not home.is_seen:
        FileSync(home).send(folder)
    return why


def _load(reference: list[Any], home: Home) -> str:
    """Why the sweep may not run here; empty if it may. Raises an error if it cannot."""
    import orchestrator.tune.seat

    home.enter()
    sweep: Sweep = ray.get(reference[0])
    home.check(sweep.workload)
    del orchestrator
    trouble = home.trouble()
    return "" if trouble is None else trouble[1]


def _on(node: str, function: Callable[..., Any]) -> Any:
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=there)


def name_of(node: str) -> str:
    """The name of a node by Ray's id."""
    return next((node_name(each) for each in ray.nodes() if each["NodeID"] == node), node[:8])


def node_name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, id {node['NodeID'][:8]})"
