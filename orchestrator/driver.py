"""The driver: asks the rules for the next decision, records it, and passes it to an engine.

An engine decides nothing: it calls `next` whenever a worker is free, hands the order to the worker, and passes the
worker's answers to `receive`, `fail` or `lose`. Decisions are a function of the record (search/rules/conduct.py).
Everything is in the ledger before anybody acts on it; a run that continues rebuilds the driver's state in memory from
the ledger. Only the time budget depends on a clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

from orchestrator.console.signals import SIGNALLED
from orchestrator.definition.units import time_option
from orchestrator.driving.assignments import assignment
from orchestrator.driving.continuation import describe_found
from orchestrator.driving.device_clock import LEAST, DeviceClock, cut_off
from orchestrator.driving.edits import Edits
from orchestrator.driving.foresight import Foresight
from orchestrator.driving.jobs import Jobs, job_key
from orchestrator.driving.older_code import retry, told_of_older_code
from orchestrator.driving.places import Places
from orchestrator.driving.recorder import Recorder, check_disk
from orchestrator.driving.retention import Retention
from orchestrator.driving.shown import ASSIGNED
from orchestrator.driving.time_spent import OUT_OF_TIME, TimeSpent, seconds_left
from orchestrator.failures import complaint, reason
from orchestrator.money.prices import held_by_trial
from orchestrator.record.ledger import Ledger
from orchestrator.record.resume_check import what_changed
from orchestrator.record.storage import refuse_links
from orchestrator.record.warm_start import TRANSFER, earlier_histories
from orchestrator.sweep import Sweep
from orchestrator.worker.job import PREPARE, Order
from orchestrator.worker.limits import LOG
from search.history import History, Trial, incumbent
from search.records import Began, Over, Status, Suggestion, Used
from search.rules.conduct import Instead, awaits_first, has_more, may_ask, next_move, to_test
from search.rules.finalists import winner
from search.rules.retries import retriable
from search.work import Assignment, Progress
from trainables.carry_out import has_test

THINKING_SHARE = 0.1  # of the time: while the searcher thinks ahead, arriving results have to wait
COPY_SECONDS = 600.0


class Driver:
    """One invocation of a sweep on its ledger.

    `listen` gets every event as (kind, text) after it is recorded. `clock` gives seconds, real or simulated.
    `retry_failed`: failed trials get another try.
    """

    def __init__(
        self,
        sweep: Sweep,
        ledger: Ledger,
        *,
        command: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        listen: Callable[[str, str], None] = lambda kind, text: None,
        retry_failed: bool = False,
    ) -> None:
        self.sweep = sweep
        self.rules = sweep.rules
        self.ledger = ledger
        self.listen = listen
        self.clock = clock
        self.places = Places(ledger.folder)
        earlier = ledger.sweeps()
        change = what_changed(sweep, ledger, earlier)
        taught, named = earlier_histories(sweep, ledger.folder, ledger.rows("event", f"WHERE kind = '{TRANSFER}'"))
        self.history: History = ledger.history(
            sweep.space, sweep.workload.horizon, sweep.seed, sweep.goal,
            tasks=sweep.tasks, limit=sweep.limit, earlier=taught,
        )  # fmt: skip
        self.workers = 1  # how many trials may run at once; the engine sets it
        self.running: set[int] = set()  # trials that have a worker
        self.stop_reason = ""  # why nothing new may start: a signal, the time budget, failures
        self.is_out_of_time = False  # that reason is the time budget, and something is left to do
        self.waited_seconds = 0.0  # of workers, for decisions
        self.found = describe_found(sweep.name, ledger, self.history, self.rules, change) if earlier else ""
        self._retention = Retention(sweep, self.history, self.places, self.running)
        self._recorder = Recorder(sweep, ledger, self.history, self._retention, listen)
        self._edits = Edits(sweep.workload)
        self._jobs = Jobs(is_prepared=(self.places.shared / ".complete").exists(), retries=sweep.retries)
        self._time = TimeSpent(ledger, clock)
        self.foresight = Foresight(sweep, ledger, self.history)
        self.devices = DeviceClock(clock, at_once=sweep.device_budget is not None)
        self._exhausted = False  # there is nothing more to suggest
        self._nothing_at = -1  # length of the history at which there was nothing to suggest
        self._thought_at = -1  # length of the history for which the searcher has thought ahead
        self._think_from = clock()  # it may think ahead again from this time on
        self._copied = clock()
        self.places.pause_file.unlink(missing_ok=True)
        lost = cut_off(ledger, self.history)
        with ledger.transaction():
            if deleted := self._retention.outnumbered():
                self._recorder.tell("notice", deleted)
            self._recorder.use(lost)
            ledger.add_sweep(sweep, change, command)
            self.history.append(Began(change, *held_by_trial(sweep.resources)))
            for notice in ledger.notices:
                ledger.add_event("notice", notice)
            for text in named:
                ledger.add_event(TRANSFER, text)
            self._recorder.leave_lost_tasks()
            for trial in retriable(self.history) if retry_failed else []:
                retry(trial, self.places, ledger, self._recorder)
        self.waiting = [trial.number for trial in self.history.having(Status.RUNNING)]  # interrupted; first in line

    # What an engine asks.

    def next(self) -> Order | None:
        """The order for a free worker; None: nothing at the moment, ask again after the next answer."""
        self.check_budget()
        if not self._jobs.is_prepared:
            return None if self.stop_reason else self.devices.begin(self._jobs.prepare())
        if self.stop_reason or (self.running and awaits_first(self.history, self.rules)):
            return None
        training = self._next_training()
        if training is not None or self.running or not self._exhausted:
            return training
        return self.devices.begin(self._jobs.test(self._to_test(), self._assignment))  # after the last decision

    def receive(self, number: int, answers: Sequence[Progress], *, done: bool = False) -> bool:
        """Record the answers of a trial's worker in one transaction. False: the worker should leave the trial.

        Answers after the trial's end are dropped: nobody asked for them. `done`: the worker will answer no more.
        """
        trial = self.history.trials[number]
        self._edits.note_answer(number, self.places.checkpoints(number), self.ledger, self._recorder)
        with self.ledger.transaction():
            reported, before = _reported(trial, answers), trial.cost_seconds
            self._recorder.use(self.devices.answered(trial, answers))
            for answer in answers:
                if answer.kind == "paused" or (answer.kind == "ended" and self.stop_reason == SIGNALLED):
                    self.running.discard(number)
                    self.waiting.append(number)
                else:
                    self._recorder.take(trial, answer)
            if done:
                self._recorder.rest(trial)
            dropped = reported - (trial.cost_seconds - before)  # steps after its end
            self._recorder.use([Used(number, dropped, "lost")] if dropped > LEAST else [])
            self._recorder.stop_if_spent(trial)
            if trial.status is not Status.RUNNING or number not in self.running:
                self._recorder.use(self.devices.end(str(number), "beside", number))
            self._time.note()
        if trial.status is not Status.RUNNING:
            self._let_go(trial, done=done)
        if done:
            self._nothing_at = -1  # it may be resumed now
        self._stop_if_all_fail()
        self.check_budget()
        self.foresight.refine(self.workers, seconds_left(self.sweep.budget_seconds, self.spent_seconds))
        if self.clock() - self._copied > COPY_SECONDS:
            self.ledger.copy()
            self._copied = self.clock()
        return trial.status is Status.RUNNING and number in self.running

    def fail(self, number: int, kind: str, text: str, detail: str = "") -> None:
        """A trial raised an error: `kind` is its class, `text` its message, `detail` its traceback.

        After a signal that stops the sweep, it is a loss. Raises StorageError, and leaves the trial unchanged, if the reason
        is a full disk.
        """
        trial = self.history.trials[number]
        older = told_of_older_code(trial, self.places, self.ledger)
        why = f"{reason(kind, text)}{older}"
        if self.stop_reason == SIGNALLED and trial.status is Status.RUNNING:
            self.lose(number, why)
            return
        with self.ledger.transaction():
            self._recorder.use(self.devices.end(str(number), "lost", number))
            if trial.status is Status.RUNNING:
                self._recorder.fail(trial, why, f"{detail or text}{older}")
            else:  # its result stands
                self._recorder.tell("notice", f"trial {number}, after it was {trial.status.value}: {why}", number)
        self._let_go(trial, done=True)
        self._stop_if_all_fail()

    def lose(self, number: int, why: str, *, counts: bool = True) -> None:
        """A trial's worker is gone (killed, its node lost, silent for too long): resume from the last checkpoint.

        A trial that repeatedly loses its worker at the same step is given up after `retries`; a loss after a signal that
        stops the sweep does not count, and none if its node could not train it: `why` tells what it has lost there.
        """
        self.running.discard(number)
        trial = self.history.trials[number]
        if trial.status is not Status.RUNNING:
            return
        with self.ledger.transaction():
            self._recorder.use(self.devices.end(str(number), "lost", number))
            if self.stop_reason == SIGNALLED:  # which Slurm may have sent to the training, too
                text = f"trial {number} ended at the signal, at step {trial.step} ({why}); it is to be resumed"
                self._recorder.tell("notice", text, number)
            elif counts:
                self._recorder.lose(trial, why)
            elif why:
                check_disk(self.places.folder)
                self.ledger.add_event(
                    "notice", f"trial {number} goes to another node at step {trial.step}: {why}", number
                )
        if trial.status is Status.RUNNING:
            self.waiting.insert(0, number)
        self._stop_if_all_fail()

    def lose_all(self, why: str) -> None:
        """All workers are gone at once."""
        for number in sorted(self.running):
            self.lose(number, why)
        self._retention.leaving.clear()
        self._jobs.forget()

    def finish_job(self, order: Order, metrics: Mapping[str, float] | None = None, error: str = "") -> None:
        """A prepare or test order came back."""
        self._jobs.come_back(order)
        with self.ledger.transaction():
            spent = self.devices.end(job_key(order), order.kind, None if order.kind == PREPARE else order.trial)
            if error and order.kind == PREPARE:
                check_disk(self.places.folder)
                self._recorder.tell("failure", f"prepare failed:\n{error}")
                log = self.places.shared / LOG
                where = f"; what it printed is in {log}" if log.exists() and log.stat().st_size else ""
                self._recorder.abort_reason = f"the workload's prepare failed: {complaint(error)}{where}"
                self.stop_reason = self.abort_reason
            elif order.kind == PREPARE:
                self._jobs.is_prepared = True
            elif error:
                self._jobs.failed_tests.add(order.trial)
                text = f"trial {order.trial}: the test failed: {complaint(error)}"
                self._recorder.tell("notice", text, order.trial)
            else:
                self._recorder.test(self.history.trials[order.trial], metrics or {})
            self._recorder.use(spent)

    def lose_job(self, order: Order, why: str) -> None:
        """The worker of a prepare or test order is gone: hand it out again, a few times."""
        with self.ledger.transaction():
            self._recorder.use(self.devices.end(job_key(order), "lost", None if order.kind == PREPARE else order.trial))
        if self._jobs.lose(order):
            self.finish_job(order, error=f"WorkerLost: {why}")

    def stop(self, reason: str) -> None:
        """Start nothing new, and ask all running trials to save a checkpoint and pause."""
        if not self.stop_reason:
            self.stop_reason = reason
            if self.running or self._retention.leaving:
                self.places.pause_file.touch()

    def check_budget(self) -> None:
        """Stop when the time budget is used up, or a device has no price. Call it regularly, also without answers."""
        budget = self.sweep.budget_seconds
        if budget is not None and not self.stop_reason and self.spent_seconds >= budget:
            self.stop(f"the time budget of {time_option(budget)} is used up")
            self.is_out_of_time = True
        limit = self.rules.device_budget
        if limit is not None and not self.stop_reason and (device := limit.unknown(self.history)):
            self.stop(f"{device!r} has no price, and the budget is in dollars; add prices={{{device!r}: …}}")

    def think(self) -> None:
        """Let the searcher prepare its next decision; for an engine whose workers are all busy and silent."""
        begun, is_new = self.clock(), self._thought_at != len(self.history)
        if not is_new or len(self.running) < self.workers or begun < self._think_from:
            return
        if self.stop_reason or not may_ask(self.history, self.sweep.searcher, self.rules):
            return
        self._thought_at = len(self.history)
        with contextlib.suppress(Exception):  # the error is reported when the decision is due
            self.sweep.searcher.prepare(self.history)
        ended = self.clock()
        self._think_from = ended + (ended - begun) * (1 / THINKING_SHARE - 1)

    def keeps(self, number: int) -> bool:
        """Whether this trial's checkpoint is worth keeping."""
        return self._retention.keeps(number)

    def close(self) -> None:
        """End the invocation: drop checkpoints that arrived late, note its duration, and whether the time budget ended it."""
        self._retention.close()
        self.places.pause_file.unlink(missing_ok=True)
        self.is_out_of_time = self.is_out_of_time and (
            has_more(self.history, self.sweep.searcher, self.sweep.scheduler, self.rules) or bool(self._to_test())
        )
        with self.ledger.transaction():
            self._time.close(self.waited_seconds)
            if self.is_out_of_time:
                self.ledger.add_event(OUT_OF_TIME, self.stop_reason)

    # Where it stands.

    @property
    def finished(self) -> bool:
        """Whether nothing runs and no further order will follow."""
        if self.running or self._retention.leaving or self._jobs.are_out:
            return False
        if self.stop_reason:
            return True
        return self._jobs.is_prepared and self._exhausted and not self._to_test()

    @property
    def over(self) -> str:
        """Why the search is over; finalists may follow. Empty while it goes on."""
        return self.history.run.over

    @property
    def abort_reason(self) -> str:
        """Why the run stopped as a failure; empty if it did not."""
        return self._recorder.abort_reason

    @property
    def best(self) -> Trial | None:
        """The incumbent, found without a scan of all trials; the winner once finalists are trained again."""
        if self.over and self.rules.finalists:
            return winner(self.history)
        return self._retention.best or incumbent(self.history)

    @property
    def spent_seconds(self) -> float:
        """Driver time over all invocations."""
        return self._time.seconds

    # Deciding what to run.

    def _next_training(self) -> Order | None:
        while self.waiting:
            trial = self.history.trials[self.waiting.pop(0)]
            with self.ledger.transaction():
                is_over = self._recorder.stop_if_spent(trial)
            if not is_over:
                return self._assign(trial)
        begun = self.clock()
        suggestion = self._decide()
        if suggestion is None:
            self._exhausted = not self.running and not self._retention.leaving
            return None
        self.waited_seconds += (self.clock() - begun) * max(1, self.workers - len(self.running))
        self._exhausted = False
        with self.ledger.transaction():
            trial = self._recorder.suggest(self._recorder.with_parent(suggestion))
        return self._assign(trial)

    def _decide(self) -> Suggestion | None:
        """The next suggestion of the rules; records their other decisions."""
        while not self.running or self._nothing_at != len(self.history):
            move = next_move(self.history, self.sweep.searcher, self.sweep.scheduler, self.rules)
            if isinstance(move, Instead):
                with self.ledger.transaction():
                    move = self._recorder.instead(move)
            if isinstance(move, Suggestion) and not (move.kind == "resume" and move.trial in self._retention.leaving):
                return move  # a trial that its worker is still leaving goes on after that: its script may be saving
            if not isinstance(move, Over) or self.over:
                self._nothing_at = len(self.history)
                return None
            with self.ledger.transaction():
                self._recorder.end_search(move)
        return None

    def _assign(self, trial: Trial) -> Order:
        folder = self.places.trial(trial.number)
        refuse_links(folder.parent, folder, folder / LOG, self.places.checkpoints(trial.number))
        self._edits.note_start(trial.number, self.ledger, self._recorder)
        self.running.add(trial.number)
        self.listen(ASSIGNED, f"trial {trial.number}")
        order = Order("train", trial.number, self._assignment(trial))
        self.devices.begin(order)
        return order

    def _assignment(self, trial: Trial) -> Assignment:
        return assignment(
            trial, self._recorder.seeds[trial.number], self._retention.pinned(trial.number),
            sweep=self.sweep, history=self.history, ledger=self.ledger, places=self.places,
        )  # fmt: skip

    def _to_test(self) -> list[Trial]:
        """The trials that still need a test, if the workload has one."""
        due = to_test(self.history, self.rules) if has_test(self.sweep.workload) else []
        return [trial for trial in due if trial.number not in self._jobs.failed_tests]

    def _let_go(self, trial: Trial, *, done: bool) -> None:
        """The trial is over."""
        is_held = trial.number in self.running
        self.running.discard(trial.number)
        self._retention.let_go(trial, is_held=is_held, done=done)

    def _stop_if_all_fail(self) -> None:
        if self.abort_reason:
            self.stop(self.abort_reason)


def _reported(trial: Trial, answers: Sequence[Progress]) -> float:
    """The seconds of the steps that are new to the record."""
    return sum(answer.cost_seconds for answer in answers if answer.kind == "report" and answer.step > trial.step)
