"""Keep runs: list them, tag them, rename them, remove them, free their disk."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.commands.app import Run, Runs, app, matching, told
from orchestrator.console.plurals import plural
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.reading.runs import Glance


Several = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Names of runs under --runs, paths of their folders, or patterns: 'seed*'."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DEFAULT = Path("runs")  # a folder that a project without a sweep does not have yet


@app.command("list")
@told
def list_runs(
    runs: Runs = DEFAULT,
    tag: Annotated[str, typer.Option(help="List only runs with this tag.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List all runs, the newest record first."""
    from orchestrator.reading.runs import glances

    if runs != DEFAULT and not runs.is_dir():
        raise BadInput(f"--runs {runs}: there is no such folder; name the one that holds the runs.")
    found = glances(runs, tag)
    if as_json:
        typer.echo(json.dumps([each.as_json() for each in found], indent=2))
    elif not found:
        typer.echo(f"no runs in {runs}" + (f" with the tag {tag}" if tag else ""))
    else:
        _print(found)


@app.command(context_settings={"ignore_unknown_options": True})
@told
def tag(
    run: Run,
    tags: Annotated[
        list[str] | None, typer.Argument(metavar="[+TAG] [-TAG] …", help="+good adds, -good removes.")
    ] = None,
    runs: Runs = Path("runs"),
    note: Annotated[str | None, typer.Option(help='Replace the note; "" removes it.')] = None,
) -> None:
    """Add and remove tags, also while the sweep runs: +good -bad. Without tags, show tags and note."""
    from orchestrator.reading.keeping import run_to_change
    from orchestrator.record.remarks import Remarks, add_note, add_tags

    words = tags or []
    for word in words:
        if word[0] not in "+-":
            raise BadInput(f"tag {word!r}: write +{word} to add it, -{word} to remove it.")
    folder = run_to_change(run, runs)
    add_tags(folder, [word[1:] for word in words if word[0] == "+"], [word[1:] for word in words if word[0] == "-"])
    if note is not None:
        add_note(folder, note)
    now = Remarks.of(folder)
    typer.echo(f"{folder.name}: {' '.join(now.tags) or 'no tags'}" + (f"; {now.note}" if now.note else ""))


@app.command()
@told
def rename(run: Run, name: Annotated[str, typer.Argument(help="The new name.")], runs: Runs = Path("runs")) -> None:
    """Rename a run that is not running."""
    from orchestrator.reading.keeping import rename as rename_run
    from orchestrator.reading.keeping import run_to_change

    folder = run_to_change(run, runs)
    target = rename_run(folder, name)
    typer.echo(
        f"{folder} is now {target}. To continue it, add --name {name} to its command; without it, the command starts a new "
        f"run named {folder.name}."
    )


@app.command()
@told
def rm(
    run: Several,
    runs: Runs = Path("runs"),
    yes: Yes = False,
) -> None:
    """Remove runs with everything in them, after asking."""
    from orchestrator.reading.keeping import at_rest, remove
    from orchestrator.reading.runs import look

    folders = _folders(run, runs, "rm")
    for folder in folders:  # refuse before anything is removed
        with at_rest(folder, "remove"):
            pass
    if not yes:
        for folder in folders:
            typer.echo(_about(look(folder)))
        _confirm(f"Remove {'it' if len(folders) == 1 else f'these {len(folders)} runs'} for good?")
    for folder in folders:
        remove(folder)
        typer.echo(f"removed {folder}")


@app.command()
@told
def prune(run: Several, runs: Runs = Path("runs"), yes: Yes = False) -> None:
    """Delete the checkpoints of all trials but the best, its repetitions and the baseline, after asking; the record stays."""
    from orchestrator.reading.keeping import at_rest
    from orchestrator.reading.pruning import prune as prune_run
    from orchestrator.reading.pruning import spare

    found = []
    for folder in _folders(run, runs, "prune"):
        with at_rest(folder, "prune"):  # refuse before anything is deleted
            found.append(spare(folder))
    found = [each for each in found if each.freed]
    for each in found:
        stay = f"; kept: {', '.join(each.kept)}" if each.kept else ""
        what = f"checkpoints of {plural(len(each.trials), 'trial')}" if each.trials else "Ray's own files"
        typer.echo(f"{each.folder}: {_size(each.bytes)}, {what}{stay}")
        if each.later:
            typer.echo(f"  {each.later}")
    if not found:
        typer.echo("nothing to delete")
    elif not yes:
        _confirm("Delete them for good?")
    for each in found:
        typer.echo(f"{each.folder}: {_size(prune_run(each))} are free now")


def _folders(given: list[str], runs: Path, command: str) -> list[Path]:
    """Those of the runs, patterns replaced by what they match, each once."""
    from orchestrator.reading.keeping import run_to_change

    found = [run_to_change(name, runs) for each in given for name in matching(each, runs, command)]
    return list({folder.resolve(): folder for folder in found}.values())


