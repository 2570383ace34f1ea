"""A task: a cheaper version of the full training, with a known share of its cost.

Trainings on cheap tasks teach a model about full trainings. A full training that is cut short passes through the task
*on the way*: such trials are ordinary ones that pause at `steps(horizon)` and may be resumed, so a promotion pays only
the difference. All other tasks (part of the data, a smaller input, a schedule that depends on its own length) are
separate trainings, and a trial of such a task names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search import settings

FULL = "full"
ROUNDING = 1e-9  # of a step: 0.07 × 100 is 7.000000000000001, and means 7


@dataclass(frozen=True)
class Task:
    """A version of the training: `cost` is its share of a full training's cost, in (0, 1], `share` that of the steps.

    `changes`: fields of the workload that differ, for instance {"data_share": 0.1} or {"image_size": 32}.
    `resumes`: a full training passes through this task, so a trial of it can be resumed to a full one.

    >>> Task.epochs(0.25, 1)[0].steps(horizon=20)
    5
    """

    name: str
    cost: float
    share: float = 1.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    resumes: bool = True

    def __post_init__(self) -> None:
        unfinished_call = f"Task({self.name!r}"  # an error completes it: Task('small', cost=2)
        settings.share(unfinished_call, "(0, 1]", cost=self.cost, share=self.share)
        if self.changes and self.resumes:
            object.__setattr__(self, "resumes", False)  # a changed workload cannot resume the other's checkpoint

    @staticmethod
    def epochs(*shares: float) -> tuple[Task, ...]:
        """Full trainings cut short after these shares of the horizon; the last share must be 1."""
        return tuple(Task(FULL if part == 1 else f"{part:g} of the epochs", cost=part, share=part) for part in shares)

    @staticmethod
    def data(*shares: float) -> tuple[Task, ...]:
        """Trainings of full length on these shares of the data: the workload's field `data_share`."""
        return tuple(
            Task(FULL, 1) if part == 1 else Task(f"{part:g} of the data", part, changes={"data_share": part})
            for part in shares
        )

    @staticmethod
    def changed(name: str, cost: float, **changes: Any) -> Task:
        """A training of the workload with other settings, for instance Task.changed("small", 0.2, image_size=32).

        The workload's `prepare` runs once, without the changes, and all tasks share its files.
        """
        return Task(name, cost, changes=changes)

    def steps(self, horizon: int) -> int:
        """The number of steps in a training of this task."""
        return max(1, math.ceil(self.share * horizon - ROUNDING))


WHOLE = Task(FULL, 1.0)
"""The full training itself: the one task of a sweep that names none."""


def problem(tasks: Sequence[Task]) -> str | None:
    """What is wrong with this list of tasks, in one sentence; None if nothing is."""
    if not tasks:
        return None
    fields: dict[str, list[Any]] = {"name": [task.name for task in tasks], "cost": [task.cost for task in tasks]}
    full = [task for task in tasks if task.cost == 1]
    if len(full) != 1:
        remedy = f"; add Task({FULL!r}, 1.0)" if not full else ""
        return f"exactly one task must cost 1 (the full training), and {len(full)} do{remedy}"
    if full[0].name != FULL or full[0].share != 1 or full[0].changes:
        return f"the task that costs 1 must be the full training itself, Task({FULL!r}, 1.0), not {full[0]!r}"
    for what, values in fields.items():
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            return f"two tasks have the {what} {twice!r}"
    if len(tasks) < 2:
        return "one task is no choice; add a cheaper one, or leave tasks out"
    return None


def named(tasks: Sequence[Task], name: str) -> Task | None:
    """The task of this name; None if there is none. The task "full" always exists."""
    return next((task for task in tasks if task.name == name), WHOLE if name == FULL else None)
