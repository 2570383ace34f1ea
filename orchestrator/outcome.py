"""The outcome of a run: the error for its caller, its state, the summary, and how to continue."""

from __future__ import annotations

import contextlib
from math import isfinite
from typing import TYPE_CHECKING

from orchestrator.console.plurals import plural
from orchestrator.errors import Interrupted, NoMetric, OrchestratorError, TrialsFailed
from orchestrator.failures import in_brief, signature

if TYPE_CHECKING:
    from orchestrator.driver import Driver
    from orchestrator.record.ledger import Ledger


def tell_end(
    driver: Driver,
    ledger: Ledger,
    problem: OrchestratorError | None,
    *,
    is_smoke: bool = False,
    is_told_how_to_retry: bool = False,
) -> None:
    """Print the summary, and how to continue if that makes sense. Of a sound smoke test: that it works, and what is next."""
    from rich.console import Console

    from orchestrator.console.own_commands import orchestrator_line
    from orchestrator.console.typed_command import again, more
    from orchestrator.reading.printed_summary import print_summary
    from orchestrator.reading.room import budget_with_room, no_room
    from orchestrator.reading.used_up import instead_words, used_up

    out = Console()
    if is_smoke and problem is None and not driver.stop_reason and not _broken(driver):
        out.print(_smoke_words(driver), highlight=False, markup=False, soft_wrap=True)
        return
    print_summary(ledger, out, error=str(problem or ""))
    out.print(
        f"Report       {orchestrator_line('report', driver.places.folder)}",
        highlight=False,
        soft_wrap=True,
    )
    if isinstance(problem, (Interrupted, NoMetric)):
        return
    if driver.over and (why := no_room(driver.sweep, driver.places.folder, driver.history)):
        out.print(f"Not searched {why}", highlight=False, soft_wrap=True)
    if line := _retry_line(driver, is_told=is_told_how_to_retry):
        out.print(line, highlight=False, soft_wrap=True)
    if driver.is_out_of_time:
        return  # the summary says how to go on
    if driver.stop_reason:
        out.print(
            f"Stopped because {in_brief(driver.stop_reason).rstrip('.')}. To go on: {again()}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        room = budget_with_room(driver.sweep, driver.places.folder, driver.history)
        if why := used_up(driver.over, ledger.sweep()["description"]["space"], driver.history):
            line = f"would bring nothing new: {why}; {instead_words(driver.history)}"
        else:
            line = more(driver.sweep, driver.over, driver.history.started, budget=room)
        out.print(f"More trials  {line}", highlight=False, soft_wrap=True)


def _retry_line(driver: Driver, *, is_told: bool) -> str:
    """How to try failed trials again, unless the user `is_told`; of those for which that was asked: why they were not."""
    from orchestrator.console.typed_command import RETRY_FAILED, again
    from orchestrator.reading.beginning import listed
    from search.rules.retries import retriable

    if waiting := list(driver.history.run.to_retry):
        return f"Not retried  {listed(waiting)}: {in_brief(driver.stop_reason) or driver.over}"
    if is_told or not retriable(driver.history):
        return ""
    return f"Try again    {again()} {RETRY_FAILED} (the failed trials, once the cause is repaired)"


def _broken(driver: Driver) -> bool:
    """Whether a trial failed or diverged."""
    from search.records import Status

    return any(driver.history.count(status) for status in (Status.FAILED, Status.DIVERGED))


def _smoke_words(driver: Driver) -> str:
    from orchestrator.console.typed_command import again

    history = driver.history
    reports = plural(sum(len(trial.steps) for trial in history), "report")
    return (
        f"\n{driver.sweep.name}: {plural(len(history.trials), 'trial')}, {reports} of {driver.sweep.metric_name}, in "
        f"{driver.places.folder}\nIt works. Now without --smoke: {again('--smoke', has_value=False)}"
    )


def problem_of(
    driver: Driver, received: list[int], how_to_go_on: str, how_to_retry: str = ""
) -> OrchestratorError | None:
    """The error that the caller must know: interrupted, no result at all, or more failures than allowed.

    `how_to_retry`: how to try failed trials again, if nothing else says so.
    """
    from search.history import incumbent
    from search.records import Status

    history, allowed = driver.history, driver.sweep.allow_failed
    if received:
        if len(received) > 1:
            how = " at once; running trials keep their last checkpoints"
        elif driver.sweep.workload.has_own_process:  # nobody can ask it for a checkpoint
            how = "; a running trial continues from the last checkpoint that its training has saved, if it has one"
        else:
            how = " after a clean save"
        return Interrupted(f"interrupted{how}. To go on, {how_to_go_on}", 128 + received[0])
    if incumbent(history) is None:
        return NoMetric(_why_no_result(driver))
    failed = history.having(Status.FAILED)
    retry = f". Once the cause is repaired, {how_to_retry} tries them again." if how_to_retry and failed else ""
    if driver.abort_reason:
        return TrialsFailed(f"{driver.abort_reason.rstrip('.') if retry else driver.abort_reason}{retry}")
    if len(failed) > allowed:
        firsts = list({signature(trial.reason): trial for trial in reversed(failed)}.values())[::-1]
        reasons = "; ".join(f"trial {trial.number}: {trial.reason}" for trial in firsts[:3])
        others = any(trial.losses and trial.status is not Status.FAILED for trial in history.trials)
        result = f"; the others gave a result{' (error.result)' if how_to_retry else ''}" if others else ""
        return TrialsFailed(
            f"{len(failed)} of {plural(len(history.trials), 'trial')} failed, more than Sweep(allow_failed={allowed}) "
            f"allows{result}. {reasons}{retry}"
        )
    return None


def state_at_end(driver: Driver, problem: OrchestratorError | None) -> str:
    """The state of a run that has ended: finished if it came to its end with a result, and not most
    of its trials failed."""
    from search.records import Status

    if isinstance(problem, Interrupted):
        return "interrupted"
    is_whole = isinstance(problem, TrialsFailed) and not driver.abort_reason
    few = 2 * driver.history.count(Status.FAILED) <= len(driver.history.trials)
    return "finished" if problem is None or (is_whole and few) else "failed"


def _why_no_result(driver: Driver) -> str:
    from search.records import Status
    from search.task import FULL

    history, metric = driver.history, driver.sweep.metric_name
    failed, diverged = history.having(Status.FAILED), history.having(Status.DIVERGED)
    if any(isfinite(loss) for trial in history if trial.task != FULL for loss in trial.losses):
        return (
            f"no full training has reported {metric!r}: all {plural(len(history.trials), 'trial')} were of cheaper tasks. "
            f"Raise {'num_samples' if driver.sweep.budget is None else 'budget'} (--num-samples, --budget) for more."
        )
    if driver.abort_reason:
        return f"no trial gave {'a finite' if diverged else 'the metric'} {metric!r}: {driver.abort_reason}"
    if failed:
        return f"no trial gave the metric {metric!r}. First failure: trial {failed[0].number}: {failed[0].reason}"
    if diverged:
        return f"no trial gave a finite {metric!r}. The first of {len(diverged)} that diverged: {diverged[0].reason}"
    why = driver.stop_reason or driver.over or "nothing was started"
    return f"no trial gave the metric {metric!r}: {why}, and {plural(len(history.trials), 'trial')} had begun"


def record_interruption(ledger: Ledger) -> None:
    """Record that the run is interrupted, unless its end is on record: this process may live on, and the run does not."""
    from orchestrator.reading.state import state
    from orchestrator.record.schema import STATE

    with contextlib.suppress(OrchestratorError):  # a full disk, for example
        if ledger.epoch and state(ledger) == "running":
            with ledger.transaction():
                ledger.add_event(STATE, "interrupted")
