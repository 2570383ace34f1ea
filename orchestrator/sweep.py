"""Sweep: the frozen description of what to tune, how, and at what cost.

The constructor validates it, before anything starts. `description.FIXED` names the fields that must not change when a
run is continued; all others (more trials, a longer budget, another searcher) may.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np

from orchestrator.definition import (
    baseline,
    checks,
    defaults,
    description,
    earlier,
    first_answers,
    foreign_options,
    shorthand,
    validation,
)
from orchestrator.definition.bad_input import tell_uncaught
from orchestrator.definition.identity import identity
from orchestrator.definition.units import number_of_bytes, seconds
from orchestrator.errors import BadInput
from orchestrator.money.amounts import Amount, budget_of, full_trainings
from orchestrator.money.prices import Prices, prices_of
from search.contract import Scheduler, Searcher
from search.domain.scalars import plain_scalar
from search.history import History
from search.records import Config, Goal
from search.rules.conduct import Rules
from search.rules.device_budget import DeviceBudget
from search.space import Space
from search.task import FULL, Task
from search.wording import shown, underived
from trainables.contract import Policy, Trainable

tell_uncaught()  # a script may describe its sweep wrongly

NUM_SAMPLES = 16  # configurations, if neither their number nor a budget is given
EXAMPLES = 20  # random configurations, to try the workload and the policy before anything starts


@dataclass(frozen=True)
class Sweep:
    """What to tune (`workload` over `space`), who decides (`searcher`, `scheduler`, `policy`), and how much of it.

    `workload` is a function, a command or a Workload. A function or a command needs `minimize` or `maximize`, the name of
    its metric, and `steps`, the last step that a full training reports; a Workload knows its metric and its horizon. If
    `searcher` or `scheduler` is missing, the sweep chooses a suitable one, and `chosen` says why.

    >>> def train(config, state):
    ...     for step in range(1, 4):
    ...         yield {"loss": config["lr"] / step}
    >>> sweep = Sweep("mine", train, Space({"lr": loguniform(1e-5, 0.1)}), minimize="loss", steps=3)

    Raises BadInput, naming the field, the value and the remedy.
    """

    name: str  # the run's folder under --runs
    workload: Any  # a function, a command or a list of its words, or a Workload; a Workload from here on
    space: Space
    _: KW_ONLY
    minimize: InitVar[str | None] = None  # the metric to tune; in place of metric= and mode=
    maximize: InitVar[str | None] = None
    steps: InitVar[int | None] = None  # of a full training of a function or a command; a Workload calls it horizon
    searcher: Searcher = None  # type: ignore[assignment]  # None: what suits, see orchestrator/definition/defaults.py
    scheduler: Scheduler = None  # type: ignore[assignment]  # None: what suits the searcher
    policy: Any = None  # a Policy, or a function of the configuration that makes one; None: Fixed(), knobs stay
    metric: str = ""  # default: the workload's
    mode: str = ""  # "min" or "max"; default: the workload's
    num_samples: int | None = None  # configurations to try; None: 16, or as many as the budget allows
    budget: float | str | Amount | None = None  # limit on all training: full trainings, "40 gpu-hours" or "$200"
    prices: Prices | Mapping[str, Any] | str | None = None  # device → dollars an hour, or a file; see money/prices.py
    tasks: Sequence[Task] = ()  # cheaper versions of the training and the full one, for a searcher that uses them
    max_concurrent: int | None = None  # trials at once; None: as many as the resources allow
    first_alone: bool = True  # the first trial runs alone until it reports: a mistake common to all costs one start
    time_budget: float | str | None = None  # driver time over all invocations: seconds, or "90m", "6h"
    seed: int = 0
    resources: Mapping[str, Any] = field(default_factory=lambda: {"cpu": 1})  # of one trial: cpu, gpu, memory
    workers: int = 1  # processes of one trial, on one machine, that share its batches and its resources
    points_to_evaluate: Sequence[Config] = ()  # configurations to try first
    baseline: Config | str | None = "workload"  # trained in full, for comparison; "workload": its own, if it fits
    allow_failed: int = 0  # number of failed trials that a successful sweep may have
    retries: int = 3  # how often a trial may lose its worker without progress in between
    diverged_beyond: float | None = None  # a metric worse than this counts as diverged, like NaN
    target: float | None = None  # good enough: a full training that reaches this metric ends, and with it the search
    max_silence: float | str | None = None  # a trial that reports nothing for this long is killed and retried
    checkpoint_seconds: float = 5.0  # at most this often, and never for more than 2 % of the training time
    keep_checkpoints: int = 5  # number of the best completed trials that keep their checkpoints
    finalists: int | None = None  # number of the best trials to train again at the end; None: the searcher's default
    confirmations: int = 1  # trainings of each finalist, on fresh seeds
    transfer: (
        Sequence[str | History] | Mapping[str, Config]
    ) = ()  # earlier runs, whose best start first: names beside this
    # one, folders, results from elsewhere; as a mapping with the values of parameters that the earlier run had not
    chosen: Mapping[str, str] = field(
        init=False, repr=False, compare=False
    )  # "searcher", "scheduler": why this default
    example_policies: Sequence[Policy[Any]] = field(init=False, repr=False, compare=False)  # of `examples`; asked once

    def __new__(cls, *args: Any, **given: Any) -> Sweep:
        known = list(cls.__dict__.get("__dataclass_fields__", ()))
        for name in given:
            if known and name not in known:
                hint = foreign_options.hint(name, set(known) - {"chosen", "example_policies", "_"})
                raise BadInput(f"Sweep has no option {name!r}.{hint}")
        return super().__new__(cls)

    def __post_init__(self, minimize: str | None, maximize: str | None, steps: int | None) -> None:
        self._make_plain()
        steps = plain_scalar(steps)
        validation.name(self.name)
        wanted = shorthand.goal(minimize, maximize, self.metric, self.mode)
        workload, (metric, mode) = shorthand.workload_of(self.workload, wanted, steps)
        self._set(workload=workload, metric=metric, mode=mode)
        self._set(prices=prices_of(self.prices))
        if self.budget is not None:
            self._set(budget=budget_of(self.budget))
        self._check_types()
        validation.workload(self)
        checks.horizon(self, is_steps=steps is not None)
        validation.metric(self)
        checks.mode(self)
        validation.numbers(self)
        validation.resources(self)
        self._set(points_to_evaluate=validation.points(self))
        if isinstance(self.baseline, Mapping):
            self._set(baseline=baseline.checked(self.baseline, self.space))
        validation.parameters(self)
        self._set(example_policies=validation.policies(self))
        self._set(tasks=validation.tasks(self))
        validation.workloads(self)
        self._choose()
        validation.budget(self)
        self._set(transfer=earlier.transfer(self))
        checks.on_description(self)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _make_plain(self) -> None:
        """Turn NumPy's numbers into Python's, and drop a policy that only keeps the knobs fixed."""
        for each in fields(self):
            if each.init and isinstance(value := getattr(self, each.name), np.generic):
                self._set(**{each.name: value.item()})
        if identity(self.policy) == description.NO_POLICY:
            self._set(policy=None)

    def _check_types(self) -> None:
        checks.kind("space", self.space, Space)
        for name, kind in (("searcher", Searcher), ("scheduler", Scheduler)):
            if getattr(self, name) is not None:
                checks.kind(name, getattr(self, name), kind)
        if isinstance(self.policy, type) and issubclass(self.policy, Policy):
            checks.kind("policy", self.policy, Policy)
        remedy = underived(self.policy, Policy)
        if self.policy is not None and not isinstance(self.policy, Policy) and (remedy or not callable(self.policy)):
            what = f"a Policy; {remedy}" if remedy else "a Policy, or a function from a configuration to one"
            raise BadInput(f"Sweep(policy={shown(self.policy)}): must be {what}.")

    def _choose(self) -> None:
        """Fill in a suitable searcher and scheduler."""
        chosen: dict[str, str] = {}
        if self.searcher is None:
            searcher, chosen["searcher"] = defaults.searcher(bool(self.tasks))
            self._set(searcher=searcher)
        first_answers.check_space(self.searcher, self.space)
        if self.scheduler is None:
            resumes = validation.policy_resumes(self)
            scheduler, chosen["scheduler"] = defaults.scheduler(
                self.searcher, self.workload.horizon, policy_resumes=resumes
            )
            self._set(scheduler=scheduler)
        self._set(chosen=chosen)

    # Values derived from the fields.

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
        """The fields that the rules of a sweep need."""
        return Rules(
            baseline=self.baseline_config, points=tuple(self.points_to_evaluate), budget=full_trainings(self.budget),
            device_budget=self.device_budget, target=self.target, diverged_beyond=self.diverged_beyond, finalists=self.finalist_count, confirmations=self.confirmations,
            retries=self.retries, first_alone=self.first_alone, goal=self.goal,
        )  # fmt: skip

    @property
    def device_budget(self) -> DeviceBudget | None:
        """The budget in device hours or dollars, with the cost of each device; None if it is in full trainings."""
        if not isinstance(self.budget, Amount):
            return None
        rate = partial(self.budget.rate, prices=prices_of(self.prices))
        return DeviceBudget(self.budget.number, str(self.budget), rate)

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
        whole: Trainable = self.workload
        if known is None or known.resumes or known.name == FULL:
            return whole
        steps = known.steps(whole.horizon)
        shorter = {"horizon": steps} if steps != whole.horizon else {}
        changed: Trainable = replace(whole, **known.changes, **shorter)  # type: ignore[type-var]
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
        is_one = self.policy is None or isinstance(self.policy, Policy)
        return self.policy if is_one else self.policy(config)

    @property
    def examples(self) -> list[Config]:
        """Random configurations, always the same."""
        rng = np.random.default_rng(0)
        return [self.space.sample(rng) for _ in range(EXAMPLES)]

    def describe(self) -> dict[str, Any]:
        """All settings as plain JSON data, for the ledger; what looks like a secret is masked."""
        return description.describe(self)

    def changed(self, **changes: Any) -> Sweep:
        """The same sweep with other values of some fields; its defaults are chosen anew.

        >>> more = sweep.changed(num_samples=40)  # doctest: +SKIP
        """
        again: dict[str, Any] = dict.fromkeys(self.chosen)
        return replace(self, **(again | changes)) if changes else self


def _signature() -> inspect.Signature:
    """The signature for help and notebooks; `__new__` accepts any name, to suggest ours for an unknown one."""
    _, *others = inspect.signature(Sweep.__init__).parameters.values()
    return inspect.Signature(others)


Sweep.__signature__ = _signature()  # type: ignore[attr-defined]
