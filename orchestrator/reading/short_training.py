"""What a policy cannot do in so short a training, such as to hold a race: said before the start, where it is known.

Our own workloads know how many updates a training has. How many a training of the user's has, nobody knows before it
runs; then the first trial says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrator.failures import signature
from search.records import Config
from search.task import FULL, WHOLE
from trainables.carry_out import warning_at_start
from trainables.contract import Workload

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def short_training(sweep: Sweep) -> list[str]:
    """One sentence for each thing that the policy cannot do, with the number of configurations that it holds for."""
    if sweep.policy is None or not isinstance(sweep.workload, Workload):
        return []
    configs = [config for config in (sweep.baseline_config, *sweep.points_to_evaluate, *sweep.examples) if config]
    found: dict[str, list[tuple[str, str]]] = {}
    for task in sweep.tasks or (WHOLE,):
        where = "" if task.name == FULL else f"in the task {task.name!r}, "
        for text in _warnings(sweep, task.name, configs):
            found.setdefault(where + signature(text), []).append((where, text))
    return [
        f"{text} ({where}with {len(told)} of {len(configs)} configurations that were checked)"
        for told in found.values()
        for where, text in told[:1]
    ]


def _warnings(sweep: Sweep, task: str, configs: list[Config]) -> Iterator[str]:
    """What the policies of these configurations say at the start."""
    workload = sweep.workload_for(task)
    assert isinstance(workload, Workload)
    try:
        samples = workload.samples()
    except Exception:  # it needs what is not prepared yet; if it is a mistake, the first trial says so
        return
    for config in configs:
        if warning := warning_at_start(workload, sweep.policy_for(config), config, samples):
            yield warning
