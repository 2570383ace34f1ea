"""Records in the ledger and the history what happened, and what follows from it by the rules of the sweep."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from pathlib import Path

from orchestrator.definition.bad_input import place_of
from orchestrator.driving.retention import Retention
from orchestrator.errors import StorageError, did_you_mean
from orchestrator.failures import reason, shortened, signature
from orchestrator.record.encoding import NODE, RETRY
from orchestrator.record.ledger import Ledger
from orchestrator.sweep import Sweep
from orchestrator.worker.disk import LEAST_FREE
from search.contract import derived_seed
from search.history import History, Trial
from search.records import FALLBACK, End, Judged, Lost, Over, Report, Retry, Status, Suggestion, Tested, Used
from search.rules.alike import CAUSE, REMEDY, alike, curves_of, differ
from search.rules.conduct import (
    Instead,
    after_loss,
    after_report,
    common_divergence,
    common_failure,
    early_end,
    leave_lost_task,
    out_of_budget,
    rest,
    without_checkpoint,
)
from search.work import Decision, Ended, Hosted, Notice, Placed, Reported, Saved

LOOKS = (1, 2, 3, 10, 30, 100)  # reports of a trial at which to look whether all configurations train alike …
FIRST = 20  # … for so many trials
DIFFERENT = 3  # values in a curve that are surely no coincidence: an untrained loss may be alike


class Recorder:
    """Writes everything into the ledger before anybody acts on it. The callers open the transactions."""

    def __init__(
        self,
        sweep: Sweep,
        ledger: Ledger,
        history: History,
        retention: Retention,
        listen: Callable[[str, str], None],
    ) -> None:
        self.abort_reason = ""  # why the run stops as a failure
        self.seeds: dict[int, int] = {row["trial"]: row["seed"] for row in ledger.rows("suggestion")}
        self._sweep = sweep
        self._rules = sweep.rules
        self._ledger = ledger
        self._history = history
        self._retention = retention
        self._listen = listen
        decisions = ledger.rows("decision")
        self._decided = {(row["trial"], row["samples"], row["why"]) for row in decisions}
        self._warned = {signature(row["why"]) for row in decisions}  # shown once for each run
        self._told_of_a_doubt = False
        self._looks_alike = True  # until two configurations differ, or it is told

    def tell(self, kind: str, text: str, trial: int | None = None) -> None:
        self._ledger.add_event(kind, text, trial)
        self._listen(kind, text)

    # Decisions.

    def suggest(self, suggestion: Suggestion) -> Trial:
        """Record a suggestion; returns its trial, which is to be trained now."""
        number = suggestion.trial if suggestion.kind == "resume" else len(self._history.trials)
        assert number is not None
        # The trial's seed is derived, so there is no generator whose state we would have to save.
        seed = self.seeds.setdefault(number, derived_seed(self._sweep.seed, number))
        self._ledger.add_suggestion(number, suggestion, seed)
        trial = self._history.append(replace(suggestion, trial=number))
        self._retention.begin(trial)
        return trial

    def retry(self, trial: Trial) -> None:
        """Record that the user asks for another try of a failed trial; the rules will resume it."""
        text = f"trial {trial.number}, which had failed at step {trial.step}: {trial.reason}"
        self._ledger.add_event(RETRY, text, trial.number)
        self._history.append(Retry(trial.number))

    def end_search(self, over: Over) -> None:
        self._ledger.add_search_end(over.reason)
        self._history.append(over)
        self._listen("enough", over.reason)

    def instead(self, move: Instead) -> Suggestion | Over:
        """Record and show that the searcher raised an error; returns the move to make instead."""
        instead = "a random configuration instead" if self._history.room else "nothing more may be started"
        trace, where = "".join(traceback.format_exception(move.error)), place_of(move.error)
        self.tell(FALLBACK, f"{move.why}{f' ({where})' if where else ''}; {instead}\n{trace}")
        return move.move

    def with_parent(self, suggestion: Suggestion) -> Suggestion:
        """The suggestion, unless it is a fork whose parent's checkpoint is gone; then the suggestion to run instead."""
        if suggestion.kind != "fork":
            return suggestion
        place = {"trial": suggestion.parent, "step": suggestion.parent_step}
        saved = self._ledger.rows("checkpoint", "WHERE trial = :trial AND step = :step", **place)
        if any((self._ledger.folder / row["path"]).is_dir() for row in saved):
            return suggestion
        instead = without_checkpoint(suggestion, self._history)
        self.tell(FALLBACK, instead.evidence)
        return instead

    # What came back.

    def take(self, trial: Trial, answer: Reported | Saved | Decision | Notice | Ended | Placed | Hosted) -> None:
        """Record one answer of a trial's worker. Reports after the trial's end do not count: nobody asked for them."""
        if answer.kind == "report":
            if trial.status is Status.RUNNING:
                self._report(trial, answer)
        elif answer.kind == "checkpoint":
            if answer.step <= trial.step:
                path = str(Path(answer.path).relative_to(self._ledger.folder))
                self._ledger.add_checkpoint(trial.number, answer.step, path, answer.sha256, answer.bytes)
                if answer.step == trial.step:
                    self.rest(trial)
        elif answer.kind == "device":
            pass  # recorded with the device time
        elif answer.kind == "node":
            self._ledger.add_event(NODE, answer.text, trial.number)
        elif answer.kind == "decision":
            self._decide(trial.number, answer)
        elif answer.kind == "ended":
            if trial.status is Status.RUNNING:
                self._end_early(trial, answer)
        elif not answer.once or self._is_first(answer.text):
            self.tell("notice", f"trial {trial.number}: {answer.text}", trial.number)

    def rest(self, trial: Trial) -> None:
        """End a trial that has reached the step at which it should pause, and whose checkpoint is written."""
        if (end := rest(trial)) is not None:
            self._end(end)

    def fail(self, trial: Trial, why: str, detail: str) -> None:
        """A trial failed. Raises StorageError if the reason is a full disk."""
        check_disk(self._ledger.folder)
        first = not self._history.count(Status.FAILED)
        self._end(End(trial.number, Status.FAILED, why), detail)
        if first:
            self._listen("failure", detail)  # show the first failure in full, at once
        self._abort(common_failure(self._history, signature))

    def _abort(self, why: str) -> None:
        """Stop the run as a failure, if `why` says so."""
        if why and not self.abort_reason:
            self.abort_reason = why
            self.tell("abort", why)

    def lose(self, trial: Trial, why: str) -> None:
        """A running trial's worker is gone."""
        self._ledger.add_lost(trial.number, trial.step, why)
        self._history.append(Lost(trial.number, why))
        end = after_loss(trial, self._history, self._rules, why)
        if end is not None and end.status is Status.FAILED:
            self._fail_by_rule(trial, end)
        elif end is not None:
            self._end(end)
        else:
            then = "going on from its last checkpoint, if it has one" if trial.step else "starting again"
            self._listen("retry", f"trial {trial.number} lost its worker at step {trial.step} ({why}); {then}")

    def use(self, records: Sequence[Used]) -> None:
        """Record device time that no report counts."""
        for each in records:
            record = replace(each, seconds=round(each.seconds, 3))  # as it will be read again
            named = record.device or self._history.device_time.device(record.trial)
            if record.what != "device" or named != self._history.device_time.device(record.trial):
                self._ledger.add_used(record)
                self._history.append(record)

    def stop_if_spent(self, trial: Trial) -> bool:
        """End a running trial once the budget of device time is spent; returns whether it is over."""
        if (end := out_of_budget(trial, self._history, self._rules)) is not None:
            self._end(end)
        return end is not None

    def test(self, trial: Trial, metrics: Mapping[str, float]) -> None:
        self._ledger.add_test(trial.number, trial.step, metrics)
        self._history.append(Tested(trial.number))

    def leave_lost_tasks(self) -> None:
        """End running trials whose task the sweep no longer has."""
        for trial in self._history.having(Status.RUNNING):
            if (end := leave_lost_task(trial, self._history)) is not None:
                self._end(end)

    def _report(self, trial: Trial, answer: Reported) -> None:
        name = self._sweep.metric_name
        if answer.step <= trial.step:
            self._verify_replay(trial, answer)
            return
        if name not in answer.metrics:
            hint = did_you_mean(name, answer.metrics) if answer.metrics else ""
            self._fail_for_metric(trial, f"step {answer.step} reported no {name!r}.{hint}")
            return
        value = answer.metrics[name]
        if not isinstance(value, Real):
            self._fail_for_metric(trial, f"step {answer.step}: {name}={value!r} is not a number.")
            return
        metrics = {name: float(other) for name, other in answer.metrics.items() if isinstance(other, Real)}
        self._ledger.add_report(trial.number, answer.step, float(value), answer.cost_seconds, metrics)
        loss = self._rules.goal.loss(float(value))
        self._history.append(Report(trial.number, answer.step, loss, answer.cost_seconds, metrics))
        self._tell_if_alike(trial)
        for record in after_report(trial, self._history, self._sweep.scheduler, self._rules):
            if isinstance(record, Over):
                self.end_search(record)
            elif isinstance(record, Judged):
                self._ledger.add_verdict(trial.number, trial.step, "stop", record.scheduler)
                self._history.append(record)
            else:
                self._end(record)
                self._abort(common_divergence(self._history))

    def _tell_if_alike(self, trial: Trial) -> None:
        """Tell that the training seems not to read its parameters, so that the user can stop."""
        if not self._looks_alike or len(trial.losses) not in LOOKS or len(self._history.trials) > FIRST:
            return
        curves = curves_of(self._history)
        if alike(curves, min(DIFFERENT, self._history.horizon)):
            so_far = f"{len(curves)} configurations have trained exactly alike so far, to the last digit"
            self.tell("notice", f"{so_far}: {CAUSE}, or they take effect later. {REMEDY} Ctrl-C stops the run.")
            self._looks_alike = False
        elif differ(curves):
            self._looks_alike = False

    def _fail_for_metric(self, trial: Trial, text: str) -> None:
        self.fail(trial, reason("NoMetric", text), text)

    def _fail_by_rule(self, trial: Trial, end: End) -> None:
        self.fail(trial, shortened(end.reason), end.reason.partition(": ")[2])

    def _verify_replay(self, trial: Trial, answer: Reported) -> None:
        """Compare a step that is repeated after a resume with its record, and warn if they differ; the record counts."""
        goal = self._rules.goal
        loss = trial.loss_at(answer.step)
        again = goal.loss(float(answer.metrics.get(goal.metric, float("nan"))))
        if loss is not None and loss != again:
            first, second = goal.value(loss), goal.value(again)
            edited = "was edited after its failure, or " if trial.number in self._history.run.retried else ""
            self.tell(
                "nondeterminism",
                f"trial {trial.number} step {answer.step}: {goal.metric} was {first!r}, and {second!r} when trained again "
                f"from the checkpoint; the first is kept. The training {edited}is not deterministic on this machine, or keeps "
                "state outside of what it saves.",
                trial.number,
            )

    def _decide(self, number: int, decision: Decision) -> None:
        """Record a decision once, although an interrupted trial repeats its decisions."""
        key = (number, decision.samples, decision.text)
        if key not in self._decided:
            self._decided.add(key)
            self._ledger.add_decision(number, decision)
        if decision.warns and self._is_first(decision.text):
            self.tell("notice", f"trial {number}: {decision.text}", number)

    def _is_first(self, warning: str) -> bool:
        kind = signature(warning)
        is_first = kind not in self._warned
        self._warned.add(kind)
        return is_first

    def _end_early(self, trial: Trial, answer: Ended) -> None:
        end = early_end(trial, self._history, answer.text)
        if end.status is Status.FAILED:
            self._fail_by_rule(trial, end)
            return
        self._end(end)
        advice = answer.advice or (
            f"If it did not stop early by a rule of its own, the horizon is too long: try horizon={trial.step}."
        )
        if self._is_first(advice):
            self.tell(
                "notice",
                f"trial {trial.number} ended by itself at step {trial.step} of {self._history.steps(trial.task)} and "
                f"counts as completed. {advice}",
                trial.number,
            )

    def _end(self, end: End, detail: str = "") -> None:
        trial = self._history.trials[end.trial]
        self._ledger.add_ending(trial.number, end.status, trial.step, end.reason, detail)
        self._history.append(end)
        self._retention.end(trial)  # which knows the best trial
        self._listen(end.status.value, f"trial {trial.number} {end.status.value} at step {trial.step}: {end.reason}")
        if not self._told_of_a_doubt and (doubt := self._sweep.searcher.doubt(self._history)):
            self._told_of_a_doubt = True
            self.tell("notice", doubt)


def check_disk(folder: Path) -> None:
    """Raise StorageError if the disk is full: then every trial fails without a fault of its own."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise StorageError(
            f"{folder}: the disk is full ({free} bytes are free). Nothing that was acknowledged is lost, and no "
            "trial is given up; make room, then run the same command again."
        )
