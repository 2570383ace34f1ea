"""The summary for people: best configuration, gain, cost, failures, where to read more."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.console.plurals import times
from orchestrator.money.amounts import trainings
from orchestrator.reading.ahead import ahead_words
from orchestrator.reading.alike import alike_words
from orchestrator.reading.beginning import listed
from orchestrator.reading.certainty import certainty
from orchestrator.reading.costs import WORTH_SAYING, cost_words
from orchestrator.reading.export import yaml_text
from orchestrator.reading.forecasts import foreseen_words
from orchestrator.reading.scores import rests_on
from orchestrator.reading.shared import shared_words
from orchestrator.reading.spending import print_accounts
from orchestrator.reading.spent import of_budget
from orchestrator.reading.state import state_words
from orchestrator.reading.trial_counts import count_words, resting_members, stands, status_words
from orchestrator.reading.untried import UNTRIED
from orchestrator.record.ledger import Ledger
from search.records import Status
from search.wording import together

if TYPE_CHECKING:
    from rich.console import Console
from orchestrator.reading.summary import fork_words, no_result, summary, turned_words

MOST_CAUSES = 5  # of failures to show


def print_summary(
    ledger: Ledger,
    console: Console,
    *,
    facts: Mapping[str, Any] | None = None,
    health_follows: bool = False,
    error: str = "",
) -> None:
    """Print the summary: best configuration, gain, cost, places of the files. `facts`: the `summary`, if it is known.
    `health_follows`: the caller goes on with that; `error`: with this message, whose reasons are not repeated."""
    facts = summary(ledger) if facts is None else facts
    best, baseline = facts["best"], facts["baseline"]
    console.print(f"\n[bold]{ledger.folder.name}[/bold]: {state_words(ledger, facts['state'])}", highlight=False)
    if best is None:
        console.print(f"  {no_result(facts)}")
    else:
        console.print(
            f"\n[bold]Best configuration[/bold] (trial {best['trial']}, step {best['step']}, "
            f"{status_words(best['status'], facts['state'])})"
        )
        for line in yaml_text(together(best["config"], best["found"])).splitlines():
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        for words in filter(None, (fork_words(best, ledger.folder), turned_words(best, ledger.folder))):
            console.print(words, highlight=False, markup=False, soft_wrap=True)
        console.print("")
        console.print(_result_table(facts, best, baseline))
        if facts["untried"]:
            words = f"Of the others, {facts['untried'].rstrip('.')}."
            console.print(words, highlight=False, markup=False, soft_wrap=True)
        if facts["outside"]:
            console.print(f"Note: {facts['outside']}.", highlight=False, markup=False, soft_wrap=True)
        if facts["ahead"]:
            words = ahead_words(facts["ahead"], facts["metric"], facts["mode"])
            console.print(f"Note: {words}", highlight=False, markup=False, soft_wrap=True)
        if facts["unfair"]:
            console.print(f"The gain is unknown: {facts['unfair']}.", highlight=False, soft_wrap=True)
        doubts = [] if health_follows else [alike_words(ledger, stands(ledger)), shared_words(ledger)]
        for words in filter(None, doubts):
            console.print(f"\n{words}\n", style="bold", markup=False, highlight=False, soft_wrap=True)
    counts = count_words(facts["trials"], facts["state"], resting_members(ledger))
    cost = facts["cost"]
    budget, limit = of_budget(cost["budget"])
    console.print(f"Trials       {counts or 'none'}", highlight=False)
    slow = cost["start_seconds"] > WORTH_SAYING * cost["seconds"]
    beside = f" ({cost['start_seconds']:.0f} s of it before first reports)" if slow else ""
    spent = f"{trainings(cost['full_equivalents'])}{budget} full trainings, {cost['seconds']:.0f} s of training{beside}{limit}"
    console.print(f"Cost         {spent}", highlight=False, soft_wrap=True)
    console.print(f"Money        {cost_words(cost)}", highlight=False, markup=False, soft_wrap=True)
    if left := foreseen_words(ledger):
        console.print(f"Forecast     {left}", highlight=False, soft_wrap=True)
    origins = ", ".join(
        f"{count} {name}" for name, count in sorted(facts["suggestions"].items(), key=lambda item: -item[1])
    )
    console.print(
        f"Suggestions  {origins or 'none'}"
        + (f"; the run was continued {times(facts['resumes'])}" if facts["resumes"] else ""),
        highlight=False,
    )
    print_accounts(facts, console, health_follows=health_follows)
    for line in failure_lines(facts, ledger.folder, error):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if best is not None and best["checkpoint"]:
        own = f"; the score of this model is the first score, {_number(best['first'])}" if rests_on(best) else ""
        step = f" ({best['other_step']})" if best["other_step"] else ""
        console.print(f"Checkpoint   {best['checkpoint']}{step}{own}", highlight=False, soft_wrap=True)
    elif best is not None and best["no_checkpoint"]:
        console.print(f"Checkpoint   none: {best['no_checkpoint']}", highlight=False, markup=False, soft_wrap=True)
    for run in (run for run in best["fresh"] if run["checkpoint"]) if best is not None else ():
        words = f"{run['checkpoint']}; the score of this model, on a fresh seed, is {_number(run['value'])}"
        console.print(f"             {words}", highlight=False, markup=False, soft_wrap=True)


def failure_lines(facts: Mapping[str, Any], folder: Path, error: str = "") -> list[str]:
    """Why trials failed, grouped by cause, for people: how many, the first, where to read more; which were tried again.
    `error`: a message that follows."""
    failures: list[dict[str, Any]] = facts["failures"]
    lines = []
    for position, failure in enumerate(failures[:MOST_CAUSES]):
        which = (
            f"trial {failure['trial']}"
            if failure["times"] == 1
            else f"{failure['times']} ×, first trial {failure['trial']}"
        )
        why = "see the error below" if error and failure["reason"] in error else failure["reason"]
        lines.append(f"{'Failures' if not position else '':<12} {failure['status']}, {which}: {why}")
        if failure["log"]:
            lines.append(f"{'':<12} log: {failure['log']}")
    if len(failures) > MOST_CAUSES:
        lines.append(f"{'':<12} and {len(failures) - MOST_CAUSES} more causes")
    if failures:
        lines.append(f"{'':<12} read more: {orchestrator_line('logs', folder, '--failed')}")
    if facts["retried"]:
        lines.append(f"{'Retried':<12} {listed(facts['retried'])}: tried again after a failure")
    return lines


def _result_table(facts: Mapping[str, Any], best: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column(f"{facts['metric']} (validation)", justify="right")
    tests = list(best["test"] or {})
    for name in tests:
        table.add_column(f"{name} (test)", justify="right")

    is_over = facts["state"] == "finished" and best["status"] == Status.COMPLETED.value
    for name, about in (("baseline", baseline), ("best" if is_over else "best so far", best)):
        if about is None:
            continue
        status = status_words(about["status"], facts["state"])
        where = "" if status == Status.COMPLETED.value else f", {status} at step {about['step']}"
        label, tested = f"{name} (trial {about['trial']}{where})", about["test"] or {}
        if again := rests_on(about):
            table.add_row(f"{label}, {again}", _number(about["value"]), *["–"] * len(tests))
        table.add_row(
            f"{label}, first score" if again else label,
            _number(about["first"]), *[_number(tested.get(test)) for test in tests],
        )  # fmt: skip
    if baseline is not None:
        tested, before = best["test"] or {}, baseline["test"] or {}
        gains = [_gain(baseline["value"], best["value"], facts["mode"])]
        gains += [
            _gain(before.get(name), tested.get(name), facts["mode"] if name == facts["metric"] else "")
            for name in tests
        ]
        if best["trial"] == baseline["trial"]:
            table.add_row(UNTRIED if facts["untried"] else "the baseline is the best")
        else:
            label = ", ".join(filter(None, ("against the baseline", certainty(facts))))
            table.add_row(label, *(["–"] * len(gains) if facts["unfair"] else gains))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _gain(before: float | None, after: float | None, mode: str) -> str:
    """The gain in words, so that nobody has to remember the metric's direction; `mode` "": the direction is unknown."""
    if before is None or after is None or not isfinite(after - before):
        return "–"
    change = after - before
    if not change:
        return "equal"
    if not mode:
        return f"{'higher' if change > 0 else 'lower'} by {abs(change):.4g}"
    return f"{'better' if (change > 0) == (mode == 'max') else 'worse'} by {abs(change):.4g}"
