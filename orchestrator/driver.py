"""The driver: asks the deciders, writes the ledger, and tells an engine what to do next.

An engine only moves things: it asks `next` whenever a worker is free, hands the assignment to the worker, and
passes what the worker answers to `receive`, `fail` or `lose`. All that happened is in the ledger before anybody
acts on it; what is in memory here can be had again from the ledger, and is, when a run is continued.
"""

from __future__ import annotations

import bisect
import contextlib
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path

from orchestrator.accounts import ENOUGH, FALLBACK, WAITED, why_over
from orchestrator.errors import StorageError, did_you_mean
from orchestrator.failures import complaint, reason, signature
from orchestrator.guards import LOG
from orchestrator.ledger import Ledger
from orchestrator.lineage import what_changed
from orchestrator.storage import refuse_links
from orchestrator.sweep import Sweep
from orchestrator.transfer import TRANSFER, earlier_histories
from orchestrator.words import plural
from orchestrator.worker import PREPARE, TEST, Order
from search.base import Scheduler, Verdict, derived_seed, generator
from search.finalists import confirm, winner
from search.searchers.points import Points
from search.task import FULL
from search.trial import (
    BASELINE,
    FINALIST,
    End,
    Enough,
    History,
    Report,
    Status,
    Suggestion,
    Trial,
    incumbent,
    resume,
    start,
)
from search.work import Assignment, Progress

NEARLY = 1e-9  # of a full training: sums of shares are not exact
THINKING_SHARE = 0.1  # of the time: while the searcher thinks ahead, results that come have to wait
SAME_FAILURES = 3  # so many failures of one kind, before any trial has got farther, stop the sweep
LEAST_FREE = 2**22  # bytes: a failure on a disk with less room is the disk's
SMALL = 2**24  # bytes: of a failed trial so much stays beside its log
COPY_SECONDS = 600.0
NOTE_SECONDS, NOTE_SHARE = 1.0, 0.01  # at most so often, and in so many steps, the time spent is noted
TARGET = "the target is reached"


