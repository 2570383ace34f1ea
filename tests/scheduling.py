"""Small trainings under schedules."""

from __future__ import annotations

from typing import Any, TypeGuard

from search.work import Decision, Progress
from trainables.contract import Policy, Workload
from trainables.training.loop import Training
from trainables.values import Knobs
from trainables.workloads.quadratic import Quadratic

CONFIG = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 16}
EPOCH = 64  # samples of Quadratic


def trained(
    policy: Policy[Any] | None, workload: Workload | None = None, **changes: Any
) -> tuple[list[Knobs], list[Progress]]:
    """The knobs of each update of a real training, and what it told."""
    training = Training(workload or Quadratic.smallest(), policy, {**CONFIG, **changes})
    knobs, told = [], []
    items = iter(training)
    while True:
        before = training.control.knobs
        item = next(items, "end")
        if item == "end":
            return knobs, told
        if isinstance(item, Progress):
            told.append(item)
        else:
            knobs.append(before)


def is_decision(item: Progress) -> TypeGuard[Decision]:
    """Not one of the places where a schedule is noted down."""
    return item.kind == "decision" and item.text != "schedule"


def reports(told: list[Progress]) -> list[dict[str, float]]:
    return [dict(item.metrics) for item in told if item.kind == "report"]