def _confirm(question: str) -> None:
    """Ask; end the command unless the answer is yes."""
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-C, or the end of the input
        if sys.stdin.isatty():
            raise
        raise BadInput(
            f"{question} There is no terminal to answer, so nothing was done; add --yes to do it without a question."
        ) from None
    if not agreed:
        raise typer.Abort


def _about(run: Glance) -> str:
    trials = plural(sum(run.facts.get("trials", {}).values()), "trial")
    return f"{run.folder}: {run.state}, {trials}, {_size(run.bytes)}, last record {_when(run)}"


FRESH = "fresh seeds"  # whose mean the best value is; the column is there if a run has trained its best again
DIVERGED = "diverged"  # there if any trial has
GAIN = "gain"  # over the baseline; there if a run has one
OPTIONAL = (FRESH, DIVERGED, GAIN)
DOUBT = "?"  # beside a gain that is not certain
COLUMNS = (
    "run",
    "state",
    "last",
    "best",
    GAIN,
    FRESH,
    "trials",
    "tags",
    "failed",
    DIVERGED,
    "size",
    "cost",
    "metric",
)  # by importance
ORDER = (  # from left to right
    "run", "state", "trials", "failed", DIVERGED, "metric", "best", GAIN, FRESH, "cost", "last", "size", "tags",
)  # fmt: skip
NUMERIC = ("trials", "failed", DIVERGED, "best", GAIN, FRESH, "cost", "last", "size")
GAP = 2  # between two columns


def _print(found: list[Glance]) -> None:
    """A table with as many columns as the screen has room for, and notes and failures below it; in a pipe with all."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    rows = [_row(run) for run in found]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in COLUMNS}
    names = [name for name in _by_importance(rows) if name not in OPTIONAL or any(row[name] for row in rows)]
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = max(console.width, _width(widths, names))
    count = max(n for n in range(1, len(names) + 1) if n == 1 or _width(widths, names[:n]) <= console.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    shown = [name for name in ORDER if name in names[:count]]
    for name in shown:
        table.add_column(name, justify="right" if name in NUMERIC else "left", overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    console.print(table)
    if any(row[GAIN].endswith(DOUBT) for row in rows) and GAIN in shown:
        console.print(
            f"{DOUBT} a gain that is not confirmed on fresh seeds, or that noise could explain", highlight=False
        )
    if count < len(names):
        left = ", ".join(name for name in ORDER if name in names[count:])
        how = f"COLUMNS={_width(widths, names)} before the command shows them, and so does --json"
        console.print(f"No room for {left}: {how}.", highlight=False)
    for run in found:
        for line in _below(run):
            console.print(f"{run.folder.name}: {line}", markup=False, highlight=False, soft_wrap=True)


def _by_importance(rows: Sequence[dict[str, str]]) -> list[str]:
    """The columns; the metric comes before its values where runs have different ones."""
    if len({row["metric"] for row in rows if row["metric"]}) < 2:
        return list(COLUMNS)
    rest = [name for name in COLUMNS if name != "metric"]
    rest.insert(rest.index("best"), "metric")
    return rest


def _width(widths: dict[str, int], names: Sequence[str]) -> int:
    """That of a table with these columns."""
    return sum(widths[name] for name in names) + GAP * len(names)


def _row(run: Glance) -> dict[str, str]:
    from orchestrator.money.amounts import trainings
    from orchestrator.reading.scores import rests_on

    row = {"run": run.folder.name, "state": run.state, "size": _size(run.bytes), "tags": " ".join(run.tags)}
    if run.problem:
        return dict.fromkeys(COLUMNS, "") | row
    best = run.facts["best"]
    return row | {
        "trials": str(sum(run.facts["trials"].values())),
        "failed": str(run.facts["trials"].get("failed", "")),
        DIVERGED: str(run.facts["trials"].get("diverged", "")),
        "metric": run.facts["metric"],
        "best": "–" if best is None or best["value"] is None else f"{best['value']:.4g}",
        GAIN: _gain(run),
        FRESH: str(len(best["confirmed"])) if best is not None and rests_on(best) else "",
        "cost": trainings(run.facts["spent"]),
        "last": _when(run),
    }


def _gain(run: Glance) -> str:
    from orchestrator.reading.certainty import BEYOND_NOISE

    if (gain := run.facts["gain"]) is None:
        return ""
    return f"{gain.value:.4g}{'' if gain.certainty in ('', BEYOND_NOISE) else f' {DOUBT}'}"


def _below(run: Glance) -> Iterator[str]:
    if run.note:
        yield run.note
    if run.problem:
        yield run.problem
    elif run.facts["failures"]:
        first, *others = run.facts["failures"]
        more = f"; and {plural(len(others), 'other cause')}" if others else ""
        yield f"{first['status']} {first['times']} ×: {first['reason']}{more}"


def _when(run: Glance) -> str:
    from orchestrator.reading.state import ago

    return f"{ago(run.idle_seconds)} ago" if run.last else ""


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
