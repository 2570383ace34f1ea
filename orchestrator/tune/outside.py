"""Our searchers and schedulers in a plain `ray.tune.Tuner`: no sweep, no ledger, Tune keeps the record.

Example::

    search = SearchAlgorithm(Tpe(), space, metric="loss", mode="min", horizon=27)
    scheduler = TrialScheduler(AshaPromote(), search)
    tune.Tuner(
        train, tune_config=tune.TuneConfig(search_alg=search, scheduler=scheduler, num_samples=50)
    ).fit()

Both decide from the one history that `search` keeps; it is saved in Tune's snapshots, and `Tuner.restore` goes on
from it. (Killed while it writes one, Tune finds half a snapshot and starts over, with one trial; a sweep's ledger has
no such moment.) A step is a call of `tune.report` (Tune's training_iteration), the horizon how many of them a full
training has. What rests and may go on is paused, and unpaused when our scheduler or searcher resumes it: then the
trainable must report checkpoints, and start from `tune.get_checkpoint()`. A trial that returns before the horizon has
ended by itself, and its last loss is its result.

Tune asks for a configuration one ahead of the free workers, so a decision knows of one trial less than in a sweep.
Not here, as Tune has no words for it: forks (population based training) and tasks that change the workload; both are
refused. `num_samples` counts every training, the `confirmations` of the `finalists` included; a `budget` ends the
search, not a training. `SearchAlgorithm` works with Tune's own schedulers too; `TrialScheduler` needs a `SearchAlgorithm`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.result import (
    AUTO_RESULT_KEYS,
    DEBUG_METRICS,
    DEFAULT_EXPERIMENT_INFO_KEYS,
    DONE,
    SHOULD_CHECKPOINT,
    TIME_THIS_ITER_S,
    TRAINING_ITERATION,
)
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.search.variant_generator import parse_spec_vars
from ray.tune.trainable.function_trainable import FunctionTrainable

from orchestrator.errors import BadInput
from search import settings
from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import Trial
from search.records import Config, Goal, Status
from search.rules.conduct import Rules, takes_on_stopped
from search.space import Space
from search.task import Task
from search.wording import instance, shown

STEP, COST = TRAINING_ITERATION, TIME_THIS_ITER_S
# What Tune adds to a result.
TUNES_OWN = {*AUTO_RESULT_KEYS, *DEBUG_METRICS, *DEFAULT_EXPERIMENT_INFO_KEYS, DONE, SHOULD_CHECKPOINT}


class SearchAlgorithm(TuneSearcher):  # type: ignore[misc]
    """One of our searchers, as Tune's `search_alg`.

    Leave `metric` and `mode` out of TuneConfig: Tune hands them on only to a TrialScheduler, or if there is a param_space,
    so others than here are noticed only then.
    """

    def __init__(
        self,
        searcher: Searcher,
        space: Space,
        *,
        metric: str,
        mode: str,
        horizon: int,
        seed: int = 0,
        tasks: Sequence[Task] = (),
        baseline: Config | None = None,
        points: Sequence[Config] = (),
        budget: float | None = None,
        target: float | None = None,
        finalists: int = 0,
        confirmations: int = 1,
    ) -> None:
        _check(searcher, space, mode, horizon, tasks)
        super().__init__()  # no metric: Tune would check for it first, and in many words; `tell` does it
        self._settings: dict[str, Any] = {
            "horizon": horizon, "seed": seed, "tasks": tasks, "baseline": baseline, "points": points, "budget": budget,
            "target": target, "finalists": finalists, "confirmations": confirmations, "goal": Goal(metric, mode),
        }  # fmt: skip
        self.tuning = AskAndTell(space, searcher, **self._settings)
        self.max_concurrent: int | None = None
        self.pauses = False  # a TrialScheduler of ours is there, which can take resting trials on
        self.closed = False  # Tune was told that there will be no new configuration
        self.due: list[str] = []  # resumed in the history, still paused in Tune
        self._ours: dict[str, int] = {}  # Tune's trial id → our number
        self._ids: dict[int, str] = {}

    # What Tune calls.

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        goal = self.tuning.rules.goal
        if metric not in (None, goal.metric) or mode not in (None, goal.mode):
            raise BadInput(
                f"TuneConfig(metric={metric!r}, mode={mode!r}): SearchAlgorithm has metric={goal.metric!r}, "
                f"mode={goal.mode!r}; leave them out of TuneConfig."
            )
        _, domains, grids = parse_spec_vars(config or {})
        if domains or grids:
            path = "/".join((domains or grids)[0][0])
            raise BadInput(
                f"param_space[{path!r}]: the space is SearchAlgorithm's; put it there, and only constants here."
            )
        return True

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        self.max_concurrent = max_concurrent  # counted here: for Tune a paused trial would count as well
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        history = self.tuning.history
        if self.closed:
            return str(self.FINISHED)
        if self.due or self.is_full:
            return None
        trial = self.ask()
        if trial is not None and trial.suggestion.kind == "start":
            self._ours[trial_id], self._ids[trial.number] = trial.number, trial_id
            return dict(trial.config)
        nothing_follows = self.tuning.over and not self.tuning.rules.finalists
        if nothing_follows or (trial is None and not history.count(Status.RUNNING)):
            self.closed = True  # nothing runs, so nothing will be learned that could change the answer
            return str(self.FINISHED)
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.tell(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        trial = self.trial(trial_id)
        if result:
            self.tell(trial_id, result)
        if trial.status is not Status.RUNNING:
            return
        if error:
            self.tuning.fail(trial, "the trainable raised; see error.txt in its folder")
        elif result and self.pauses:
            self.tuning.end(trial, "the trainable returned")
        else:
            self.tuning.leave(trial, f"Tune ended it at step {trial.step}")

    def save(self, checkpoint_path: str) -> None:
        limit = self.tuning.history.limit  # a restored Tuner no longer knows its num_samples
        state = {"trials": self._ours, "closed": self.closed, "limit": limit, "records": self.tuning.save()}
        Path(checkpoint_path).write_text(json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        state = json.loads(Path(checkpoint_path).read_text())
        before = self.tuning
        self.tuning = AskAndTell(
            before.history.space, before.searcher, before.scheduler, limit=state["limit"], **self._settings
        )
        self.tuning.load(state["records"])
        self._ours, self.closed = state["trials"], state["closed"]
        self._ids = {number: trial_id for trial_id, number in self._ours.items()}

    # What both share.

    def ask(self) -> Trial | None:
        """The next trial to run; a trial to resume joins those that are `due`."""
        trial = self.tuning.ask()
        if trial is None:
            return None
        suggestion = trial.suggestion
        if suggestion.kind == "fork":
            raise BadInput(
                f"{shown(self.tuning.searcher)} forks trials, which a plain Tuner cannot; run it as a Sweep "
                "(orchestrator.main), or use ray.tune.schedulers.PopulationBasedTraining."
            )
        if suggestion.kind == "resume":
            if not self.pauses:
                raise BadInput(
                    f"{shown(self.tuning.searcher)} resumes trials; add TuneConfig(scheduler=TrialScheduler(RunToEnd(), search))."
                )
            self.due.append(self._ids[trial.number])
        return trial

    def tell(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Record a result unless it is known; returns whether the trial may continue.

        Raises BadInput for a result without the metric, if Tune's check for it is on.
        """
        goal = self.tuning.rules.goal
        _check_reported(goal.metric, result)
        trial = self.trial(trial_id)
        step = min(
            int(result.get(STEP, 0)), self.tuning.history.steps(trial.task)
        )  # who reports now and then passes it
        if trial.status is Status.RUNNING and step > trial.step and goal.metric in result:
            loss = goal.loss(float(result[goal.metric]))
            metrics = {name: float(other) for name, other in result.items() if _is_measured(name, other)}
            self.tuning.tell(trial, step, loss=loss, cost_seconds=float(result.get(COST, 0.0)), metrics=metrics)
        return trial.status is Status.RUNNING

    def knows(self, trial_id: str) -> bool:
        return trial_id in self._ours

    def trial(self, trial_id: str) -> Trial:
        return self.tuning.history.trials[self._ours[trial_id]]

    @property
    def is_full(self) -> bool:
        """Whether `max_concurrent_trials` trials are running."""
        return self.max_concurrent is not None and self.tuning.history.count(Status.RUNNING) >= self.max_concurrent

    @property
    def may_resume(self) -> bool:
        """Whether a trial at rest may be taken on, by the scheduler or by the searcher."""
        tuning = self.tuning
        return self.pauses and takes_on_stopped(tuning.searcher, tuning.scheduler, tuning.rules)

    @property
    def resumes(self) -> bool:
        """Whether scheduler or searcher take on trials at rest all along, not only finalists at the end."""
        return takes_on_stopped(self.tuning.searcher, self.tuning.scheduler, Rules())


