"""Show a run in the tools of others: optuna-dashboard, TensorBoard, MLflow, Weights & Biases, trackio."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import Run, Runs, app, on_disk, opened, told
from orchestrator.console.plurals import plural

LOOK_SECONDS = 2.0  # between two looks of --follow


@app.command()
@told
def dashboard(
    run: Run,
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on this machine; 0: any free one.")] = 8080,
) -> None:
    """Serve optuna-dashboard on this machine (extra `dashboard`), also while the sweep runs. It cannot change the run."""
    from orchestrator.mirrors.dashboard import served

    with opened(run, runs, check=False) as ledger:
        folder = ledger.folder
    with served(folder, port) as address:
        typer.echo(f"{folder.name}: {address} (Ctrl-C ends it)")
        _until_asked_to_end()


@app.command()
@told
def mirror(
    run: Run,
    to: Annotated[str, typer.Option(help="tensorboard, mlflow, wandb or trackio.")],
    runs: Runs = Path("runs"),
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep copying until the sweep ends.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the mirror; several runs may share it. Default: mirrors/TOOL in the run.", callback=on_disk
        ),
    ] = None,
    project: Annotated[str, typer.Option(help="Project or experiment in the tool; default: the run's name.")] = "",
) -> None:
    """Copy a run to TensorBoard, MLflow, Weights & Biases (offline) or trackio. Run it again to add what is new."""
    from orchestrator.mirrors.feed import mirror_run
    from orchestrator.mirrors.targets import check, target
    from orchestrator.record.storage import refuse_links

    check(to)
    with opened(run, runs, check=False) as ledger:
        folder = ledger.folder
    if output is None:
        refuse_links(folder / "mirrors", folder / "mirrors" / to)
    tool = target(to, output if output else folder / "mirrors" / to, project)
    stop = threading.Event()
    if follow:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    feed = mirror_run(folder, tool, wait=(lambda: not stop.wait(LOOK_SECONDS)) if follow else None)
    more = "; the same command continues" if stop.is_set() else ""
    typer.echo(f"{folder.name}: {plural(len(feed.sent), 'trial')} copied to {tool.output}{more}")
    typer.echo(f"Show it: {tool.shown_by()}")


def _until_asked_to_end() -> None:
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while not asked.wait(3600.0):  # a wait without a limit does not hear signals on every system
        pass
