"""Find nodes on which trials fail before their first report, one after the other: something is missing there."""

from __future__ import annotations

from collections import Counter

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.tune.nodes import node_name

ENOUGH = 3  # failures before a first report, on a node where no trial has reported, while elsewhere trials report …
SOONER = 2  # … or while none has reported anywhere: after three the sweep ends, and another node might be sound
LATER = 5  # … on a node where trials have reported, if none fails elsewhere meanwhile: it may be the configurations


class Suspects:
    """What is known of each node that has run trials."""

    def __init__(self) -> None:
        self._sound: set[str] = set()  # a trial has reported there
        self._failures: Counter[str] = Counter()  # in a row

    def report(self, node: str) -> None:
        self._sound.add(node)
        self._failures.pop(node, None)

    def failure(self, node: str, trial: int, step: int) -> tuple[str, bool]:
        """Where a trial failed, in a sentence, and whether the node should get no more of them."""
        nodes = {each["NodeID"]: each for each in ray.nodes() if each["Alive"]}
        if node not in nodes or sum("CPU" in each["Resources"] for each in nodes.values()) < 2:
            return "", False
        which = self.count(node, step)
        if not which:
            return f"trial {trial} failed on node {node_name(nodes[node])}", False
        return (
            f"node {node_name(nodes[node])} is not used any more: {which} trials there failed before their first "
            "report. Once it has what it lacks, run the command again; --retry-failed tries these trials again.", True,
        )  # fmt: skip

    def count(self, node: str, step: int) -> str:
        """Count a failure after so many steps; returns which trials speak against the node, empty while too few do."""
        if step:
            return ""
        for other in self._sound - {node}:
            self._failures.pop(other, None)
        self._failures[node] += 1
        if node in self._sound:
            return f"the last {LATER}" if self._failures[node] >= LATER and len(self._sound) > 1 else ""
        most = ENOUGH if self._sound else SOONER
        return f"the first {most}" if self._failures[node] >= most else ""