class TrialScheduler(FIFOScheduler):  # type: ignore[misc]
    """One of our schedulers, as Tune's `scheduler`; `search` is the SearchAlgorithm of the same Tuner."""

    def __init__(self, scheduler: Scheduler, search: SearchAlgorithm) -> None:
        _instance("TrialScheduler", Scheduler, scheduler=scheduler)
        if not isinstance(search, SearchAlgorithm):
            raise BadInput(
                f"TrialScheduler(search={search!r}): must be the Tuner's SearchAlgorithm, to share its history."
            )
        super().__init__()
        self.search = search
        search.tuning.scheduler = scheduler
        search.pauses = True
        self._tune_trials: dict[str, TuneTrial] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Called before each start; a searcher is told the same only if there is a param_space."""
        samples, rules = spec.get("num_samples", 1), self.search.tuning.rules
        kept = rules.finalists * rules.confirmations  # Tune counts every training
        self.search.tuning.history.limit = max(1, samples - kept) if samples > 0 else None
        return self.search.set_search_properties(metric, mode, {})

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A new trial, or one of a restored experiment: Tune makes all its unfinished trials pending."""
        if not self.search.knows(trial.trial_id):
            raise BadInput(
                "TrialScheduler: the Tuner has another search_alg; give it the SearchAlgorithm of the scheduler."
            )
        self._tune_trials[trial.trial_id] = trial
        ours = self.search.trial(trial.trial_id)
        if trial.status == TuneTrial.PENDING and ours.status is Status.STOPPED and self.search.may_resume:
            trial.set_status(TuneTrial.PAUSED)
        elif trial.status == TuneTrial.PENDING and ours.status is Status.FAILED:
            self.search.tuning.retry(ours, "restarted by Tuner.restore")

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        if self.search.tell(trial.trial_id, result):
            return str(self.CONTINUE)
        rests = self.search.trial(trial.trial_id).status is Status.STOPPED and self.search.may_resume
        if rests and self.search.resumes and _has_reported_none(trial, result):
            raise BadInput(_without_checkpoint(self.search.tuning, trial.trial_id))
        return str(self.PAUSE if rests and not result.get("done") else self.STOP)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        for trial in list(self._tune_trials.values()):  # decided, but the snapshot came before Tune did it
            if trial.status == TuneTrial.PENDING and self.search.trial(trial.trial_id).status is not Status.RUNNING:
                tune_controller.stop_trial(trial)
        live = [trial for trial in self._tune_trials.values() if not trial.is_finished()]
        pending = next((trial for trial in live if trial.status == TuneTrial.PENDING), None)
        if pending is None and not self.search.due and (self.search.closed or not self.search.tuning.history.room):
            self._ask_where_tune_does_not(tune_controller, live)
        for trial_id in self.search.due:
            trial = self._tune_trials[trial_id]
            if trial.status == TuneTrial.PAUSED:  # otherwise it is still being saved
                self.search.due.remove(trial_id)
                return self._resumable(trial)
        return pending

    def on_trial_complete(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> None:
        self._tune_trials.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: TuneTrial) -> None:
        self._tune_trials.pop(trial.trial_id, None)

    def debug_string(self) -> str:
        history = self.search.tuning.history
        counts = ", ".join(f"{history.count(status)} {status.value}" for status in Status if history.count(status))
        return f"{self.search.tuning.searcher!r}, {self.search.tuning.scheduler!r}: {counts}"

    def _ask_where_tune_does_not(self, tune_controller: Any, live: list[TuneTrial]) -> None:
        """All configurations have started: resume paused trials if possible; else, if nothing runs, release the rest."""
        if self.search.is_full or self.search.ask() is not None:
            return
        if all(trial.status == TuneTrial.PAUSED for trial in live):
            for trial in live:
                tune_controller.stop_trial(trial)

    def _resumable(self, trial: TuneTrial) -> TuneTrial:
        if trial.checkpoint is None:
            raise BadInput(_without_checkpoint(self.search.tuning, trial.trial_id))
        return trial


