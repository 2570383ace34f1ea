"""The page of a run: as a file, and live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.app import Run, Runs, app, on_disk, opened, told

PORT = 8050


@app.command()
@told
def report(
    run: Run,
    runs: Runs = Path("runs"),
    format: Annotated[
        str, typer.Option(help="html, md (with PNG files beside it), png or pdf (first screen and figures).")
    ] = "html",
    output: Annotated[
        Path | None, typer.Option(help="File to write; default: report/report.FORMAT in the run.", callback=on_disk)
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write the page of a run: what won, by how much, on what evidence, what it cost, what to do next."""
    from orchestrator.page.document import answer_lines, document
    from orchestrator.page.files import write

    with opened(run, runs) as ledger:
        made = document(ledger)
    path = write(made, format, output)
    for label, text in answer_lines(made):
        typer.echo(f"{label:<18}{text}" if label else text)
    typer.echo(f"{'Report':<18}{path}")
    if open_it:
        import webbrowser

        if not webbrowser.open(path.as_uri()):
            typer.echo("No browser was found; open the file yourself.")


@app.command()
@told
def watch(
    run: Run,
    runs: Runs = Path("runs"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0: any free one.", min=0, max=65535)] = PORT,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Serve the page of a run on this machine, and keep it up to date while the sweep runs. Ctrl-C ends it."""
    import os

    from orchestrator.page.watch import serve

    with opened(run, runs, check=False) as ledger:
        folder = ledger.folder

    def started(address: str) -> None:
        typer.echo(f"Watching {folder.name} at {address} (Ctrl-C ends)")
        if open_it:
            import webbrowser

            webbrowser.open(address)

    os.nice(10)  # trainings come first
    serve(folder, port, started, typer.echo)
