"""Sweep: the frozen description of what to tune, how, and with how much.

It validates itself when it is made, before anything starts. Its fingerprint covers what must not change when
the same run is continued; everything else (more trials, a longer budget, another searcher) may.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from math import isfinite
from os import PathLike
from typing import Any

import numpy as np

from orchestrator import packages  # isort: skip  # noqa: F401 - before anything of search/
from orchestrator import checks
from orchestrator.errors import BadInput, did_you_mean
from orchestrator.identity import files_of, identity, same_command
from orchestrator.mistakes import tell_uncaught
from orchestrator.secrets import masked_value
from search.base import Scheduler, Searcher
from search.records import Config, Goal
from search.rules.conduct import Rules
from search.schedulers.run_to_end import RunToEnd
from search.space import Space
from search.task import FULL, Task
from search.task import problem as problem_with_tasks
from search.work import Trainable

tell_uncaught()  # whoever describes a sweep may make a mistake in it

OTHER_NAMES = {  # what people call our fields elsewhere
    "n_trials": "num_samples",
    "max_trials": "num_samples",
    "num_trials": "num_samples",
    "n_jobs": "max_concurrent",
    "n_workers": "max_concurrent",
    "max_concurrent_trials": "max_concurrent",
    "timeout": "time_budget",
    "stop": "target",
    "target_value": "target",
    "time_budget_s": "time_budget",
    "param_space": "space",
    "search_space": "space",
    "config_space": "space",
    "search_alg": "searcher",
    "sampler": "searcher",
    "pruner": "scheduler",
    "objective": "metric",
    "goal": "mode",
    "direction": "mode",
    "random_seed": "seed",
    "random_state": "seed",
    "resources_per_trial": "resources",
    "enqueue_trial": "points_to_evaluate",
    "warm_start": "transfer",
    "fidelities": "tasks",
    "observation_budget": "budget",
    "total_cost": "budget",
    "initial_points": "points_to_evaluate",
}
NUM_SAMPLES = 16  # configurations, where neither they nor a budget are given
EXAMPLES = 20  # random configurations that are tried on workload and policy before anything starts
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to tune (`workload` over `space`), who decides (`searcher`, `scheduler`, `policy`), and how much of it.

    Raises BadInput, naming the field, the value and the remedy.
    """

    name: str  # the run's folder under --runs
    workload: Trainable
    space: Space
    searcher: Searcher
    scheduler: Scheduler = field(default_factory=RunToEnd)
    policy: Any = None  # a Policy, or a function of the configuration that makes one; None: knobs stay fixed
    metric: str = ""  # default: the workload's
    mode: str = ""  # "min" or "max"; default: the workload's
    num_samples: int | None = None  # configurations to try; None: 16, or as many as the budget allows
    budget: float | None = None  # what may be trained in all, in full trainings, finalists included
    tasks: Sequence[Task] = ()  # cheaper versions of the training and the full one, for a searcher that uses them
    max_concurrent: int | None = None  # trials at once; None: as many as the resources allow
    first_alone: bool = True  # the first trial runs alone until it reports: a mistake common to all costs one start
    time_budget: float | str | None = None  # driver time over all invocations: seconds, or "90m", "6h"
    seed: int = 0
    resources: Mapping[str, Any] = field(default_factory=lambda: {"cpu": 1})  # of one trial: cpu, gpu, memory
    workers: int = 1  # processes of one trial, on one machine, that share its batches and its resources
    points_to_evaluate: Sequence[Config] = ()  # configurations to try first
    baseline: Config | str | None = "workload"  # trained in full and compared with; "workload": its own, if it fits
    allow_failed: int = 0  # failed trials that are still a success
    retries: int = 3  # times that a trial may lose its worker without having made progress
    diverged_beyond: float | None = None  # a metric worse than this counts as diverged, like NaN
    target: float | None = None  # good enough: a full training that reaches this metric ends, and with it the search
    max_silence: float | str | None = None  # a trial that reports nothing for so long is killed and retried
    checkpoint_seconds: float = 5.0  # at most this often, and never for more than 2 % of the training time
    keep_checkpoints: int = 5  # of completed trials, the best so many keep theirs
    finalists: int | None = None  # so many of the best are trained again at the end; None: what the searcher says
    confirmations: int = 1  # … so many times each, on fresh seeds
    transfer: Sequence[str] = ()  # earlier runs whose results may teach something: names beside this one, or folders

    def __new__(cls, *args: Any, **given: Any) -> Sweep:
        known = [f.name for f in fields(cls)] if "__dataclass_fields__" in cls.__dict__ else []
        for name in given:
            if known and name not in known:
                other = OTHER_NAMES.get(name)
                hint = f" Did you mean {other!r}?" if other else did_you_mean(name, known)
                raise BadInput(f"Sweep has no option {name!r}.{hint}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self._make_plain()
        check_name(self.name)
        self._check_types()
        checks.horizon(self)
        self._check_metric()
        self._check_numbers()
        self._check_points()
        self._check_parameters()
        self._check_tasks()
        self._check_budget()
        self._check_transfer()
        checks.on_description(self)

    # What the rest of the program asks.

    @property
    def metric_name(self) -> str:
        return self.metric or self.workload.metric

    @property
    def maximise(self) -> bool:
        return (self.mode or self.workload.mode) == "max"

    @property
    def goal(self) -> Goal:
        return Goal(self.metric_name, "max" if self.maximise else "min")

    def loss(self, value: float) -> float:
        """The user's metric as the loss that is minimised inside."""
        return self.goal.loss(value)

    def value(self, loss: float) -> float:
        return self.goal.value(loss)

    @property
    def rules(self) -> Rules:
        """What the rules of a sweep need to know of this one."""
        return Rules(
            baseline=self.baseline_config, points=tuple(self.points_to_evaluate), budget=self.budget, target=self.target,
            diverged_beyond=self.diverged_beyond, finalists=self.finalist_count, confirmations=self.confirmations,
            retries=self.retries, first_alone=self.first_alone, goal=self.goal,
        )  # fmt: skip

    @property
    def threads(self) -> int:
        """CPUs for each worker of a trial."""
        return max(1, int(self.resources.get("cpu", 1)) // self.workers)

    @property
    def limit(self) -> int | None:
        """Configurations that may be started; None: as many as the budget allows."""
        return NUM_SAMPLES if self.num_samples is None and self.budget is None else self.num_samples

    @property
    def finalist_count(self) -> int:
        return self.searcher.finalists if self.finalists is None else self.finalists

    def workload_for(self, task: str) -> Trainable:
        """The workload as a trial of this task trains it."""
        known = next((each for each in self.tasks if each.name == task), None)
        if known is None or known.resumes or known.name == FULL:
            return self.workload
        steps = known.steps(self.workload.horizon)
        shorter = {"horizon": steps} if steps != self.workload.horizon else {}
        changed: Trainable = replace(self.workload, **known.changes, **shorter)  # type: ignore[type-var]
        return changed

    @property
    def budget_seconds(self) -> float | None:
        return None if self.time_budget is None else seconds(self.time_budget, "time_budget")

    @property
    def silence_seconds(self) -> float | None:
        return None if self.max_silence is None else seconds(self.max_silence, "max_silence")

    @property
    def memory_bytes(self) -> int | None:
        memory = self.resources.get("memory")
        return None if memory is None else number_of_bytes(memory)

    @property
    def baseline_config(self) -> Config | None:
        if not isinstance(self.baseline, str):
            return self.baseline
        own = self.workload.baseline
        return own if own is not None and set(own) == set(self.space.names) else None

    def policy_for(self, config: Config) -> Any:
        """The policy of one trial; None for fixed knobs."""
        is_function = callable(self.policy) and not hasattr(self.policy, "act")
        return self.policy(config) if is_function else self.policy

    def describe(self) -> dict[str, Any]:
        """All settings as plain JSON data, for the ledger; what looks like a secret is masked."""
        described: dict[str, Any] = masked_value(self._settings())
        return described

    def _settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "workload": self._workload_identity,
            "policy": identity(self.policy),
            "metric": self.metric_name,
            "mode": "max" if self.maximise else "min",
            "horizon": self.workload.horizon,
            "space": self.space.describe(),
            "searcher": identity(self.searcher),
            "scheduler": identity(self.scheduler),
            "num_samples": self.limit,
            "budget": self.budget,
            "tasks": [_plain(task) for task in self.tasks],
            "finalists": self.finalist_count,
            "confirmations": self.confirmations if self.finalist_count else 0,
            "transfer": list(self.transfer),
            "max_concurrent": self.max_concurrent,
            "time_budget": self.budget_seconds,
            "target": self.target,
            "seed": self.seed,
            "resources": dict(self.resources),
            "workers": self.workers,
            "baseline": None if self.baseline_config is None else dict(self.baseline_config),
            "points_to_evaluate": [dict(point) for point in self.points_to_evaluate],
            "files": files_of(command) if isinstance(command := getattr(self.workload, "command", None), str) else {},
        }

    @property
    def _workload_identity(self) -> str:
        known, command = identity(self.workload), getattr(self.workload, "command", None)
        return known.replace(repr(command), repr(same_command(command))) if isinstance(command, str) else known

    @property
    def fingerprint(self) -> str:
        """Changes exactly when old results lose their meaning for sure (see `FIXED`)."""
        described = self.describe()
        return hashlib.sha256(json.dumps([described[key] for key in FIXED]).encode()).hexdigest()

    # Checks.

    def _make_plain(self) -> None:
        """NumPy's numbers are as good as Python's, and no scheduler means none."""
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, np.generic):
                object.__setattr__(self, each.name, value.item())
        if self.scheduler is None:
            object.__setattr__(self, "scheduler", RunToEnd())

    def _check_types(self) -> None:
        for name, kind in (("space", Space), ("searcher", Searcher), ("scheduler", Scheduler)):
            checks.kind(name, getattr(self, name), kind)
        if isinstance(self.workload, type):
            raise BadInput(
                f"Sweep(workload={self.workload.__name__}): that is the class; write {self.workload.__name__}()."
            )
        if not all(hasattr(self.workload, part) for part in ("metric", "mode", "metrics", "horizon", "run")):
            raise BadInput(
                f"Sweep(workload={self.workload!r}): must be a Workload (metric, mode, metrics, horizon, run)."
            )
        if self.policy is not None and not callable(self.policy) and not hasattr(self.policy, "act"):
            raise BadInput(
                f"Sweep(policy={self.policy!r}): must be a Policy, or a function from a configuration to one."
            )
        try:
            self.searcher.check(self.space)
        except ValueError as error:
            raise BadInput(f"Sweep(searcher={self.searcher!r}): {error}") from error

    def _check_metric(self) -> None:
        if self.metric_name not in self.workload.metrics:
            raise BadInput(
                f"Sweep(metric={self.metric_name!r}): {type(self.workload).__name__} reports no such metric."
                + did_you_mean(self.metric_name, self.workload.metrics)
            )
        if self.metric and self.metric != self.workload.metric and not self.mode:
            raise BadInput(f"Sweep(metric={self.metric!r}): say also mode='min' or mode='max'.")
        checks.mode(self)

    def _check_numbers(self) -> None:
        if self.num_samples is not None:
            self._whole("num_samples", 1)
        if self.finalists is not None:
            self._whole("finalists", 0)
        self._whole("confirmations", 1)
        self._whole("workers", 1)
        self._whole("seed", 0)
        self._whole("allow_failed", 0)
        self._whole("retries", 0)
        self._whole("keep_checkpoints", 1)
        if self.max_concurrent is not None:
            self._whole("max_concurrent", 1)
        if not isinstance(self.first_alone, bool):
            raise BadInput(f"Sweep(first_alone={self.first_alone!r}): must be True or False.")
        for name in ("diverged_beyond", "target"):
            limit = getattr(self, name)
            number = isinstance(limit, (int, float)) and not isinstance(limit, bool) and isfinite(limit)
            if limit is not None and not number:
                raise BadInput(f"Sweep({name}={limit!r}): must be a finite number, a value of the metric.")
        if self.target is not None and self.rules.has_diverged(self.loss(self.target)):
            raise BadInput(
                f"Sweep(target={self.target!r}): is beyond diverged_beyond={self.diverged_beyond!r}; "
                f"mode is {'max' if self.maximise else 'min'!r}: which one is meant the other way round?"
            )
        for name in ("time_budget", "max_silence"):
            value = getattr(self, name)
            if value is not None and not seconds(value, name) > 0:
                raise BadInput(f"Sweep({name}={value!r}): must be more than 0; leave it out for no limit.")
        if isinstance(self.checkpoint_seconds, bool) or not (
            isinstance(self.checkpoint_seconds, (int, float)) and self.checkpoint_seconds >= 0
        ):
            raise BadInput(
                f"Sweep(checkpoint_seconds={self.checkpoint_seconds!r}): must be a number of seconds, 0 or more."
            )
        for name, amount in self.resources.items():
            if name not in ("cpu", "gpu", "memory"):
                raise BadInput(
                    f"Sweep(resources={dict(self.resources)!r}): no resource {name!r}."
                    + did_you_mean(name, ("cpu", "gpu", "memory"))
                )
            if name == "memory":
                number_of_bytes(amount)
            elif isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < 1e6:
                raise BadInput(f"Sweep(resources={dict(self.resources)!r}): {name} must be a number, 0 or more.")

        for name in ("cpu", "gpu"):
            amount = self.resources.get(name, 0)
            if self.workers > 1 and amount < self.workers and (name == "cpu" or amount):
                raise BadInput(
                    f"Sweep(workers={self.workers}): the trial has resources={dict(self.resources)!r}; "
                    f"give it {name}={self.workers} or more, one for each worker."
                )

    def _check_points(self) -> None:
        points: list[tuple[str, Any]] = [("points_to_evaluate", point) for point in self.points_to_evaluate]
        if self.baseline is not None and self.baseline != "workload":
            points.append(("baseline", self.baseline))
        for name, point in points:
            if not isinstance(point, Mapping):
                raise BadInput(f"Sweep({name}): {point!r} is not a configuration; write a dict of parameter values.")
            reason = self.space.why_not(point) if name == "points_to_evaluate" else None
            if reason:
                raise BadInput(f"Sweep({name}): {dict(point)!r} is not in the space: {reason}")
        object.__setattr__(self, "points_to_evaluate", tuple(map(self.space.check, self.points_to_evaluate)))
        baseline = self.baseline
        if isinstance(baseline, Mapping) and not self.space.is_conditional and set(baseline) != set(self.space.names):
            wrong = sorted(set(baseline) ^ set(self.space.names))
            raise BadInput(f"Sweep(baseline={dict(baseline)!r}): {wrong[0]!r} is in one of baseline and space only.")

    def _check_parameters(self) -> None:
        """Whether the workload finds in a configuration what it reads."""
        knobs = getattr(self.workload, "knobs", None)
        if knobs is None:  # somebody else's training, which says it itself
            return
        for config in self.examples:
            try:
                knobs(config)
            except KeyError as error:
                if not error.args or error.args[0] in config:
                    raise
                raise BadInput(
                    f"Sweep(space): {type(self.workload).__name__} reads the parameter {error}, which {config!r} has not; "
                    "add it to the space: a range, or a plain value that holds for all trials."
                ) from None

    @property
    def examples(self) -> list[Config]:
        """Random configurations, always the same."""
        rng = np.random.default_rng(0)
        return [self.space.sample(rng) for _ in range(EXAMPLES)]

    def _check_tasks(self) -> None:
        tasks = tuple(_flat(self.tasks))
        for task in tasks:
            if not isinstance(task, Task):
                raise BadInput(
                    f"Sweep(tasks): {task!r} is no Task; write tasks=Task.epochs(0.1, 0.5, 1.0), or a list of tasks."
                )
            self._check_changes(task)
        wrong = problem_with_tasks(tasks)
        if wrong:
            raise BadInput(f"Sweep(tasks={list(tasks)!r}): {wrong}.")
        if any(task.resumes and task.share < 1 for task in tasks) and not self._policy_resumes():
            # Its short training is another one than a long training cut short: a promotion starts over.
            tasks = tuple(replace(task, resumes=task.name == FULL) for task in tasks)
        object.__setattr__(self, "tasks", tasks)
        for task in tasks:
            self._check_workload_for(task)

    def _check_changes(self, task: Task) -> None:
        workload = self.workload
        known: list[str] = [f.name for f in fields(workload) if f.init] if is_dataclass(workload) else []
        for name, value in task.changes.items():
            if name == "horizon":
                raise BadInput(f"Sweep(tasks): {task.name!r} changes the horizon; write share= instead, of the steps.")
            if name not in known:
                hint = did_you_mean(name, known) if known else " It is no dataclass, and cannot be changed."
                raise BadInput(
                    f"Sweep(tasks): {task.name!r} has {name}={value!r}, but {type(workload).__name__} has no field {name!r}.{hint}"
                )

    def _check_workload_for(self, task: Task) -> None:
        steps = task.steps(self.workload.horizon)
        try:
            horizon = steps if task.resumes else self.workload_for(task.name).horizon
        except (TypeError, ValueError) as error:
            raise BadInput(f"Sweep(tasks): {task!r} of {self.workload!r}: {error}") from error
        if horizon != steps:
            raise BadInput(f"Sweep(tasks): {task!r} should have {steps} steps, but its workload has horizon={horizon}.")

    def _policy_resumes(self) -> bool:
        """Whether no configuration gets a policy whose schedule depends on the length of the training."""
        if not callable(self.policy) or hasattr(self.policy, "act"):
            return bool(getattr(self.policy, "resumable", True))
        for config in self.examples:
            try:
                policy = self.policy_for(config)
            except Exception as error:
                raise BadInput(f"Sweep(policy): no policy for {config!r}: {type(error).__name__}: {error}") from error
            if not getattr(policy, "resumable", True):
                return False
        return True

    def _check_budget(self) -> None:
        budget, reserved = self.budget, self.finalist_count * self.confirmations
        if budget is None:
            return
        if isinstance(budget, bool) or not isinstance(budget, (int, float)) or not (isfinite(budget) and budget > 0):
            raise BadInput(f"Sweep(budget={budget!r}): must be a number of full trainings, more than 0.")
        if reserved and budget - reserved < 1:
            raise BadInput(
                f"Sweep(budget={budget!r}): {self.finalist_count} finalists × {self.confirmations} confirmations take "
                f"{reserved} full trainings, and less than one is left to search with; raise the budget to {reserved + 1} "
                "or more, or lower finalists."
            )
        if budget < 1:
            raise BadInput(
                f"Sweep(budget={budget!r}): is counted in full trainings, and with less than one nothing could be "
                "completed; write budget=1 or more."
            )

    def _check_transfer(self) -> None:
        runs = [self.transfer] if isinstance(self.transfer, str) else list(self.transfer)
        for run in runs:
            if not isinstance(run, (str, PathLike)) or not str(run):
                raise BadInput(f"Sweep(transfer): {run!r} is no run; write the names or folders of earlier runs.")
        object.__setattr__(self, "transfer", tuple(str(run) for run in runs))

    def _whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadInput(f"Sweep({name}={value!r}): must be a whole number, {least} or more.")


