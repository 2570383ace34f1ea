"""A searcher and a scheduler over one history, for a training loop of your own: no Ray, no files, no clock.

Example::

    tuning = AskAndTell(Space({"x": uniform(0, 1)}), Tpe(), Asha(), horizon=9)
    while (trial := tuning.ask()) is not None:
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, loss=(trial.config["x"] - 0.3) ** 2):
                break
    print(tuning.best.config)

`ask` returns a trial to run now: a new one, or a resting one to resume (then `trial.step` is not 0). Several may run
at once; None means that there is nothing to run until you have told more. The rules are those of a sweep: a baseline
and points go first, a budget and a target end the search (`over` says why), and then `ask` returns the finalists.
Several threads may call it: each call waits for the others. `save` returns all that happened as text; `load` it in
another process and continue.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import wraps
from threading import RLock
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from search import checks, saved
from search.contract import Scheduler, Searcher
from search.history import History, Trial
from search.records import (
    LOSS,
    Began,
    Config,
    End,
    Goal,
    Over,
    Record,
    Report,
    Status,
    Suggestion,
    resume,
)
from search.rules.conduct import Instead, Rules, after_report, best, early_end, next_move, rest, takes_on_stopped
from search.run_state import TARGET
from search.schedulers.run_to_end import RunToEnd
from search.space import Space
from search.task import Task

Given = ParamSpec("Given")
Result = TypeVar("Result")


def _alone(
    method: Callable[Concatenate[AskAndTell, Given], Result],
) -> Callable[Concatenate[AskAndTell, Given], Result]:
    """`method`, which waits until no other thread is in such a one: all of them read the history that some change."""

    @wraps(method)
    def alone(self: AskAndTell, /, *args: Given.args, **options: Given.kwargs) -> Result:
        with self._lock:
            return method(self, *args, **options)

    return alone


class AskAndTell:
    """Runs a search step by step, as every driver does; all state is in `history`.

    >>> asking = AskAndTell(Space({"x": uniform(0, 1)}), Random(), horizon=1)
    >>> trial = asking.ask()
    >>> asking.tell(trial, 1, loss=trial.config["x"])  # it has reached the horizon
    False
    """

    def __init__(
        self,
        space: Space,
        searcher: Searcher,
        scheduler: Scheduler | None = None,
        *,
        horizon: int,
        seed: int = 0,
        tasks: Sequence[Task] = (),
        limit: int | None = None,
        earlier: Sequence[History] = (),
        baseline: Config | None = None,
        points: Sequence[Config] = (),
        budget: float | None = None,
        target: float | None = None,
        finalists: int = 0,
        confirmations: int = 1,
        goal: Goal = LOSS,
    ) -> None:
        """`limit`: configurations to start; `budget`: full trainings in all, including the finalists' `confirmations`.

        `goal`: the metric that `tell` takes, and whether it is maximised; `target` is a value of it. Raises ValueError if the
        searcher refuses the space, or the space a configuration.
        """
        if not isinstance(space, Space):
            wrap = "write Space({…}) around the dict" if isinstance(space, Mapping) else "write Space({…})"
            raise ValueError(f"AskAndTell(space={space!r}): must be a Space; {wrap}.")
        scheduler = RunToEnd() if scheduler is None else scheduler
        checks.parts(searcher, scheduler)
        checks.limits(
            horizon=horizon, seed=seed, limit=limit, budget=budget, target=target, finalists=finalists,
            confirmations=confirmations,
        )  # fmt: skip
        checks.goal(goal)
        searcher.check(space)
        baseline = None if baseline is None else space.check(baseline)
        self.searcher = searcher
        self.scheduler = scheduler
        self.rules = Rules(
            baseline=baseline, points=[space.check(point) for point in points], budget=budget, target=target, finalists=finalists,
            confirmations=confirmations, goal=goal,
        )  # fmt: skip
        taught = checks.earlier(earlier, space)
        self.history = History(space, horizon=horizon, seed=seed, tasks=tasks, limit=limit, earlier=taught)
        self.records: list[Record] = []  # the records behind `history`
        self._lock = RLock()

    @property
    def over(self) -> str:
        """Why the search is over; empty: it is not. `ask` may still return finalists."""
        return self.history.run.over

    @property
    @_alone
    def best(self) -> Trial | None:
        """The best trial so far, by the rule of a sweep; None before the first finite loss.

        Of the completed full trainings, it is the one with the lowest last loss (with finalists, once the search is over:
        the lowest mean of the confirmations). Before any is completed, it is the best of those that got furthest, even
        if it failed later.
        """
        return best(self.history, self.rules)

    @_alone
    def ask(self) -> Trial | None:
        """A trial to run now, from `trial.step` to `goal(trial)`; None: nothing until you have told more, or ever.

        Raises the searcher's errors.
        """
        history = self.history
        move = next_move(history, self.searcher, self.scheduler, self.rules)
        if isinstance(move, Over) and not self.over:
            self._add(move)
            move = next_move(history, self.searcher, self.scheduler, self.rules)
        if isinstance(move, Instead):
            raise move.error
        if not isinstance(move, Suggestion):
            return None
        number = move.trial if move.kind == "resume" else len(history.trials)
        self._add(replace(move, trial=number))
        return history.trials[-1 if number is None else number]

    def steps(self, trial: Trial) -> range:
        """The steps that `trial` has yet to train, unless it is stopped before."""
        self._check("steps", trial)
        return range((trial.step or trial.began) + 1, self.goal(trial) + 1)

    def goal(self, trial: Trial) -> int:
        """The step at which `trial` rests: the suggested one, or the end of its task."""
        self._check("goal", trial)
        return self.history.goal(trial)

    @_alone
    def tell(
        self,
        trial: Trial,
        step: int,
        value: float | None = None,
        *,
        loss: float | None = None,
        cost_seconds: float = 0.0,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Report the metric's `value` of `trial` at `step`, which took `cost_seconds`; returns whether to continue.

        The value has the sign of the metric of `goal`. Without a goal it is the loss; `loss` is always minimised.
        After False the trial rests; keep its checkpoint if its status is STOPPED, because it may be resumed. Raises
        ValueError, and records nothing, for a step that the trial cannot have reached or has told already, a trial that
        rests, or a value that is missing or no number.
        """
        self._check("tell", trial)
        given = value if loss is None else loss
        if given is None or (value is not None and loss is not None):
            wrong = "the loss is missing" if given is None else "value and loss are the same thing"
            said = f"AskAndTell.tell(trial {trial.number}, {step!r})"
            raise ValueError(f"{said}: {wrong}; write tell(trial, step, loss), with steps counted from 1.")
        plain = checks.number(
            given, f"the {self.rules.goal.metric if loss is None else 'loss'} at step {step} of trial {trial.number}"
        )
        self._refuse(trial, step)
        plain = self.rules.goal.loss(plain) if loss is None else plain
        told = Report(trial.number, int(step), plain, checks.seconds(cost_seconds), checks.metrics(metrics, step))
        self._add(told)
        for record in after_report(trial, self.history, self.scheduler, self.rules):
            self._add(record)
        if (end := rest(trial)) is not None:
            self._add(end)
        return trial.status is Status.RUNNING

    @_alone
    def fail(self, trial: Trial, reason: str | BaseException) -> None:
        """Record that `trial` failed and will not continue; `reason` is a text, or the exception.

        A trial that has ended keeps its result, whatever its worker does afterwards: `fail`, `leave` and `end` record
        nothing then, and warn. Only a paused trial that may be resumed can still fail, without its checkpoint for example.
        """
        self._check("fail", trial)
        self._end("fail", trial, End(trial.number, Status.FAILED, checks.reason("fail", reason)))

    @_alone
    def leave(self, trial: Trial, reason: str | BaseException) -> None:
        """Record that you have stopped `trial`; it rests at its last step."""
        self._check("leave", trial)
        self._end("leave", trial, End(trial.number, Status.STOPPED, checks.reason("leave", reason)))

    @_alone
    def end(self, trial: Trial, reason: str | BaseException) -> None:
        """Record that `trial` ended by itself, maybe early; its last loss is its result. Without any it has failed."""
        self._check("end", trial)
        self._end("end", trial, early_end(trial, self.history, checks.reason("end", reason)))

    @_alone
    def retry(self, trial: Trial, reason: str | BaseException) -> None:
        """Resume a paused trial."""
        self._check("retry", trial)
        why = checks.reason("retry", reason)
        self.append(resume(trial, until=trial.suggestion.until, origin="retry", evidence=why))

    @_alone
    def append(self, record: Record) -> None:
        """Add a record of anything else that happened, such as a trial run elsewhere.

        A search that was over continues. Raises ValueError for what is no record.
        """
        if not isinstance(record, tuple(saved.RECORDS.values())):
            raise ValueError(
                f"AskAndTell.append: {record!r} is no record; build one from search.records, such as Lost(3)."
            )
        if self.over:
            self._add(Began("a record was added"))
        self._add(record)

    @_alone
    def save(self) -> str:
        """The space, the settings and all records, as JSON."""
        return saved.written(self.history.space, self._settings(), self.records)

    @_alone
    def load(self, text: str) -> None:
        """Restore the records of `save` into a new object; its next `ask` returns what the old one would have.

        Settings may differ, as in a sweep: a search that was over goes on under a larger limit, and a warning tells of
        another searcher, scheduler or seed. Raises ValueError, and restores nothing, if `save` did not write the text, or
        wrote it with another space (priors may differ), horizon or goal.
        """
        if self.records:
            raise ValueError(f"AskAndTell.load: there are {len(self.records)} records already; load into a new object.")
        space, settings, records = saved.read(text)
        if difference := saved.other_space(space, self.history.space):
            raise ValueError(
                f"AskAndTell.load: it was saved with another space: {difference}. Load it with the space that it was saved "
                "with; for another space start a new search, with the old history as earlier=[…]."
            )
        if difference := saved.other_training(settings, self._settings()):
            raise ValueError(
                f"AskAndTell.load: {difference}, so the saved losses do not mean the same any more. Load it with what it was "
                "saved with, or start a new search."
            )
        for record in records:
            self._add(record)
        changes = saved.changes(settings, self._settings())
        if changes or (not settings and self.over and not self.over.startswith(TARGET)):  # saved by an earlier release
            self._add(Began(saved.in_words(changes, changes) or "loaded"))
        if told := saved.in_words(changes, saved.DECIDES):
            warnings.warn(f"AskAndTell.load: {told}; the search goes on with the new one.", stacklevel=3)

    def _settings(self) -> dict[str, Any]:
        """All that decides beside the space and the records, as plain values."""
        history, rules = self.history, self.rules
        return {
            "horizon": history.horizon, "goal": asdict(rules.goal), "tasks": saved.meanings(history.tasks),
            "searcher": saved.by_its_settings(self.searcher), "scheduler": saved.by_its_settings(self.scheduler),
            "seed": history.seed, "limit": history.limit, "budget": rules.budget, "target": rules.target,
            "finalists": rules.finalists, "confirmations": rules.confirmations, "baseline": rules.baseline,
            "points": list(rules.points),
        }  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """Without the lock, which cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=RLock())

    def _end(self, method: str, trial: Trial, end: End) -> None:
        """Record the end of a trial that has not ended before."""
        pauses = trial.status is Status.STOPPED and takes_on_stopped(self.searcher, self.scheduler, self.rules)
        if trial.status is Status.RUNNING or (end.status is Status.FAILED and pauses):
            self._add(end)
            return
        warnings.warn(
            f"AskAndTell.{method}: trial {trial.number} is {trial.status.value} at step {trial.step} and keeps its result; not "
            f"recorded: {end.reason}",
            stacklevel=4,
        )

    def _check(self, method: str, trial: Trial) -> None:
        """Raise ValueError if `trial` is no trial of this search."""
        if not isinstance(trial, Trial):
            raise ValueError(f"AskAndTell.{method}: trial is {trial!r}; pass the trial that `ask` returned.")
        if trial not in self.history.trials[trial.number : trial.number + 1]:
            raise ValueError(
                f"AskAndTell.{method}: trial {trial.number} belongs to another search; pass one that `ask` of this one "
                "returned, or one of its history.trials."
            )

    def _refuse(self, trial: Trial, step: int) -> None:
        """Raise ValueError if `trial` cannot have reached `step` now."""
        said = f"AskAndTell.tell: step {step!r} of trial {trial.number}"
        whole = self.history.steps(trial.task)
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)):
            raise ValueError(f"{said}: a step must be a whole number, counted from 1.")
        if step > whole:
            raise ValueError(f"{said}: its training has {whole} steps; make the horizon longer, or stop there.")
        if trial.status is not Status.RUNNING:
            rests = f"it is {trial.status.value} at step {trial.step}"
            raise ValueError(f"{said}: {rests}; stop the training when `tell` returns False.")
        if step <= max(trial.step, trial.began):
            at = max(trial.step, trial.began)
            raise ValueError(
                f"{said}: it is at step {at} already, and a step is told once; tell its next one, as `steps` lists them."
            )

    def _add(self, record: Record) -> None:
        self.records.append(record)
        self.history.append(record)
