"""The history: the fold of a sweep's records, and all that its searchers, schedulers and rules decide from."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, overload

from search.costs import Costs
from search.curves import Curves
from search.records import FINALIST, Began, Config, End, OfRun, OfTrial, Over, Record, Report, Status, Suggestion
from search.run_state import RunState
from search.space import Space
from search.task import FULL, Task, named


class Trial:
    """One configuration and all that is known of it; grown by the `History`, read-only for everybody else."""

    def __init__(self, number: int, suggestion: Suggestion) -> None:
        self.number = number
        self.first_origin = suggestion.origin  # who proposed the configuration
        self.suggestion = suggestion  # the latest one: a resumed trial has a new `until`
        self.parent = suggestion.parent  # the trial it was forked from
        self.began = suggestion.parent_step or 0  # step after which its own training began; 0 unless forked
        self.replaces = suggestion.replaces  # the trial whose place in a population it took
        self.in_space = True  # False: its configuration is not in the present space (a baseline, an older space)
        self.status = Status.RUNNING
        self.reason = ""
        self.steps: list[int] = []  # increasing
        self.losses: list[float] = []  # same length; finite, except that the last may not be
        self.cost_seconds = 0.0
        self.whole = 0  # steps of its task, if it came to an end of its own before: its last loss holds up to there

    @property
    def config(self) -> Config:
        return self.suggestion.config

    @property
    def task(self) -> str:
        return self.suggestion.task

    @property
    def step(self) -> int:
        """Last recorded step; 0 before the first report."""
        return self.steps[-1] if self.steps else 0

    @property
    def reach(self) -> int:
        """How far its curve is known: its last step; of one that ended by itself, the end of its task."""
        return max(self.step, self.whole)

    @property
    def loss(self) -> float:
        """Loss at the last recorded step; NaN before the first report."""
        return self.losses[-1] if self.losses else math.nan

    @property
    def broke(self) -> bool:
        """It failed or diverged, or its latest loss is not finite."""
        return self.status in (Status.FAILED, Status.DIVERGED) or (
            bool(self.losses) and not math.isfinite(self.losses[-1])
        )

    def loss_at(self, step: int) -> float | None:
        """Loss recorded at exactly `step`, or None; beyond an end of its own, the last."""
        if self.steps and self.step < step <= self.whole:
            return self.loss
        index = step - 1 if 0 < step <= len(self.steps) and self.steps[step - 1] == step else None
        if index is None and step in self.steps:  # steps need not be dense: a fork begins at its parent's step
            index = self.steps.index(step)
        return None if index is None else self.losses[index]

    def grow(self, report: Report) -> None:
        """For the history."""
        self.steps.append(report.step)
        self.losses.append(report.loss)
        self.cost_seconds += report.cost_seconds

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self.status.value}, step={self.step}, loss={self.loss:.4g})"


class History:
    """Everything that happened in a sweep, in order. Searchers and schedulers read it; only the driver appends.

    `len(history)` counts the suggestions, reports and ends, and never falls: (seed, len(history)) names a point in
    time, so it seeds every random decision, and a searcher may memoise on it. The other records change `run` only.

    Example::

        history = History(Space({"x": uniform(0, 1)}), horizon=9, seed=1)
        suggestion = searcher.suggest(history)
        trial = history.append(suggestion)
        history.append(Report(trial.number, 1, loss=0.3))
    """

    def __init__(
        self,
        space: Space,
        *,
        horizon: int,
        seed: int = 0,
        tasks: Sequence[Task] = (),
        limit: int | None = None,
        earlier: Sequence[History] = (),
    ) -> None:
        self.space = space
        self.horizon = horizon  # steps of a full training
        self.seed = seed
        self.tasks = tuple(sorted(tasks, key=lambda task: task.cost))  # cheapest first; empty: only full trainings
        self.limit = limit  # configurations that may be started; None: as many as the budget allows
        self.earlier = tuple(earlier)  # histories of earlier sweeps whose results may teach something
        self.trials: list[Trial] = []  # index = number
        self.run = RunState()  # whether the search is over, who lost a worker, …
        self.memo = ""  # the latest that a searcher left with a suggestion
        self.asked = 0  # suggestions so far
        self.under_way: frozenset[int] = frozenset()  # the trials that were running after the latest suggestion
        self._length = 0
        self._started = 0
        self._configurations: set[str] = set()  # that were started, on whatever task
        self._notes: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}  # configuration and task → its first trial
        self._by_status: dict[Status, dict[int, Trial]] = {status: {} for status in Status}
        self._curves = Curves(self.trials)
        self._costs = Costs(horizon, self.tasks, self.trials)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    @overload
    def append(self, record: OfTrial) -> Trial: ...

    @overload
    def append(self, record: OfRun) -> None: ...

    def append(self, record: Record) -> Trial | None:
        """Add one record; returns the trial it is about, if it is about one."""
        if isinstance(record, Report):
            trial = self.trials[record.trial]
            self._length += 1
            self._costs.add(trial.task, record.step - (trial.step or trial.began))
            self._curves.add(trial, record.step, record.loss)
            trial.grow(record)
            self.run.report(record.step)
            return trial
        if isinstance(record, (Over, Began)):
            self.run.add(record, None)
            return None
        trial = self._suggested(record) if isinstance(record, Suggestion) else self.trials[record.trial]
        if isinstance(record, End):
            self._ended(trial, record)
        self.run.add(record, trial)
        return trial

    @property
    def room(self) -> bool:
        """May another configuration be started? Resuming, forking and another task for a known one need no room."""
        return self.limit is None or self._started < self.limit

    def allows(self, suggestion: Suggestion) -> bool:
        """Whether there is room for what was suggested."""
        return self.room or suggestion.kind != "start" or _takes_on(suggestion, self._configurations, self._numbers)

    def note(self, name: str) -> Any:
        """The latest that was left under `name` in a memo that is a JSON object; None if nothing was."""
        return self._notes.get(name)

    def task(self, name: str) -> Task | None:
        """The task of this name; None if the sweep has it no more. There is always a full one."""
        return named(self.tasks, name)

    def steps(self, task: str = FULL) -> int:
        """How many steps a training of this task has."""
        known = self.task(task)
        return self.horizon if known is None else known.steps(self.horizon)

    def goal(self, trial: Trial) -> int:
        """The step at which `trial` comes to rest: what was suggested, or the end of its task."""
        whole = self.steps(trial.task)
        return min(trial.suggestion.until or whole, whole)

    def cost_of(self, task: Task | str) -> float:
        """What a training of this task costs, as a share of a full one.

        Its steps, if a full training passes through it; else what it has cost so far (seconds a step, against
        those of full trainings), drawn towards the declared share while little was measured.
        """
        name = task if isinstance(task, str) else task.name
        return self.steps(name) * self._costs.rate(name, len(self))

    @property
    def spent(self) -> float:
        """What has been trained, in full trainings."""
        return sum(steps * self._costs.rate(task, len(self)) for task, steps in self._costs.each())

    @property
    def committed(self) -> float:
        """What the running trials will still cost until they come to rest, in full trainings."""
        return sum(
            max(0, self.goal(trial) - (trial.step or trial.began)) * self._costs.rate(trial.task, len(self))
            for trial in self.having(Status.RUNNING)
        )

    def trained(self, task: str = FULL) -> int:
        """Steps that have been trained on this task."""
        return self._costs.trained(task)

    def at(self, step: int) -> Mapping[int, float]:
        """Trial number → loss, for every trial that reported `step` (a rung), in order of arrival.

        Then come those that ended by themselves before, with their last loss.
        """
        return self._curves.at(step)

    def reached(self, step: int) -> Mapping[int, float]:
        """Trial number → loss at its first report at or beyond `step`; a fork counts beyond where it began.

        Of a trial that ended by itself before, the last.
        The same as `at` for trials that report every step, and a rung also for those that do not.
        """
        return self._curves.reached(step)

    def results(self, task: Task) -> dict[int, float]:
        """Trial number → finite loss, for every trial that has the result of this task, at its end or on the way."""
        if task.name == FULL or task.resumes:
            reached = self.reached(task.steps(self.horizon))
            found = {number: loss for number, loss in reached.items() if self.trials[number].task == FULL}
        else:
            found = {t.number: t.loss for t in self.having(Status.COMPLETED) if t.task == task.name}
        return {number: loss for number, loss in found.items() if math.isfinite(loss)}

    def known(self, config: Config, task: str = FULL) -> Trial | None:
        """The first trial of exactly this configuration, or None."""
        number = self._numbers.get(key_of(config, task))
        return None if number is None else self.trials[number]

    def having(self, status: Status) -> list[Trial]:
        """The trials with this status, in order of their number."""
        found = self._by_status[status]
        return [found[number] for number in sorted(found)]

    def count(self, status: Status) -> int:
        return len(self._by_status[status])

    def _suggested(self, suggestion: Suggestion) -> Trial:
        self._length += 1
        self.asked += 1
        self.memo = suggestion.memo or self.memo
        self._notes |= _noted(suggestion.memo)
        if suggestion.kind == "resume":
            assert suggestion.trial is not None
            trial = self.trials[suggestion.trial]
            trial.suggestion = suggestion
            if trial.whole:
                trial.whole = 0
                self._curves.go_on(trial)
            self._move(trial, Status.RUNNING)
        else:
            trial = Trial(len(self.trials), suggestion)
            self.trials.append(trial)
            if suggestion.kind == "start" and suggestion.origin != FINALIST:
                self._started += not _takes_on(suggestion, self._configurations, self._numbers)
                self._configurations.add(key_of(suggestion.config))
            trial.in_space = self.space.contains(trial.config)
            self._numbers.setdefault(key_of(trial.config, trial.task), trial.number)
            self._by_status[Status.RUNNING][trial.number] = trial
        self.under_way = frozenset(self._by_status[Status.RUNNING])
        return trial

    def _ended(self, trial: Trial, end: End) -> None:
        self._length += 1
        self._move(trial, end.status)
        trial.reason = end.reason
        whole = self.steps(trial.task)
        if end.status is Status.COMPLETED and trial.step < whole:
            trial.whole = whole
            self._curves.end_early(trial)

    def _move(self, trial: Trial, status: Status) -> None:
        del self._by_status[trial.status][trial.number]
        trial.status = status
        self._by_status[status][trial.number] = trial


def incumbent(history: History) -> Trial | None:
    """The best trial: lowest loss, at its last step, among the completed; before there is one, among those that got
    furthest. Only a full training counts, and what its checkpoint holds is what was evaluated.

    A repetition of a finalist is no candidate: see `search.rules.finalists` for what it is good for.
    """
    full = [trial for trial in history.having(Status.COMPLETED) if trial.task == FULL]
    candidates = [trial for trial in full if trial.first_origin != FINALIST]
    if not candidates:
        finite = [t for t in history.trials if t.task == FULL and t.steps and math.isfinite(t.loss)]
        furthest = max((trial.step for trial in finite), default=0)
        candidates = [trial for trial in finite if trial.step == furthest]
    return min(candidates, key=lambda trial: (trial.loss, trial.number), default=None)


def _takes_on(suggestion: Suggestion, configurations: Collection[str], trained: Collection[str]) -> bool:
    """Whether it trains a configuration that was started before, on another task."""
    key = key_of(suggestion.config, suggestion.task)
    return key_of(suggestion.config) in configurations and key not in trained


def _noted(memo: str) -> dict[str, Any]:
    """What a memo says under which name; nothing, if it is not of a searcher that keeps notes."""
    try:
        notes = json.loads(memo) if memo else {}
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


def key_of(config: Config, task: str = FULL) -> str:
    """Equal for equal configurations on the same task."""
    return repr((task, sorted(config.items())))