class Driver:
    """One invocation of a sweep on its ledger.

    `listen` is told of every event, as (kind, text), after it was recorded. `clock` gives seconds, real or simulated.
    """

    def __init__(
        self,
        sweep: Sweep,
        ledger: Ledger,
        *,
        command: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[str, str], None] = lambda kind, text: None,
    ) -> None:
        self.sweep = sweep
        points = sweep.points_to_evaluate
        self.searcher = Points(points, sweep.searcher) if points else sweep.searcher
        self.ledger = ledger
        self.listen = listen
        self.clock = clock
        earlier = ledger.sweeps()
        change = what_changed(sweep, ledger, earlier)
        taught, named = earlier_histories(sweep, ledger.folder, ledger.rows("event", f"WHERE kind = '{TRANSFER}'"))
        self.history: History = ledger.history(
            sweep.space, sweep.workload.horizon, sweep.seed, sweep.maximise,
            tasks=sweep.tasks, limit=sweep.limit, earlier=taught,
        )  # fmt: skip
        self.workers = 1  # how many trials may run at once; the engine knows
        self.waiting = [trial.number for trial in self.history.having(Status.RUNNING)]  # interrupted; first in line
        self.running: set[int] = set()
        self._told_of_an_early_end = False
        self._leaving: set[int] = set()  # over, and not yet left by their workers
        self.stop_reason = ""  # why nothing new is started any more: a signal, the budget, failures
        self.abort_reason = ""  # the stop was a failure
        self.over = "" if change else why_over(ledger)  # why the search is over; finalists may follow
        self.waited_seconds = 0.0  # of workers, for decisions
        self.found = self._describe_found(earlier, change)
        self._tested: set[int] = {row["trial"] for row in ledger.rows("test")}
        self._prepared = (self.shared_folder / ".complete").exists()
        self._jobs: set[str] = set()  # prepare and test orders that are out
        self._lost_jobs: dict[str, int] = {}
        self._exhausted = False  # nobody has anything more to suggest
        self._nothing_at = -1  # length of the history to which nothing was to be added
        self._thought_at = -1  # … for which the searcher has been asked to think ahead
        self._think_from = clock()  # not before this time again
        self._losses = _losses_on_record(ledger)  # trial → last recorded step at each time its worker was lost
        self._seeds: dict[int, int] = {row["trial"]: row["seed"] for row in ledger.rows("suggestion")}
        self._decided = {(row["trial"], row["samples"], row["why"]) for row in ledger.rows("decision")}
        self._replaced = {trial.replaces for trial in self.history if trial.replaces is not None}
        self._has_reported = any(trial.steps for trial in self.history)  # something has worked
        self._farthest = max(map(_proven, self.history.trials), default=0)  # step to which trials have got for sure
        self._failures: list[str] = []  # of this invocation, of those that have got as far as any other
        # Whether a stopped trial may be taken on. Finalists are, if the search has completed too few.
        self._resumes = (
            type(sweep.scheduler).promote is not Scheduler.promote
            or self.searcher.continues
            or sweep.finalist_count > 0
        )
        kept = sorted((trial.loss, trial.number) for trial in self.history.having(Status.COMPLETED) if _counts(trial))
        self._keep = max(sweep.keep_checkpoints, sweep.finalist_count)
        self._kept = kept[: self._keep]  # completed trials whose checkpoints stay
        self._spent_before = self._driver_seconds()
        self._began = clock()
        self._copied = clock()
        self._noted = 0.0  # seconds of this invocation that are on record
        self.pause_file.unlink(missing_ok=True)
        with ledger.transaction():
            ledger.add_sweep(sweep, change, command)
            for notice in ledger.notices:
                ledger.add_event("notice", notice)
            for text in named:
                ledger.add_event(TRANSFER, text)
            self._leave_lost_tasks()

    # Places.

    @property
    def folder(self) -> Path:
        return self.ledger.folder

    @property
    def shared_folder(self) -> Path:
        """What `Workload.prepare` made; read by all trials."""
        return self.folder / "prepared"

    @property
    def pause_file(self) -> Path:
        """While this file exists, trials save themselves and leave off at the next update."""
        return self.folder / "pause"

    def trial_folder(self, number: int) -> Path:
        """A trial's own: its checkpoints and what it printed."""
        return self.folder / "trials" / f"{number:05d}"

    def checkpoints(self, number: int) -> Path:
        return self.trial_folder(number) / "checkpoints"

    # What an engine asks.

    def next(self) -> Order | None:
        """What a free worker shall do now; None: nothing at the moment, ask again when something was received."""
        self.check_budget()
        if not self._prepared:
            if PREPARE in self._jobs or self.stop_reason:
                return None
            self._jobs.add(PREPARE)
            return Order(PREPARE, -1)
        if self.stop_reason or self._first_is_out:
            return None
        return self._next_training() or self._next_test()

    def receive(self, number: int, answers: Sequence[Progress], *, done: bool = False) -> bool:
        """Record what a trial's worker answered, in one transaction. False: leave the trial here.

        Answers after the one that ended the trial are dropped: they were never asked for. `done`: the worker has
        nothing more to say.
        """
        trial = self.history.trials[number]
        with self.ledger.transaction():
            for answer in answers:
                if answer.kind == "report":
                    if trial.status is Status.RUNNING:
                        self._report(trial, answer)
                elif answer.kind == "checkpoint":
                    if answer.step <= trial.step:
                        path = str(Path(answer.path).relative_to(self.folder))
                        self.ledger.add_checkpoint(number, answer.step, path, answer.sha256, answer.bytes)
                        if answer.step == trial.step:
                            self._rest(trial)
                elif answer.kind == "decision":
                    self._decide(number, answer)
                elif answer.kind == "ended":
                    if trial.status is Status.RUNNING:
                        self._end_early(trial, answer.text)
                elif answer.kind == "paused":
                    self._leave(number)
                    self.waiting.append(number)
                else:
                    self._tell("notice", f"trial {number}: {answer.text}", number)
            if done:
                self._rest(trial)
            self._note_spent()
        if trial.status is not Status.RUNNING:
            self._let_go(trial, done=done)
        self.check_budget()
        if self.clock() - self._copied > COPY_SECONDS:
            self.ledger.copy()
            self._copied = self.clock()
        return trial.status is Status.RUNNING and number in self.running

    def fail(self, number: int, kind: str, text: str, detail: str = "") -> None:
        """A trial raised: `kind` is the class of the error, `text` what it says, `detail` its traceback.

        Raises StorageError, and leaves the trial as it is, if that is because the disk is full.
        """
        trial = self.history.trials[number]
        with self.ledger.transaction():
            if trial.status is Status.RUNNING:
                self._fail(trial, kind, text, detail)
            else:  # its result stands
                self._tell(
                    "notice",
                    f"trial {number}, after it was {trial.status.value}: {reason(kind, text)}",
                    number,
                )
        self._let_go(trial, done=True)

    def lose(self, number: int, why: str) -> None:
        """A trial's worker is gone (killed, its node lost, silent for too long): go on from the last checkpoint.

        Losing a worker after progress costs nothing (a preemption); a trial that loses it again and again at
        the same step is given up after `retries`.
        """
        self._leave(number)
        trial = self.history.trials[number]
        if trial.status is not Status.RUNNING:
            return
        steps = self._losses.setdefault(number, [])
        steps.append(trial.step)
        with self.ledger.transaction():
            if steps.count(trial.step) > self.sweep.retries:
                self._fail(trial, "WorkerLost", f"{why} ({steps.count(trial.step)} times at step {trial.step})")
            else:
                self._tell(
                    "retry",
                    f"trial {number} lost its worker at step {trial.step} ({why}); going on from its last checkpoint",
                    number,
                )
                self.waiting.insert(0, number)

    def lose_all(self, why: str) -> None:
        """All workers are gone at once."""
        for number in sorted(self.running):
            self.lose(number, why)
        self._jobs.clear()

    def finish_job(self, order: Order, metrics: Mapping[str, float] | None = None, error: str = "") -> None:
        """A prepare or test order came back."""
        self._jobs.discard(order.kind if order.kind == PREPARE else f"{TEST} {order.trial}")
        with self.ledger.transaction():
            if error and order.kind == PREPARE:
                self._check_disk()
                self._tell("failure", f"prepare failed:\n{error}")
                log = self.shared_folder / LOG
                where = f"; what it printed is in {log}" if log.exists() and log.stat().st_size else ""
                self.stop_reason = self.abort_reason = f"the workload's prepare failed: {complaint(error)}{where}"
            elif order.kind == PREPARE:
                self._prepared = True
            elif error:
                self._tested.add(order.trial)
                self._tell("notice", f"trial {order.trial}: the test failed: {complaint(error)}", order.trial)
            else:
                self._tested.add(order.trial)
                self.ledger.add_test(order.trial, self.history.trials[order.trial].step, metrics or {})

    def lose_job(self, order: Order, why: str) -> None:
        """The worker of a prepare or test order is gone: hand it out again, a few times."""
        key = order.kind if order.kind == PREPARE else f"{TEST} {order.trial}"
        self._lost_jobs[key] = self._lost_jobs.get(key, 0) + 1
        if self._lost_jobs[key] > self.sweep.retries:
            self.finish_job(order, error=f"WorkerLost: {why}")
        self._jobs.discard(key)

    def stop(self, reason: str) -> None:
        """Start nothing new and ask all running trials to save and leave off."""
        if not self.stop_reason:
            self.stop_reason = reason
            if self.running:
                self.pause_file.touch()

    @property
    def finished(self) -> bool:
        """Nothing runs, and nothing more will be handed out."""
        if self.running or self._jobs:
            return False
        if self.stop_reason:
            return True
        return self._prepared and self._exhausted and not self._to_test()

    @property
    def best(self) -> Trial | None:
        """The incumbent, without a look at every trial; the winner once finalists are trained again."""
        if self.over and self.sweep.finalist_count:
            return winner(self.history)
        return self.history.trials[self._kept[0][1]] if self._kept else incumbent(self.history)

    @property
    def baseline(self) -> Trial | None:
        return next((trial for trial in self.history.trials if trial.first_origin == BASELINE), None)

    # Deciding what to run.

    def think(self) -> None:
        """Let the searcher prepare its next decision; for an engine whose workers are all busy and silent."""
        begun, is_new = self.clock(), self._thought_at != len(self.history)
        if not is_new or len(self.running) < self.workers or begun < self._think_from:
            return
        if self.stop_reason or self.over or self._budget_is_used or not self._may_ask:
            return
        self._thought_at = len(self.history)
        with contextlib.suppress(Exception):  # what is wrong will be told when the decision is due
            self.searcher.prepare(self.history)
        ended = self.clock()
        self._think_from = ended + (ended - begun) * (1 / THINKING_SHARE - 1)

    def _next_training(self) -> Order | None:
        if self.waiting:
            return self._assign(self.history.trials[self.waiting.pop(0)])
        begun = self.clock()
        suggestion = self._suggest()
        if suggestion is not None and suggestion.kind == "fork":
            suggestion = self._with_parent(suggestion)
        if suggestion is None:
            self._exhausted = not self.running and not self.waiting
            return None
        self.waited_seconds += (self.clock() - begun) * max(1, self.workers - len(self.running))
        self._exhausted = False
        number = suggestion.trial if suggestion.kind == "resume" else len(self.history.trials)
        assert number is not None
        # The trial's seed is derived, so it needs no generator whose state would have to be saved.
        seed = self._seeds.setdefault(number, derived_seed(self.sweep.seed, number))
        with self.ledger.transaction():
            self.ledger.add_suggestion(number, suggestion, seed)
        trial = self.history.append(replace(suggestion, trial=number))
        if trial.replaces is not None:
            self._replaced.add(trial.replaces)
        return self._assign(trial)

    def _suggest(self) -> Suggestion | None:
        """What to run next: of the search; once it is over and has come to rest, of the finalists."""
        if not self.over and self._nothing_at != len(self.history):
            suggestion = self._search()
            if suggestion is not None:
                return suggestion
            self._nothing_at = len(self.history)
        if not self.over and not self.running:
            self._end_search(self._why_nothing())
        return confirm(self.history, self.sweep.finalist_count, self.sweep.confirmations) if self.over else None

    def _search(self) -> Suggestion | None:
        history, sweep = self.history, self.sweep
        if self._budget_is_used:
            return None
        promoted = sweep.scheduler.promote(history)
        if promoted is not None and history.task(promoted.task) is not None:
            return promoted
        if not self._may_ask:
            return None
        if sweep.baseline_config is not None and self.baseline is None and history.room:
            return start(dict(sweep.baseline_config), origin=BASELINE, evidence="what is compared with")
        try:
            answer = self.searcher.suggest(history)
            if isinstance(answer, Enough):
                self._end_search(f"{type(sweep.searcher).__name__}: {answer.reason}")
                return None
            return None if answer is None else self._checked(answer)
        except Exception as error:  # a searcher that breaks must not cost the sweep; it is counted and shown
            return self._instead(error)

    def _checked(self, suggestion: Suggestion) -> Suggestion | None:
        """The suggestion if it can be carried out; raises ValueError if it makes no sense."""
        history = self.history
        if not history.allows(suggestion):
            return None
        if history.task(suggestion.task) is None:
            raise ValueError(f"no task {suggestion.task!r}")
        if suggestion.kind == "resume":
            trial = history.trials[suggestion.trial if suggestion.trial is not None else -1]
            if trial.status is not Status.STOPPED:
                raise ValueError(f"trial {trial.number} cannot be resumed: it is {trial.status.value}")
            if suggestion.until is not None and suggestion.until <= trial.step:
                raise ValueError(
                    f"trial {trial.number} is at step {trial.step} already, and cannot be taken to step {suggestion.until}"
                )
            return suggestion
        return replace(suggestion, config=self.sweep.space.check(suggestion.config))

    def _instead(self, error: Exception) -> Suggestion | None:
        """The searcher broke: a random configuration, or the end of the search if none may be started."""
        why = f"{type(self.sweep.searcher).__name__} failed: {type(error).__name__}: {error}"
        instead = "a random configuration instead" if self.history.room else "nothing more may be started"
        with self.ledger.transaction():
            self._tell(FALLBACK, f"{why}; {instead}\n{traceback.format_exc()}")
        if not self.history.room:
            self._end_search(why)
            return None
        try:
            config = self.sweep.space.sample(generator(self.history, "fallback"))
        except ValueError as again:  # a constraint that cannot be asked; the next start would come here again
            self._end_search(f"{why}; and no random configuration either: {again}")
            return None
        return start(config, origin=FALLBACK, evidence=why)

    def _end_search(self, why: str) -> None:
        self.over = why
        with self.ledger.transaction():
            self._tell(ENOUGH, why)

    def _why_nothing(self) -> str:
        if self._budget_is_used:
            kept = " but for the finalists" if self.sweep.finalist_count else ""
            return f"the budget of {self.sweep.budget:g} full trainings is used up{kept}"
        if not self.history.room:
            return plural(self.sweep.limit or 0, "configuration", "have been started")
        return f"{type(self.sweep.searcher).__name__} has nothing more to suggest"

    @property
    def _first_is_out(self) -> bool:
        """Whether others have to wait for the first report: what all configurations share may be wrong."""
        return bool(self.running) and self.sweep.first_alone and not self._has_reported

    @property
    def _may_ask(self) -> bool:
        return self.history.room or self.searcher.continues

    @property
    def _target_reached(self) -> bool:
        return self.over.startswith(TARGET)

    @property
    def _budget_is_used(self) -> bool:
        """What was trained and what the running trials will still take have reached the search's part of the budget."""
        budget = self.sweep.search_budget
        return budget is not None and self.history.spent + self.history.committed >= budget - NEARLY

    def _with_parent(self, suggestion: Suggestion) -> Suggestion:
        """The fork, if its parent's checkpoint is there; else (a damaged disk, a population that was made larger)
        what it would have replaced goes on, or its configuration starts afresh.
        """
        place = {"trial": suggestion.parent, "step": suggestion.parent_step}
        saved = self.ledger.rows("checkpoint", "WHERE trial = :trial AND step = :step", **place)
        if any((self.folder / row["path"]).is_dir() for row in saved):
            return suggestion
        why = f"no checkpoint of trial {suggestion.parent} at step {suggestion.parent_step} to fork from"
        with self.ledger.transaction():
            self._tell("fallback", why)
        replaced = None if suggestion.replaces is None else self.history.trials[suggestion.replaces]
        if replaced is not None and replaced.status is Status.STOPPED:
            return resume(replaced, until=suggestion.until, origin="fallback", evidence=why)
        afresh = start(suggestion.config, origin="fallback", until=suggestion.until, evidence=why)
        return replace(afresh, replaces=suggestion.replaces)

    def _assign(self, trial: Trial) -> Order:
        folder = self.trial_folder(trial.number)
        refuse_links(folder.parent, folder, folder / "log.txt", self.checkpoints(trial.number))
        self.running.add(trial.number)
        return Order("train", trial.number, self._assignment(trial))

    def _assignment(self, trial: Trial) -> Assignment:
        sweep = self.sweep
        return Assignment(
            trial=trial.number,
            config=dict(trial.config),
            seed=self._seeds[trial.number],
            until=self.history.goal(trial),
            folder=self.checkpoints(trial.number),
            task=trial.task,
            recorded=trial.step,
            threads=sweep.threads,
            workers=sweep.workers,
            gpu=float(sweep.resources.get("gpu", 0)),
            # Who has lost a worker may lose it again before the next checkpoint would be due.
            checkpoint_seconds=0.0 if trial.number in self._losses else sweep.checkpoint_seconds,
            pinned=self._pinned(trial.number),
            parent=None if trial.parent is None else self.checkpoints(trial.parent),
            parent_step=trial.began,
            prepared=self.shared_folder,
            digests=self._digests(trial),
        )

    def _digests(self, trial: Trial) -> dict[str, str]:
        """What the record says of the checkpoints that this trial may go on from."""
        own = {"trial": trial.number, "parent": trial.number if trial.parent is None else trial.parent}
        saved = self.ledger.rows("checkpoint", "WHERE trial IN (:trial, :parent) ORDER BY seq", **own)
        return {str(self.folder / row["path"]): row["sha256"] for row in saved}

    def _pinned(self, number: int) -> tuple[int, ...]:
        """The steps of this trial that others fork from, or may: its worker must not delete them.

        While it trains no step is added but the one at which it will rest.
        """
        forkable = {step for parent, step in self.searcher.forkable(self.history) if parent == number}
        forking = {trial.began for trial in self.history.having(Status.RUNNING) if trial.parent == number}
        return tuple(sorted(forkable | forking))

    def _to_test(self) -> list[Trial]:
        chosen = [
            trial for trial in (self.best, self.baseline) if trial is not None and trial.status is Status.COMPLETED
        ]
        return (
            [trial for trial in chosen if trial.number not in self._tested]
            if hasattr(self.sweep.workload, "test")
            else []
        )

    def _next_test(self) -> Order | None:
        """The test part is looked at once, when all decisions have been made."""
        if self.running or not self._exhausted:
            return None
        for trial in self._to_test():
            job = f"{TEST} {trial.number}"
            if job not in self._jobs:
                self._jobs.add(job)
                return Order(TEST, trial.number, self._assignment(trial))
        return None

    def check_budget(self) -> None:
        """Stop when the time is used up; to be called now and then, also while nothing comes back."""
        budget = self.sweep.budget_seconds
        if budget is not None and not self.stop_reason and self.spent_seconds >= budget:
            self.stop(f"the time budget of {budget:g} s is used up")

    @property
    def spent_seconds(self) -> float:
        """Driver time over all invocations."""
        return self._spent_before + self.clock() - self._began

    # Recording what came back.

    def _report(self, trial: Trial, answer: Progress) -> None:
        sweep = self.sweep
        if answer.step <= trial.step:
            self._verify_replay(trial, answer)
            return
        if sweep.metric_name not in answer.metrics:
            hint = did_you_mean(sweep.metric_name, answer.metrics) if answer.metrics else ""
            self._fail(trial, "NoMetric", f"step {answer.step} reported no {sweep.metric_name!r}.{hint}")
            return
        value = answer.metrics[sweep.metric_name]
        if not isinstance(value, Real):
            self._fail(trial, "NoMetric", f"step {answer.step}: {sweep.metric_name}={value!r} is no number.")
            return
        metrics = {name: float(other) for name, other in answer.metrics.items() if isinstance(other, Real)}
        self.ledger.add_report(trial.number, answer.step, float(value), answer.cost_seconds, metrics)
        loss, whole = sweep.loss(float(value)), self.history.steps(trial.task)
        self.history.append(Report(trial.number, answer.step, loss, answer.cost_seconds, metrics))
        self._has_reported = True
        self._get_to(answer.step)
        is_enough = _is_judged(trial) and trial.task == FULL and sweep.is_enough(float(value))
        if is_enough and not self._target_reached:
            self.over = f"{TARGET}: trial {trial.number} at step {answer.step}, {sweep.metric_name} {value:.6g}"
            self._tell(ENOUGH, self.over)
        if sweep.has_diverged(float(value)):
            self._end(trial, Status.DIVERGED, f"{sweep.metric_name} = {value} at step {answer.step}")
        elif answer.step >= whole:
            reached = "the horizon" if trial.task == FULL else f"the end of the task {trial.task!r}"
            self._end(trial, Status.COMPLETED, f"reached {reached}")
        elif is_enough:
            self._end(trial, Status.COMPLETED, f"reached the target of {sweep.target:g}")
        elif _is_judged(trial) and self._target_reached:
            self._end(trial, Status.STOPPED, f"another one has reached the target, at step {answer.step}")
        elif trial.suggestion.until is not None and answer.step >= trial.suggestion.until:
            return  # it rests once its checkpoint is there
        elif _is_judged(trial) and sweep.scheduler.judge(trial, self.history) is Verdict.STOP:
            self.ledger.add_verdict(trial.number, answer.step, Verdict.STOP.value, repr(sweep.scheduler))
            self._end(trial, Status.STOPPED, f"{type(sweep.scheduler).__name__} at step {answer.step}")

    def _decide(self, number: int, decision: Progress) -> None:
        """Once: what came before an interruption comes again after it."""
        key = (number, decision.samples, decision.text)
        if key not in self._decided:
            self._decided.add(key)
            self.ledger.add_decision(number, decision)

    def _rest(self, trial: Trial) -> None:
        """A trial that was to come so far and no farther, and whose checkpoint is written, can be forked or resumed."""
        until = trial.suggestion.until
        if trial.status is Status.RUNNING and until is not None and trial.step >= until:
            self._end(trial, Status.STOPPED, f"reached step {trial.step} as planned")

    def _verify_replay(self, trial: Trial, answer: Progress) -> None:
        """A step that was recorded before comes again after a resume: it must be the same (the first one counts)."""
        loss = trial.loss_at(answer.step)
        again = self.sweep.loss(float(answer.metrics.get(self.sweep.metric_name, float("nan"))))
        if loss is not None and loss != again:
            first, second = self.sweep.value(loss), self.sweep.value(again)
            self._tell(
                "nondeterminism",
                f"trial {trial.number} step {answer.step}: {self.sweep.metric_name} was {first!r}, and {second!r} when trained "
                "again from the checkpoint; the first is kept. The training is not deterministic on this machine.",
                trial.number,
            )

    def _end(self, trial: Trial, status: Status, reason: str, detail: str = "") -> None:
        self.ledger.add_ending(trial.number, status, trial.step, reason, detail)
        self.history.append(End(trial.number, status, reason))
        self.listen(status.value, f"trial {trial.number} {status.value} at step {trial.step}: {reason}")
        self._get_to(_proven(trial))
        if status in (Status.COMPLETED, Status.DIVERGED, Status.FAILED):
            self._clean(trial)
        elif not self._resumes:
            self._drop_checkpoints(trial)
        elif self._replaced:
            self._drop_checkpoints(*(self.history.trials[number] for number in self._replaced))

    def _end_early(self, trial: Trial, how: str) -> None:
        """The training came to an end of its own; one that has told nothing is none."""
        whole = self.history.steps(trial.task)
        if trial.steps:
            self._end(trial, Status.COMPLETED, f"ended by itself at step {trial.step} of {whole}: {how}")
            if not self._told_of_an_early_end:
                self._told_of_an_early_end = True
                self._tell(
                    "notice",
                    f"trial {trial.number} ended by itself at step {trial.step} of {whole} and counts as completed. If it did not "
                    f"stop early by a rule of its own, the horizon is too long: try horizon={trial.step}.",
                    trial.number,
                )
        else:
            self._fail(trial, "NoReport", f"the training ended before its first report: {how}")

    def _fail(self, trial: Trial, kind: str, text: str, detail: str = "") -> None:
        self._check_disk()
        why = reason(kind, text)
        first = not self.history.count(Status.FAILED)
        self._end(trial, Status.FAILED, why, detail or text)
        if first:
            self.listen("failure", detail or text)  # the first failure is shown whole, at once
        if trial.step < self._farthest or self.abort_reason:
            return
        self._failures.append(signature(why))
        if self._failures.count(signature(why)) >= SAME_FAILURES:
            count = len(self._failures)
            them = f"the first {count}" if count == SAME_FAILURES else f"{SAME_FAILURES} of the first {count}"
            self.abort_reason = f"{them} trials failed in the same way: {why}"
            self._tell("abort", self.abort_reason)
            self.stop(self.abort_reason)

    def _get_to(self, step: int) -> None:
        """A trial has got to `step`: what others fail of before it is no mistake that all share."""
        if step > self._farthest:
            self._farthest = step
            self._failures.clear()

    def _check_disk(self) -> None:
        """Raise StorageError if the disk is full: then every trial fails, and none of them is at fault."""
        free = shutil.disk_usage(self.folder).free
        if free < LEAST_FREE:
            raise StorageError(
                f"{self.folder}: the disk is full ({free} bytes are free). Nothing that was acknowledged is lost, and no "
                "trial is given up; make room, then run the same command again."
            )

    def keeps(self, number: int) -> bool:
        """Whether this trial's checkpoint is worth keeping: it may go on, is the baseline or among the best."""
        trial = self.history.trials[number]
        if trial.status is Status.RUNNING or trial.first_origin == BASELINE:
            return True
        if trial.status is Status.STOPPED:  # a result to look at, while there is no better one
            return number not in self._replaced and (self._resumes or not self._kept)
        return trial.status is Status.COMPLETED and _counts(trial) and (trial.loss, number) in self._kept

    def _clean(self, trial: Trial) -> None:
        """A trial is over: keep the checkpoints of the best, drop those of the one that is no longer among them."""
        gone = [trial]
        if trial.status is Status.COMPLETED and _counts(trial):
            if not self._kept and not self._resumes:
                gone += self.history.having(Status.STOPPED)
            bisect.insort(self._kept, (trial.loss, trial.number))
            if len(self._kept) > self._keep:
                gone.append(self.history.trials[self._kept.pop()[1]])
        self._drop_checkpoints(*gone)

    def _drop_checkpoints(self, *trials: Trial) -> None:
        """Delete what is not worth keeping, unless a fork begins there, or still may.

        A trial's folder and its log stay; of one that failed its small files too, for whoever looks for the reason.
        """
        needed = {other.parent for other in self.history.having(Status.RUNNING)}
        needed |= {number for number, _ in self.searcher.forkable(self.history)}
        for trial in trials:
            if trial.number in needed | self.running | self._leaving or self.keeps(trial.number):
                continue
            folder = self.checkpoints(trial.number)
            if trial.status is not Status.FAILED or _size(folder) > SMALL:
                shutil.rmtree(folder, ignore_errors=True)

    def _leave(self, number: int) -> None:
        self.running.discard(number)

    def _let_go(self, trial: Trial, *, done: bool) -> None:
        """The trial is over; its worker has left it, or still will: a script may be writing its last words."""
        if trial.number in self.running and not done:
            self._leaving.add(trial.number)
        self._leave(trial.number)
        if done:
            self._leaving.discard(trial.number)
            self._drop_checkpoints(trial)

    def _tell(self, kind: str, text: str, trial: int | None = None) -> None:
        self.ledger.add_event(kind, text, trial)
        self.listen(kind, text)

    # Continuing.

    def _describe_found(self, earlier: Sequence[Mapping[str, object]], change: str) -> str:
        """One sentence about what an earlier invocation left; empty for a new run."""
        if not earlier:
            return ""
        done = {status: self.history.count(status) for status in Status}
        cut = {row["trial"] for row in self.ledger.rows("verdict")}
        resting = sum(trial.number not in cut for trial in self.history.having(Status.STOPPED))
        done[Status.STOPPED] -= resting
        words = {Status.STOPPED: "cut by the scheduler"}
        parts = [
            f"{count} {words.get(status, status.value)}"
            for status, count in done.items()
            if count and status is not Status.RUNNING
        ]
        if resting:
            parts.append(f"{resting} resting (may be resumed)")
        if self.waiting:
            parts.append(f"{len(self.waiting)} interrupted (going on from their last checkpoints, if they have any)")
        reports = sum(len(trial.steps) for trial in self.history.trials)
        counts = f"{plural(len(self.history.trials), 'trial')}, {plural(reports, 'report')} on record"
        text = f"Continuing {self.sweep.name}: {counts}"
        return text + (": " + ", ".join(parts) if parts else "") + (f". Changed: {change}" if change else "") + "."

    def _leave_lost_tasks(self) -> None:
        """An interrupted trial of a task that the sweep has no more cannot go on."""
        for number in [n for n in self.waiting if self.history.task(self.history.trials[n].task) is None]:
            self.waiting.remove(number)
            trial = self.history.trials[number]
            self._end(trial, Status.STOPPED, f"the sweep has no task {trial.task!r} any more")

    def _driver_seconds(self) -> float:
        """What earlier invocations took by their own clocks; of one that was killed, as far as it was noted."""
        told = {row["epoch"]: float(row["text"]) for row in self.ledger.rows("event", "WHERE kind = 'spent'")}
        return sum(told.values())

    def _note_spent(self) -> None:
        """For the next invocation, should this one be killed; seldom enough to stay a small part of the record."""
        spent = self.clock() - self._began
        if spent - self._noted >= max(NOTE_SECONDS, NOTE_SHARE * spent):
            self.ledger.add_event("spent", f"{spent:.3f}")
            self._noted = spent

    def close(self) -> None:
        """The invocation is over: drop what came in late, and note how long it took (for the budget)."""
        self._leaving.clear()
        over = (trial for trial in self.history if trial.status is not Status.RUNNING)
        self._drop_checkpoints(*over)
        self.pause_file.unlink(missing_ok=True)
        with self.ledger.transaction():
            self.ledger.add_event("spent", f"{self.clock() - self._began:.3f}")
            self.ledger.add_event(WAITED, f"{self.waited_seconds:.3f}")


def _counts(trial: Trial) -> bool:
    """Whether a completed trial is a candidate for the best: a full training, and no repetition of one."""
    return trial.task == FULL and trial.first_origin != FINALIST


def _is_judged(trial: Trial) -> bool:
    return trial.first_origin != BASELINE and trial.suggestion.origin != FINALIST


def _proven(trial: Trial) -> int:
    """The step that this trial has got to for sure: beyond its last one, if it was left there in peace."""
    return trial.step + (trial.status in (Status.STOPPED, Status.COMPLETED))


def _losses_on_record(ledger: Ledger) -> dict[int, list[int]]:
    """What earlier invocations saw: for each trial its last recorded step at each time that its worker was lost."""
    lost = [(row["trial"], row["seq"]) for row in ledger.rows("event", "WHERE kind = 'retry'")]
    if not lost:
        return {}
    steps: dict[int, list[int]] = {}
    reports = ledger.rows("report")
    for trial, seq in lost:
        before = [row["step"] for row in reports if row["trial"] == trial and row["seq"] < seq]
        steps.setdefault(trial, []).append(max(before, default=0))
    return steps


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
