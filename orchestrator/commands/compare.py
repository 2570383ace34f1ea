"""Compare several runs, or groups of seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import Runs, app, matching, on_disk, opened, told
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.page.compared.groups import Group


@app.command("compare")
@told
def compare_runs(
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Runs; or groups of seeds, each as LABEL=RUN,RUN,… or as a pattern: 'cars-asha-*'."
        ),
    ],
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.", callback=on_disk)] = None,
) -> None:
    """Compare runs, or groups of seeds, at equal cost: which is better, by how much, and what differs."""
    from orchestrator.page.compared.groups import compare

    found = compare([_group(text, runs) for text in given])
    if html is not None:
        from orchestrator.page.compare import document
        from orchestrator.page.files import write

        written = write(document(found), "html", html)
        typer.echo(f"Page: {written}", err=as_json)
    if as_json:
        from orchestrator.page.compare import as_data

        typer.echo(json.dumps(as_data(found), indent=2))
    elif html is None:
        from rich.console import Console

        from orchestrator.page.compared.text import print_comparison

        print_comparison(found, Console())


def _group(text: str, runs: Path) -> Group:
    """The group that an argument names. Raises BadInput for a pattern without a run, and for an unknown name."""
    from orchestrator.page.compared.groups import Group
    from orchestrator.page.recorded import Recorded

    label, equals, names = text.rpartition("=")
    if equals and not label:
        raise BadInput(f"compare {text!r}: the label is missing; write LABEL=RUN,RUN.")
    found = []
    for name in names.split(",") if equals else [text]:
        found += matching(name, runs, "compare")
    if "" in found:
        raise BadInput(f"compare {text!r}: a name is empty; write LABEL=RUN,RUN without spaces.")
    records = []
    for name in found:
        with opened(name, runs) as ledger:
            records.append(Recorded.of(ledger))
    return Group(label or (text if len(records) > 1 else records[0].folder.name), tuple(records))
