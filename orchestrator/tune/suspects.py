"""Find nodes on which no trial has reported, and several failed before their first report: something is missing there."""

from __future__ import annotations

from collections import Counter

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.tune.nodes import node_name

ENOUGH = 3  # failures before a first report, on a node where no trial has reported, while elsewhere trials report …
SOONER = 2  # … or while none has reported anywhere: after three the sweep ends, and another node might be sound


class Suspects:
    """What is known of each node that has run trials."""

    def __init__(self) -> None:
        self._sound: set[str] = set()  # a trial has reported there
        self._failures: Counter[str] = Counter()

    def report(self, node: str) -> None:
        self._sound.add(node)

    def failure(self, node: str, trial: int, step: int) -> tuple[str, bool]:
        """Where a trial failed, in a sentence, and whether the node should get no more of them."""
        nodes = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}
        if node not in nodes or sum("CPU" in each["Resources"] for each in nodes.values()) < 2:
            return "", False
        self._failures[node] += not step
        most = ENOUGH if self._sound else SOONER
        if node in self._sound or self._failures[node] < most:
            return f"trial {trial} failed on node {node_name(nodes[node])}", False
        return (
            f"node {node_name(nodes[node])} is not used any more: the first {most} trials there failed before their first "
            "report. Once it has what it lacks, run the command again; --retry-failed tries these trials again.", True,
        )  # fmt: skip
