"""A cheap task does not predict the full training: what it costs is wasted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.page.health.finding import Finding
from orchestrator.page.health.prediction import Prediction, prediction
from orchestrator.page.recorded import Recorded
from search.history import History, key_of
from search.records import FINALIST
from search.task import FULL, Task


def cheap_task(run: Recorded) -> list[Finding]:
    """A finding for each cheap task whose results do not predict those of full trainings."""
    found = []
    for task in run.history.tasks:
        if task.name == FULL or (known := predicts_full(run.history, task)) is None:
            continue
        if not known.is_worthless:
            continue
        cost = run.history.cost_of(task)
        found.append(
            Finding(
                "cheap_task",
                f'The cheap task "{task.name}" does not predict full trainings.',
                f"Its rank correlation with them is {known}, over {known.ended} configurations trained on both, corrected "
                f"for the {known.began - known.ended} trained on this task only; a training of it costs {cost:.2g} of a full one.",
                "Drop this task, or take a longer one.",
                "serious",
                task.name,
            )
        )
    return found


def predicts_full(history: History, task: Task) -> Prediction | None:
    """From the task to the full training; through the tasks between them if all are passed on the way."""
    following = [each for each in history.tasks if each.cost >= task.cost]
    through = following if all(each.resumes or each.name == FULL for each in following) else [task, following[-1]]
    stages = _by_configuration(history, through)
    return prediction(stages) if stages[0] else None


def _by_configuration(history: History, tasks: Sequence[Task]) -> list[dict[str, float]]:
    """For each task: configuration → its first finite loss; a stage holds only configurations of the stage before."""
    stages: list[dict[str, float]] = []
    for task in tasks:
        losses: dict[str, float] = {}
        for number, loss in sorted(history.results(task).items()):
            trial = history.trials[number]
            if math.isfinite(loss) and trial.first_origin != FINALIST and not trial.began:
                losses.setdefault(key_of(trial.config), loss)
        stages.append({key: loss for key, loss in losses.items() if not stages or key in stages[-1]})
    return stages
