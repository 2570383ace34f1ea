"""A searcher and a scheduler over one history, for a training loop of your own: no Ray, no files, no clock.

Example::

    tuning = AskAndTell(Space({"x": uniform(0, 1)}), Tpe(), Asha(), horizon=9)
    while (trial := tuning.ask()) is not None:
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, loss=(trial.config["x"] - 0.3) ** 2):
                break

`ask` gives a trial to run now: a new one, or one that rests and goes on from where it was left (then `trial.step`
is not 0). Several may run at once; None means that there is nothing to run until more was told. `save` gives all
that happened as text; `load` in another process, and go on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from search.base import Scheduler, Searcher, Verdict
from search.schedulers.run_to_end import RunToEnd
from search.space import Space
from search.task import Task
from search.trial import End, Enough, History, Record, Report, Status, Suggestion, Trial, resume


class AskAndTell:
    """What every driver does between two decisions; all state is in `history`.

    >>> asking = AskAndTell(Space({"x": uniform(0, 1)}), Random(), horizon=1)
    >>> trial = asking.ask()
    >>> asking.tell(trial, 1, loss=trial.config["x"])  # it is at its end
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
    ) -> None:
        searcher.check(space)
        self.searcher = searcher
        self.scheduler = scheduler or RunToEnd()
        self.history = History(space, horizon=horizon, seed=seed, tasks=tasks, limit=limit, earlier=earlier)
        self.records: list[Record] = []  # what `history` was folded from
        self.enough = ""  # why the searcher ended the search; empty: it did not

    def ask(self) -> Trial | None:
        """A trial to run now, from `trial.step` to `goal(trial)`; None: nothing until more was told, or at all."""
        history = self.history
        suggestion = self.scheduler.promote(history)
        if suggestion is None and not self.enough and (history.room or self.searcher.continues):
            answer = self.searcher.suggest(history)
            if isinstance(answer, Enough):
                self.enough = answer.reason
            else:
                suggestion = answer
        if suggestion is None or not history.allows(suggestion):
            return None
        number = suggestion.trial if suggestion.kind == "resume" else len(history.trials)
        return self.append(replace(suggestion, trial=number))

    def steps(self, trial: Trial) -> range:
        """The steps that `trial` has yet to train, if it is not stopped before."""
        return range((trial.step or trial.began) + 1, self.goal(trial) + 1)

    def goal(self, trial: Trial) -> int:
        """The step at which `trial` rests: what was suggested, or the end of its task."""
        return self.history.goal(trial)

    def tell(
        self,
        trial: Trial,
        step: int,
        loss: float,
        *,
        cost_seconds: float = 0.0,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """`trial` reached `step` with this loss, which took `cost_seconds` since the step before. May it go on?

        After False it rests: keep its checkpoint if its status is STOPPED, it may be resumed. A step that was told
        already changes nothing. Raises ValueError, and records nothing, for a step that trial cannot have reached,
        a trial that is at rest, or a loss that is no number.
        """
        loss = _number(loss, f"the loss at step {step} of trial {trial.number}")
        if trial.steps and step == trial.step:
            return trial.status is Status.RUNNING
        self._refuse(trial, step)
        plain = {name: _number(value, f'the metric "{name}" at step {step}') for name, value in (metrics or {}).items()}
        self.append(Report(trial.number, int(step), loss, _number(cost_seconds, "cost_seconds"), plain))
        if not math.isfinite(loss):
            self._rest(trial, Status.DIVERGED, f"loss = {loss} at step {step}")
        elif step >= self.history.steps(trial.task):
            self._rest(trial, Status.COMPLETED, "reached its end")
        elif step >= self.goal(trial):
            self._rest(trial, Status.STOPPED, f"reached step {step} as planned")
        elif self.scheduler.judge(trial, self.history) is Verdict.STOP:
            self._rest(trial, Status.STOPPED, f"{type(self.scheduler).__name__} at step {step}")
        return trial.status is Status.RUNNING

    def fail(self, trial: Trial, reason: str) -> None:
        """`trial` broke and will not go on."""
        self._rest(trial, Status.FAILED, reason)

    def leave(self, trial: Trial, reason: str) -> None:
        """`trial` was stopped by somebody else; it rests where it is."""
        self._rest(trial, Status.STOPPED, reason)

    def end(self, trial: Trial, reason: str) -> None:
        """`trial` ended by itself, maybe before the horizon; its last loss is its result."""
        self._rest(trial, Status.COMPLETED, reason)

    def retry(self, trial: Trial, reason: str) -> None:
        """A trial at rest goes on after all."""
        self.append(resume(trial, until=trial.suggestion.until, origin="retry", evidence=reason))

    def append(self, record: Record) -> Trial:
        """Add a record of anything else that happened: a trial that somebody tried already, …"""
        self.records.append(record)
        return self.history.append(record)

    def save(self) -> str:
        """All records, as JSON."""
        return json.dumps([{"record": type(record).__name__, **asdict(record)} for record in self.records])

    def load(self, text: str) -> None:
        """Take over the records of `save`, in a new object; the next `ask` answers as it would have there."""
        if self.records:
            raise ValueError(f"AskAndTell.load: there are {len(self.records)} records already; load into a new one.")
        for row in json.loads(text):
            kind = row.pop("record")
            if kind == "End":
                self.append(End(**row | {"status": Status(row["status"])}))
            else:
                self.append(Suggestion(**row) if kind == "Suggestion" else Report(**row))

    def _refuse(self, trial: Trial, step: int) -> None:
        """Raises ValueError if `trial` cannot have reached `step` now."""
        said = f"AskAndTell.tell: step {step!r} of trial {trial.number}"
        whole = self.history.steps(trial.task)
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)):
            raise ValueError(f"{said}: a step must be a whole number; they count from 1.")
        if step <= max(trial.step, trial.began):
            raise ValueError(f"{said}: it is at step {max(trial.step, trial.began)} already; steps only grow.")
        if step > whole:
            raise ValueError(f"{said}: its training has {whole} steps; make the horizon longer, or stop there.")
        if trial.status is not Status.RUNNING:
            rests = f"it is {trial.status.value} at step {trial.step}"
            raise ValueError(f"{said}: {rests}; leave off when `tell` answers False.")

    def _rest(self, trial: Trial, status: Status, reason: str) -> None:
        self.append(End(trial.number, status, reason))


def _number(value: Any, what: str) -> float:
    """A plain float, of a number of any library; raises ValueError if `value` is none."""
    try:
        if isinstance(value, str):
            raise ValueError
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of many numbers is one of these
        raise ValueError(f"AskAndTell.tell: {what} is {value!r}; it must be one number.") from None
