"""The stages of a sweep: the tasks or the rungs at which trials can be compared, the end of the training last."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from search.history import History, key_of
from search.records import FINALIST, Status
from search.task import FULL, Task

SHARES = (0.1, 0.25, 0.5)  # of the horizon: the stages of a sweep that has neither tasks nor common rungs
MOST = 4  # rungs
COMMON = 0.05  # of the stopped trials must have stopped at a step for it to count as a rung


@dataclass(frozen=True)
class Stage:
    """A place on the way to a full training, and the results there.

    `results`: trial number → finite loss, repetitions of finalists left out. `diverged`: trials that diverged before
    they came here.
    """

    name: str
    task: str  # the task of its trials
    step: int
    cost: float  # of a training to here, as a share of a full one
    results: Mapping[int, float]
    diverged: frozenset[int] = frozenset()
    is_end: bool = False

    @property
    def where(self) -> str:
        """The name with its preposition: "at step 3", "after 0.1 of the epochs", "on little data"."""
        if self.is_end:
            return f"in the {self.name}"
        if self.task != FULL:
            return f"on {self.name}"
        return f"after {self.name}" if self.name.endswith("of the epochs") else f"at {self.name}"

    def by_configuration(self, history: History) -> dict[str, float]:
        """Key of the configuration → its first result here."""
        found: dict[str, float] = {}
        for number, loss in self.results.items():
            found.setdefault(key_of(history.trials[number].config), loss)
        return found


def stages(history: History) -> list[Stage]:
    """Every stage, the cheapest first; the last one is the full training."""
    if history.tasks:
        return [_of_task(history, task) for task in history.tasks]
    horizon = history.horizon
    return [_at(history, step) for step in [*_rungs(history), horizon]]


def _of_task(history: History, task: Task) -> Stage:
    step, cost = task.steps(history.horizon), history.cost_of(task)
    own = FULL if task.resumes or task.name == FULL else task.name
    results = {n: loss for n, loss in history.results(task).items() if history.trials[n].first_origin != FINALIST}
    name = "full trainings" if task.name == FULL else task.name
    return Stage(name, own, step, cost, results, _diverged(history, own, step), task.name == FULL)


def _at(history: History, step: int) -> Stage:
    """The stage after `step` steps of full trainings. At the end only completed trainings count."""
    is_end = step >= history.horizon
    results = {
        number: loss
        for number, loss in history.reached(step).items()
        if math.isfinite(loss)
        and (trial := history.trials[number]).task == FULL
        and trial.first_origin != FINALIST
        and not trial.began
        and (trial.status is Status.COMPLETED or not is_end)
    }
    if is_end:  # the last members of a population began as forks, and are full trainings all the same
        results |= {
            trial.number: trial.loss
            for trial in history.having(Status.COMPLETED)
            if trial.task == FULL and trial.began and trial.first_origin != FINALIST and math.isfinite(trial.loss)
        }
    name = "full trainings" if is_end else f"step {step}"
    return Stage(name, FULL, step, step / history.horizon, results, _diverged(history, FULL, step), is_end)


def _diverged(history: History, task: str, step: int) -> frozenset[int]:
    return frozenset(
        trial.number
        for trial in history.having(Status.DIVERGED)
        if trial.task == task and trial.step <= step and trial.first_origin != FINALIST
    )


def _rungs(history: History) -> list[int]:
    """The steps at which many trials stopped; else shares of the horizon."""
    horizon = history.horizon
    stopped = Counter(t.step for t in history.having(Status.STOPPED) if t.task == FULL and 0 < t.step < horizon)
    total = stopped.total()
    rungs = sorted(step for step, times in stopped.items() if times >= max(2, COMMON * total))
    if not rungs:
        rungs = sorted({math.ceil(share * horizon) for share in SHARES} - {horizon})
    if len(rungs) > MOST:
        rungs = sorted({rungs[round(k * (len(rungs) - 1) / (MOST - 1))] for k in range(MOST)})
    return rungs
