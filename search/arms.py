"""What a multi-fidelity search chooses from: arms, the configurations tried, and stages, how far each was trained."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from search.history import History, Trial, key_of
from search.records import FINALIST, Config, Status
from search.space import Vector
from search.task import FULL, Task


@dataclass(frozen=True)
class Stage:
    """A place on the way to a full training: `steps` steps on a task."""

    task: str
    steps: int
    index: int  # of the task for the model: 0 is the full training
    cost: float  # of getting here from nothing, as a share of a full training
    fidelity: float  # log of the steps: 0 at the first, 1 at the last

    @property
    def is_full(self) -> bool:
        return self.task == FULL


def stages(history: History, first: int = 1, factor: float = 1.5) -> list[Stage]:
    """The stages of this sweep, the cheapest first, the full training last.

    With tasks they are those; without, rungs at `first`, then `factor` times further each (at least one step).
    """
    horizon = history.horizon
    if not history.tasks:
        steps = [min(first, horizon)]
        while steps[-1] < horizon:
            steps.append(min(horizon, max(steps[-1] + 1, round(steps[-1] * factor))))
        return [Stage(FULL, step, 0, step / horizon, fidelity(step, horizon)) for step in steps]
    separate = [task.name for task in history.tasks if task.name != FULL and not task.resumes]

    def stage(task: Task) -> Stage:
        if task.name in separate:
            return Stage(task.name, task.steps(horizon), 1 + separate.index(task.name), history.cost_of(task), 1.0)
        steps = task.steps(horizon)
        return Stage(FULL, steps, 0, steps / horizon, fidelity(steps, horizon))

    return sorted(map(stage, history.tasks), key=lambda stage: (stage.is_full and stage.steps == horizon, stage.cost))


def fidelity(step: int, horizon: int) -> float:
    """Log of the steps, 0 for the first and 1 for the last."""
    return math.log(step) / math.log(horizon) if horizon > 1 else 1.0


@dataclass
class Arm:
    """A configuration and its trials: one, or one for each task that is a training of its own."""

    config: Config
    unit: Vector
    trials: list[Trial] = field(default_factory=list)
    full: Trial | None = None  # its full training, begun or done
    stage: int = -1  # the highest that has a result
    running: Stage | None = None  # where it will be when its worker is free again
    broken: bool = False  # failed or diverged: it will not go on

    @property
    def step(self) -> int:
        """Of the full training; 0 if there is none."""
        return 0 if self.full is None else self.full.reach


def arms(history: History, ladder: Sequence[Stage]) -> list[Arm]:
    """Every configuration of the present space that was tried, in order of its first trial."""
    units = _units.setdefault(history, {})
    found: dict[str, Arm] = {}
    own = {stage.task: number for number, stage in enumerate(ladder) if not stage.is_full}
    full = [number for number, stage in enumerate(ladder) if stage.is_full]
    steps = [ladder[number].steps for number in full]
    for trial in history.trials:
        if not trial.in_space or trial.first_origin == FINALIST or trial.began:
            continue
        task = trial.task
        if task != FULL and task not in own:
            continue
        if trial.number not in units:
            units[trial.number] = (key_of(trial.config), history.space.to_unit(trial.config))
        key, unit = units[trial.number]
        arm = found.get(key)
        if arm is None:
            arm = found[key] = Arm(trial.config, unit)
        arm.trials.append(trial)
        arm.broken |= trial.broke
        reached = -1
        if task == FULL:
            arm.full = arm.full or trial
            if passed := bisect_right(steps, trial.reach):
                reached = full[passed - 1]
        elif trial.status is Status.COMPLETED:
            reached = own[task]
        arm.stage = max(arm.stage, reached)
        if trial.status is Status.RUNNING:
            arm.running = _goal(trial, ladder)
    return list(found.values())


_units: WeakKeyDictionary[History, dict[int, tuple[str, Vector]]] = WeakKeyDictionary()


def _goal(trial: Trial, ladder: Sequence[Stage]) -> Stage:
    """The stage a running trial is on its way to."""
    own = [stage for stage in ladder if stage.task == trial.task]
    until = trial.suggestion.until or own[-1].steps
    return next((stage for stage in own if stage.steps >= until), own[-1])