def _instance(title: str, wanted: type, **values: object) -> None:
    try:
        instance(title, wanted, **values)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _check(searcher: object, space: object, mode: object, horizon: object, tasks: Sequence[Task]) -> None:
    _instance("SearchAlgorithm", Searcher, searcher=searcher)
    if not isinstance(space, Space):
        raise BadInput(f"SearchAlgorithm(space={space!r}): must be a Space; write Space({{...}}) around the dict.")
    try:
        settings.one_of("SearchAlgorithm", ("min", "max"), mode=mode)
        settings.whole("SearchAlgorithm", 1, horizon=horizon)
    except ValueError as error:
        raise BadInput(str(error)) from None
    changed = next((task for task in tasks if task.cost < 1 and not task.resumes), None)
    if changed is not None:
        raise BadInput(
            f"SearchAlgorithm(tasks={changed!r}): Tune cannot train a changed workload; use Task.epochs, or run a Sweep."
        )


def _has_reported_none(trial: TuneTrial, result: Mapping[str, Any]) -> bool:
    """Whether it is a function without a checkpoint so far; of a class Tune saves one when it pauses the trial."""
    is_function = issubclass(trial.get_trainable_cls() or object, FunctionTrainable)
    return is_function and trial.checkpoint is None and not trial.is_saving and not result.get(SHOULD_CHECKPOINT)


