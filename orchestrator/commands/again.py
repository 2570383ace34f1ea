"""Do something with a run again: train a trial, decide, predict, repair."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import Run, Runs, app, opened, told
from orchestrator.console.typed_command import replay_command
from orchestrator.errors import BadInput
from orchestrator.record.moved import places_told
from orchestrator.secrets import MASK

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


@app.command()
@told
def replay(
    run: Run,
    trial: Annotated[int, typer.Argument(help="Number of the trial.")],
    runs: Runs = Path("runs"),
    go_on: Annotated[
        int | None, typer.Option(help="Continue from the trial's checkpoint to this step instead of starting over.")
    ] = None,
) -> None:
    """Train a recorded trial again, outside the sweep, and compare each step with the record."""
    from orchestrator.reading.replay import replay_trial

    more = [] if go_on is None else ["--go-on", str(go_on)]

    def act(sweep: Sweep, folder: Path) -> None:
        replay_trial(sweep, folder, trial, go_on)

    raise typer.Exit(_call_script(run, runs, act, "--replay", str(trial), *more))


@app.command()
@told
def audit(run: Run, runs: Runs = Path("runs")) -> None:
    """Derive every decision again from the record, and say where the record differs."""
    from orchestrator.reading.audit import print_audit

    raise typer.Exit(_call_script(run, runs, print_audit, "--audit"))


@app.command()
@told
def predictions(run: Run, runs: Runs = Path("runs")) -> None:
    """Predict each test example with the baseline and with the best trial, for the report of a classifier."""
    from orchestrator.reading.predictions import print_written

    raise typer.Exit(_call_script(run, runs, print_written, "--predictions"))


@app.command()
@told
def repair(run: Run, runs: Runs = Path("runs")) -> None:
    """Replace a damaged ledger with its undamaged records or with its copy, whichever holds more."""
    from orchestrator.record.repair import repair as repair_run
    from orchestrator.record.storage import find_run

    typer.echo(repair_run(find_run(run, runs)))


def _call_script(run: str, runs: Path, act: Callable[[Sweep, Path], None], *flags: str) -> int:
    """Run the script that made a run once more, with `flags`, for something else than driving it; returns its exit code.

    If run(sweep) made the run, there are no flags: `act` then gets the sweep, taken from the program, and the run's folder.
    """
    with opened(run, runs) as ledger:
        folder = ledger.folder
        latest = ledger.sweep()
    if told_of := places_told(latest, folder):
        typer.echo(told_of, err=True)
    if any(MASK in word for word in latest["command"]):
        raise BadInput(
            f"{folder}: the command that made this run holds a secret, which the record does not show. Run it yourself "
            f"with {shlex.join(flags)} added: {shlex.join(latest['command'])}"
        )
    if not latest["command"]:
        from orchestrator.reading.program import import_sweep

        act(import_sweep(folder, flags), folder)
        return 0
    command, place = replay_command(folder, latest)
    where = ["--name", folder.name, "--runs", str(folder.parent)]
    return subprocess.call([sys.executable, *command, *where, *flags], cwd=place)
