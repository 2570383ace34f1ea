"""The history: the fold of a sweep's records, on which searchers, schedulers and rules base all decisions."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

from search.costs import Costs
from search.curves import Curves
from search.device_time import DeviceTime
from search.records import (
    FINALIST,
    LOSS,
    Began,
    Config,
    End,
    Goal,
    OfRun,
    OfTrial,
    Over,
    Record,
    Report,
    Status,
    Suggestion,
    Used,
    found_in,
    start,
)
from search.run_state import RunState
from search.space import Space
from search.task import FULL, Task, named


class Trial:
    """One configuration and everything known about it; the `History` updates it, all others only read it."""

    def __init__(self, number: int, suggestion: Suggestion) -> None:
        self.number = number
        self.first_origin = suggestion.origin  # the origin of the configuration
        self.suggestion = suggestion  # the latest one: resuming brings a new `until`
        self.parent = suggestion.parent  # the trial it was forked from
        self.began = suggestion.parent_step or 0  # step after which its own training began; 0 unless forked
        self.replaces = suggestion.replaces  # the trial whose place in a population it took
        self.in_space = True  # False: the configuration is outside the present space (a baseline, an older space)
        self.status = Status.RUNNING
        self.reason = ""
        self.steps: list[int] = []  # increasing
        self.losses: list[float] = []  # same length; all finite, except perhaps the last
        self.metrics: Mapping[str, float] = {}  # all measurements of the last report, with the user's sign
        self.cost_seconds = 0.0
        self.first_seconds = 0.0  # of its first report, in which its worker may still import, compile or read the data
        self.whole = 0  # if it ended by itself: the steps of its task, up to which its last loss holds; else 0

    @property
    def config(self) -> dict[str, Any]:
        """A copy: a training may take what it needs out of it, and the history stays as it is."""
        return dict(self.suggestion.config)

    @property
    def task(self) -> str:
        return self.suggestion.task

    @property
    def step(self) -> int:
        """Last recorded step; 0 before the first report."""
        return self.steps[-1] if self.steps else 0

    @property
    def reach(self) -> int:
        """The last step at which its loss is known: its last step, or the end of its task if it ended by itself."""
        return max(self.step, self.whole)

    @property
    def loss(self) -> float:
        """Loss at the last recorded step; NaN before the first report."""
        return self.losses[-1] if self.losses else math.nan

    @property
    def found(self) -> dict[str, float]:
        """Parameter → the value that the training itself found for it, by its last report."""
        return found_in(self.metrics, self.config)

    @property
    def broke(self) -> bool:
        """Whether it failed or diverged, or its latest loss is not finite."""
        return self.status.is_failure or (bool(self.losses) and not math.isfinite(self.losses[-1]))

    def loss_at(self, step: int) -> float | None:
        """Loss at exactly `step`, or None; after the trial has ended by itself, its last loss."""
        if self.steps and self.step < step <= self.whole:
            return self.loss
        index = step - 1 if 0 < step <= len(self.steps) and self.steps[step - 1] == step else None
        if index is None and step in self.steps:  # steps may have gaps: a fork begins at its parent's step
            index = self.steps.index(step)
        return None if index is None else self.losses[index]

    def grow(self, report: Report) -> None:
        """Add a report; only the history calls this."""
        if not self.steps:
            self.first_seconds = report.cost_seconds
        self.steps.append(report.step)
        self.losses.append(report.loss)
        self.metrics = report.metrics
        self.cost_seconds += report.cost_seconds

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self.status.value}, step={self.step}, loss={self.loss:.4g})"


class History:
    """Everything that happened in a sweep, in order. Searchers and schedulers read it; only the driver appends.

    `len(history)` counts the suggestions, reports and ends, and never falls. (seed, len(history)) identifies a point in
    time, so it seeds the random decisions of a model or a rule, and a searcher may memoise on it. A random configuration
    is seeded by the number of its trial (`search.rules.proposals`). The other records change only `run`.

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
        self.limit = limit  # how many configurations may start; None: as many as the budget allows
        self.earlier = tuple(earlier)  # histories of earlier sweeps to learn from
        self.is_avoided = True  # of an earlier sweep: whether random configurations should be none of its …
        self.is_tried_first = True  # … and whether its best configurations are the first to start
        self.mode = ""  # of the values that it was made of, by `of`: "min" or "max"
        self.trials: list[Trial] = []  # index = number
        self.run = RunState()  # whether the search is over, who lost a worker, …
        self.device_time = DeviceTime()  # for how long trials held their devices
        self.asked = 0  # suggestions so far
        self.under_way: frozenset[int] = frozenset()  # the trials that were running after the latest suggestion
        self._length = 0
        self.started = 0  # configurations; more than `limit` if that was lowered
        self._configurations: set[str] = set()  # started so far, on any task
        self._notes: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}  # configuration and task → its first trial
        self._by_status: dict[Status, dict[int, Trial]] = {status: {} for status in Status}
        self._curves = Curves(self.trials)
        self.costs = Costs(horizon, self.tasks, self.trials)  # of a step of each task, and seconds of a full training

    @classmethod
    def of(cls, space: Space, results: Iterable[tuple[Config, float]], *, goal: Goal = LOSS) -> History:
        """A history of trainings from elsewhere, for `earlier`: each configuration with the final value of its metric.

        Raises ValueError for a configuration outside of `space`, and for a value that is no number.

        >>> old = History.of(Space({"x": uniform(0, 1)}), [({"x": 0.5}, 0.1), ({"x": 0.2}, 0.3)])
        >>> incumbent(old)
        Trial(0, completed, step=1, loss=0.1)
        """
        history = cls(space, horizon=1)
        history.mode = goal.mode
        for number, (config, value) in enumerate(results):
            try:
                loss = goal.loss(float(value))
            except (TypeError, ValueError):
                raise ValueError(
                    f"History.of: result {number} of {config} is {value!r}; it must be one number."
                ) from None
            trial = history.append(start(space.check(config), origin="point"))
            history.append(Report(trial.number, 1, loss))
            status = Status.COMPLETED if math.isfinite(loss) else Status.DIVERGED
            history.append(End(trial.number, status))
        return history

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Trial]:
        return iter(self.trials)

    @overload
    def append(self, record: OfTrial) -> Trial: ...

    @overload
    def append(self, record: OfRun) -> None: ...

    def append(self, record: Record) -> Trial | None:
        """Add one record; returns the trial that it concerns, if any."""
        if isinstance(record, Report):
            trial = self.trials[record.trial]
            self._length += 1
            self.costs.add(trial.task, record.step - (trial.step or trial.began))
            self._curves.add(trial, record.step, record.loss)
            trial.grow(record)
            self.run.report(record.step, record.loss)
            self.device_time.report(record.trial, record.cost_seconds)
            return trial
        if isinstance(record, Used):
            self.device_time.use(record)
            return None
        if isinstance(record, (Over, Began)):
            if isinstance(record, Began):
                self.device_time.began(record)
            self.run.add(record, None)
            return None
        trial = self._suggested(record) if isinstance(record, Suggestion) else self.trials[record.trial]
        if isinstance(record, End):
            self._ended(trial, record)
        self.run.add(record, trial)
        return trial

    @property
    def room(self) -> bool:
        """Whether another configuration may start. Resuming, forking or a new task for a known one needs no room."""
        return self.limit is None or self.started < self.limit

    def allows(self, suggestion: Suggestion) -> bool:
        """Whether there is room for the suggestion."""
        return self.room or suggestion.kind != "start" or _takes_on(suggestion, self._configurations, self._numbers)

    def note(self, name: str) -> Any:
        """The latest entry `name` of all memos that are JSON objects; None if there is none."""
        return self._notes.get(name)

    def task(self, name: str) -> Task | None:
        """The task of this name; None if the sweep no longer has it. The task "full" always exists."""
        return named(self.tasks, name)

    def steps(self, task: str = FULL) -> int:
        """The number of steps in a training of this task."""
        known = self.task(task)
        return self.horizon if known is None else known.steps(self.horizon)

    def goal(self, trial: Trial) -> int:
        """The step at which `trial` comes to rest: the suggested one, or the end of its task."""
        whole = self.steps(trial.task)
        return min(trial.suggestion.until or whole, whole)

    def cost_of(self, task: Task | str) -> float:
        """The cost of a training of this task, as a share of a full one.

        If a full training passes through the task, its steps count. Otherwise its measured cost counts (seconds per
        step, relative to full trainings), shrunk towards the declared share while there are few measurements.
        """
        name = task if isinstance(task, str) else task.name
        return self.steps(name) * self.costs.rate(name, len(self))

    @property
    def spent(self) -> float:
        """The training done so far, in full trainings."""
        return sum(steps * self.costs.rate(task, len(self)) for task, steps in self.costs.each())

    @property
    def committed(self) -> float:
        """The cost of the running trials until they come to rest, in full trainings."""
        return sum(
            max(0, self.goal(trial) - (trial.step or trial.began)) * self.costs.rate(trial.task, len(self))
            for trial in self.having(Status.RUNNING)
        )

    def at(self, step: int) -> Mapping[int, float]:
        """Trial number → loss, for every trial that reported `step` (a rung), in order of arrival.

        Then follow the trials that ended by themselves before, with their last loss.
        """
        return self._curves.at(step)

    def reached(self, step: int) -> Mapping[int, float]:
        """Trial number → loss at its first report at or beyond `step`; a fork counts beyond the step where it began.

        A trial that ended by itself before counts with its last loss. The result equals `at` if trials report every
        step; for other trials it gives a rung, too.
        """
        return self._curves.reached(step)

    def results(self, task: Task) -> dict[int, float]:
        """Trial number → finite loss, for every trial with a result of this task, at its end or on the way."""
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
                self.started += not _takes_on(suggestion, self._configurations, self._numbers)
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
    """The best trial: the completed one with the lowest loss at its last step; before any is completed, the best of
    those that got furthest. Only full trainings count, and only losses that belong to the checkpoint's weights.

    Repetitions of finalists are no candidates; `search.rules.finalists` evaluates those.
    """
    full = [trial for trial in history.having(Status.COMPLETED) if trial.task == FULL]
    candidates = [trial for trial in full if trial.first_origin != FINALIST]
    if not candidates:
        finite = [t for t in history.trials if t.task == FULL and t.steps and math.isfinite(t.loss)]
        furthest = max((trial.step for trial in finite), default=0)
        candidates = [trial for trial in finite if trial.step == furthest]
    return min(candidates, key=lambda trial: (trial.loss, trial.number), default=None)


def lessons(earlier: History, space: Space | None) -> list[Trial]:
    """The full trainings of an earlier sweep that teach something about `space`: inside of it, with a finite result."""
    full = [trial for trial in earlier.trials if trial.task == FULL and trial.steps and math.isfinite(trial.loss)]
    return [trial for trial in full if space is None or space.contains(trial.config)]


def _takes_on(suggestion: Suggestion, configurations: Collection[str], trained: Collection[str]) -> bool:
    """Whether it trains a known configuration on another task."""
    key = key_of(suggestion.config, suggestion.task)
    return key_of(suggestion.config) in configurations and key not in trained


def _noted(memo: str) -> dict[str, Any]:
    """The named entries of a memo; empty if it is not a JSON object."""
    try:
        notes = json.loads(memo) if memo else {}
    except ValueError:
        return {}
    return notes if isinstance(notes, dict) else {}


def key_of(config: Config, task: str = FULL) -> str:
    """A key that is equal for equal configurations on the same task."""
    return repr((task, sorted(config.items())))
