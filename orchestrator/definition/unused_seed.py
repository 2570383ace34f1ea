"""A script that does not seem to use its seed, in a sweep that trains finalists again on fresh seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainables.contract import CommandLine

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def warning(sweep: Sweep) -> str:
    """What to know before the start; empty without finalists, and if the script mentions the seed or cannot be read."""
    workload = sweep.workload
    if not (sweep.finalist_count and isinstance(workload, CommandLine) and workload.ignores_seed):
        return ""
    return (
        f"the script of `{workload.command}` does not mention TRIAL_SEED, nor its command {{seed}}: with a fixed seed of its "
        "own, the repetitions of finalists are copies of the first runs and confirm nothing"
    )
