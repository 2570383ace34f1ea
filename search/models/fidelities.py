"""The alternatives of a multi-fidelity search: configurations tried so far, and fidelities, how far to train one."""

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
class Fidelity:
    """A place on the way to a full training: `steps` steps of a task."""

    task: str
    steps: int
    index: int  # the model's number of the task: 0 is the full training
    cost: float  # of training from scratch to here, as a share of a full training
    level: float  # log of the steps: 0 at the first, 1 at the last

    @property
    def is_full(self) -> bool:
        return self.task == FULL


def fidelities_of(history: History, first: int = 1, factor: float = 1.5) -> list[Fidelity]:
    """The fidelities of this sweep, cheapest first, the full training last.

    They are the tasks, if there are any; otherwise rungs at `first`, then each `factor` times further (by at least one
    step).
    """
    horizon = history.horizon
    if not history.tasks:
        steps = [min(first, horizon)]
        while steps[-1] < horizon:
            steps.append(min(horizon, max(steps[-1] + 1, round(steps[-1] * factor))))
        return [Fidelity(FULL, step, 0, step / horizon, level(step, horizon)) for step in steps]
    separate = [task.name for task in history.tasks if task.name != FULL and not task.resumes]

    def fidelity(task: Task) -> Fidelity:
        if task.name in separate:
            return Fidelity(task.name, task.steps(horizon), 1 + separate.index(task.name), history.cost_of(task), 1.0)
        steps = task.steps(horizon)
        return Fidelity(FULL, steps, 0, steps / horizon, level(steps, horizon))

    return sorted(map(fidelity, history.tasks), key=lambda each: (each.is_full and each.steps == horizon, each.cost))


def level(step: int, horizon: int) -> float:
    """Log of the steps, scaled to 0 at the first and 1 at the last."""
    return math.log(step) / math.log(horizon) if horizon > 1 else 1.0


@dataclass
class Configuration:
    """A configuration and its trials: one, or one for each task with a separate training."""

    config: Config
    unit: Vector
    trials: list[Trial] = field(default_factory=list)
    full: Trial | None = None  # its full training, unfinished or complete
    reached: int = -1  # the index of the highest fidelity with a result; -1: none
    running: Fidelity | None = None  # the fidelity it will have reached when its worker is free again
    broken: bool = False  # it failed or diverged, so it will not continue

    @property
    def step(self) -> int:
        """The last step of its full training; 0 if it has none."""
        return 0 if self.full is None else self.full.reach


def configurations_of(history: History, fidelities: Sequence[Fidelity]) -> list[Configuration]:
    """Every configuration of the present space tried so far, in order of its first trial."""
    units = _units.setdefault(history, {})
    found: dict[str, Configuration] = {}
    own = {fidelity.task: number for number, fidelity in enumerate(fidelities) if not fidelity.is_full}
    full = [number for number, fidelity in enumerate(fidelities) if fidelity.is_full]
    steps = [fidelities[number].steps for number in full]
    for trial in history.trials:
        if not trial.in_space or trial.first_origin == FINALIST or trial.began:
            continue
        task = trial.task
        if task != FULL and task not in own:
            continue
        if trial.number not in units:
            units[trial.number] = (key_of(trial.config), history.space.to_unit(trial.config))
        key, unit = units[trial.number]
        configuration = found.get(key)
        if configuration is None:
            configuration = found[key] = Configuration(trial.config, unit)
        configuration.trials.append(trial)
        configuration.broken |= trial.broke
        reached = -1
        if task == FULL:
            configuration.full = configuration.full or trial
            if passed := bisect_right(steps, trial.reach):
                reached = full[passed - 1]
        elif trial.status is Status.COMPLETED:
            reached = own[task]
        configuration.reached = max(configuration.reached, reached)
        if trial.status is Status.RUNNING:
            configuration.running = _goal(trial, fidelities)
    return list(found.values())


_units: WeakKeyDictionary[History, dict[int, tuple[str, Vector]]] = WeakKeyDictionary()


def _goal(trial: Trial, fidelities: Sequence[Fidelity]) -> Fidelity:
    """The fidelity that a running trial is training for."""
    own = [fidelity for fidelity in fidelities if fidelity.task == trial.task]
    until = trial.suggestion.until or own[-1].steps
    return next((fidelity for fidelity in own if fidelity.steps >= until), own[-1])
