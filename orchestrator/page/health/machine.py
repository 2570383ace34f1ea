"""Trials fail on one machine of a cluster, and not on the others."""

from __future__ import annotations

from collections import Counter

from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.record.encoding import NODE
from search.records import Status

LEAST = 3  # failures on the machine, and trials on the others
MOST = 0.5  # of the trials on the machine …
ELSEWHERE = 0.2  # … and so much of that share on the others


def machine(run: Recorded) -> list[Finding]:
    """A finding for each machine on which most trials failed, while few did elsewhere."""
    last: dict[int, str] = {}  # trial → the machine of its latest attempt
    trained, failed = Counter[str](), Counter[str]()
    told = [(row["seq"], row["trial"], row["text"]) for row in run.rows["event"] if row["kind"] == NODE]
    ended = [(row["seq"], row["trial"], "") for row in run.rows["ending"] if row["status"] == Status.FAILED.value]
    for _, trial, name in sorted(told + ended):
        if name:
            last[trial] = name
            trained[name] += 1
        elif trial in last:
            failed[last[trial]] += 1
    found = []
    for name, count in failed.items():
        others, theirs = trained.total() - trained[name], failed.total() - count
        share = count / trained[name]
        if count >= LEAST and share > MOST and others >= LEAST and theirs / others <= ELSEWHERE * share:
            found.append(
                Finding(
                    "machine",
                    f"Trials fail on the machine {name}: {count} of the {trained[name]} that trained there.",
                    f"On the other machines {theirs} of {others} failed.",
                    "Look at that machine (GPU, driver, memory, files), or take it out of the cluster; then run the same command with "
                    "--retry-failed.",
                    "serious",
                    name,
                )
            )
    return found