FIXED = ("workload", "policy", "metric", "mode", "horizon")
"""Fields of `Sweep.describe` whose change makes every old result meaningless."""


def _flat(tasks: Any) -> Iterable[Any]:
    """`Task.epochs(…)` may stand in a list beside other tasks."""
    if isinstance(tasks, Task) or not isinstance(tasks, (list, tuple)):
        return (tasks,)
    return (task for some in tasks for task in _flat(some))


def _plain(task: Task) -> dict[str, Any]:
    changes = {
        name: value if value is None or isinstance(value, (bool, int, float, str)) else identity(value)
        for name, value in sorted(task.changes.items())
    }
    return {"name": task.name, "cost": task.cost, "share": task.share, "changes": changes, "resumes": task.resumes}


def described_tasks(description: Mapping[str, Any]) -> list[Task]:
    """The tasks of a recorded `Sweep.describe`; none in one of an older release."""
    return [Task(**task) for task in description.get("tasks", ())]


def check_name(name: object) -> None:
    """A run's name becomes a folder: refuse what is no plain file name."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise BadInput(f"name={name!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit.")


def seconds(value: float | str, name: str) -> float:
    """A duration in seconds: a number, or a text such as '90s', '15m', '6h', '2d'."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", str(value))
    if not match:
        raise BadInput(f"{name}={value!r}: write seconds, or a number with a unit: '90s', '15m', '6h', '2d'.")
    return float(match[1]) * UNITS[match[2] or "s"]


def number_of_bytes(value: object) -> int:
    """An amount of memory in bytes: a whole number, or a text such as '512MiB', '4GiB'."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?b)\s*", str(value).lower())
    if not match:
        raise BadInput(f"resources memory={value!r}: write bytes, or a number with a unit: '512MiB', '4GiB'.")
    return int(float(match[1]) * BYTES[match[2]])
