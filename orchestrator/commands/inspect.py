"""Look at a run: status, logs, show."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import Run, Runs, app, opened, told
from orchestrator.errors import BadInput


@app.command()
@told
def status(
    run: Run,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, as list --json has it.")] = False,
) -> None:
    """Show the state of a run in one line, why trials failed, and the last events."""
    from orchestrator.money.amounts import trainings
    from orchestrator.reading.ahead import ahead_words
    from orchestrator.reading.out_of_time import out_of_time_words
    from orchestrator.reading.printed_summary import failure_lines
    from orchestrator.reading.runs import look
    from orchestrator.reading.scores import which
    from orchestrator.reading.spent import of_budget
    from orchestrator.reading.summary import glance
    from orchestrator.reading.trial_counts import count_words, latest_events, resting_members
    from orchestrator.record.storage import find_run

    if as_json:
        typer.echo(json.dumps(look(find_run(run, runs)).as_json(), indent=2))
        return
    with opened(run, runs, check=False) as ledger:
        facts = glance(ledger)
        counts = count_words(facts["trials"], facts["state"], resting_members(ledger)) or "no trials"
        best = facts["best"]
        shown = ""
        if best and best["value"] is not None:
            shown = f"; best {facts['metric']} {best['value']:.6g} ({which(best)})"
        budget, limit = of_budget(facts["budget"])
        spent = f"{trainings(facts['spent'])}{budget} full trainings{limit}"
        typer.echo(f"{ledger.folder.name}: {facts['state']}; {counts}{shown}; {spent}")
        if facts["ahead"]:
            typer.echo(f"  {ahead_words(facts['ahead'], facts['metric'], facts['mode'])}")
        if facts["waiting"]:
            typer.echo(f"  {facts['waiting'].words}")
        if facts["left"]:
            typer.echo(f"  {facts['left']}")
        if facts["out_of_time"]:
            typer.echo(f"  {out_of_time_words(facts['out_of_time'])}")
        for line in failure_lines(facts, ledger.folder):
            typer.echo(f"  {line}")
        for time, kind, text in latest_events(ledger):
            typer.echo(f"  {time[:19]}  {kind}: {(text.splitlines() or [''])[0]}")


@app.command()
@told
def logs(
    run: Run,
    trial: Annotated[
        int | None, typer.Argument(help="Number of the trial; default: the first failed trial, or the running one.")
    ] = None,
    runs: Runs = Path("runs"),
    failed: Annotated[bool, typer.Option("--failed", help="Show why trials failed, and how their logs end.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new output until the trial ends.")
    ] = False,
) -> None:
    """Show the output of a trial."""
    from orchestrator.reading.logs import print_failed, print_log

    if failed and (follow or trial is not None):
        raise BadInput("logs --failed shows all failed trials: omit the trial's number and --follow.")
    with opened(run, runs, check=False) as ledger:
        if failed:
            print_failed(ledger, sys.stdout)
        else:
            print_log(ledger, trial, sys.stdout, follow=follow)


@app.command()
@told
def show(
    run: Run,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the best configuration, gain, cost, counts and health."""
    from orchestrator.page.recorded import Recorded
    from orchestrator.page.sections.health import checks
    from orchestrator.reading.printed_summary import print_summary
    from orchestrator.reading.summary import summary

    with opened(run, runs) as ledger:
        health = checks(Recorded.of(ledger))
        if as_json:
            facts = summary(ledger) | {"health": [finding.as_dict() for finding in health]}
            typer.echo(json.dumps(facts, indent=2, sort_keys=False))
        else:
            from rich.console import Console

            from orchestrator.page.health.printed import print_health

            console = Console()
            print_summary(ledger, console, health_follows=True)
            print_health(health, ledger.folder, console)