def _without_checkpoint(tuning: AskAndTell, trial: str) -> str:
    """The objection to a training without checkpoints: who resumes it, and what to use instead."""
    searcher, scheduler = tuning.searcher, tuning.scheduler
    who = {
        shown(searcher): (searcher.continues, "a searcher that trains each trial in one go, such as Tpe()"),
        shown(scheduler): (
            type(scheduler).promote is not Scheduler.promote,
            "a scheduler that only stops, such as Asha()",
        ),
        f"finalists={tuning.rules.finalists}": (tuning.rules.finalists > 0, "finalists=0"),
    }
    causes = {name: remedy for name, (resumes, remedy) in who.items() if resumes}
    return (
        f"{' and '.join(causes)} {'resume' if len(causes) > 1 else 'resumes'} trials, and trial {trial} has no checkpoint to go "
        f"on from: report one with tune.report(..., checkpoint=...), or use {' and '.join(causes.values())}."
    )


def _check_reported(metric: str, result: Mapping[str, Any]) -> None:
    if metric in result or STEP not in result or os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING") == "1":
        return
    reported = ", ".join(repr(name) for name in result if _is_reported(name)) or "nothing"
    raise BadInput(
        f"SearchAlgorithm(metric={metric!r}): the training reports {reported}; name a metric that it reports, or report "
        f"{metric!r} at each step."
    )


def _is_reported(name: str) -> bool:
    return name not in TUNES_OWN and not name.startswith("config/")


def _is_measured(name: str, value: object) -> bool:
    return settings.is_number(value) and _is_reported(name)
