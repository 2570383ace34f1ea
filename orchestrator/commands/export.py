"""Take things out of a run: the best configuration, the record, a schedule."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.app import Run, Runs, app, on_disk, opened, told
from orchestrator.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.record.ledger import Ledger


@app.command()
@told
def export(
    run: Run,
    runs: Runs = Path("runs"),
    jsonl: Annotated[bool, typer.Option("--jsonl", help="The record as JSON lines.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The whole record as CSV, a row for each event.")] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="The record as Parquet (needs the extra `parquet`).")
    ] = False,
    trials: Annotated[bool, typer.Option("--trials", help="A table of the trials as CSV, one row each.")] = False,
    as_schedule: Annotated[
        bool, typer.Option("--schedule", help="The learning rates and batch sizes that a trial used, as JSON.")
    ] = False,
    share: Annotated[
        bool, typer.Option("--share", help="A folder for other people: record, report and best checkpoint.")
    ] = False,
    trial: Annotated[int | None, typer.Option(help="With --schedule: the trial's number; default: the best.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write; default: standard output (parquet: record.parquet in the run; share: RUN-shared here).",
            callback=on_disk,
        ),
    ] = None,
) -> None:
    """Export the best configuration (YAML), the trials (--trials), the record (--jsonl, --csv, --parquet), a schedule or a folder.

    The schedule lists the knobs that a policy turned during training, or the configurations of a population's member,
    forks included. A new training can follow it: policy=ReplayedSchedule.of(workload, json.load(open("schedule.json"))).
    """
    from orchestrator.reading.export import best_as_yaml, write_record, write_trials
    from orchestrator.record.storage import refuse_links

    if jsonl + as_csv + parquet + trials + as_schedule + share > 1:
        raise BadInput("export: choose one of --jsonl, --csv, --parquet, --trials, --schedule and --share.")
    if trial is not None and not as_schedule:
        raise BadInput(f"export --trial {trial}: can only be used with --schedule.")
    with opened(run, runs) as ledger:
        if as_schedule:
            text = json.dumps(_schedule(ledger, trial), indent=2) + "\n"
            _give(text, output)
        elif share:
            _share(ledger, output)
        elif trials:
            write_trials(ledger, output or sys.stdout)
        elif not (jsonl or as_csv or parquet):
            text = best_as_yaml(ledger)
            _give(text, output)
        elif parquet:
            target = output or ledger.folder / "record.parquet"
            refuse_links(*([] if output else [target]))
            write_record(ledger, "parquet", target)
            typer.echo(target)
        else:
            write_record(ledger, "jsonl" if jsonl else "csv", output or sys.stdout)


def _schedule(ledger: Ledger, trial: int | None) -> list[dict[str, Any]]:
    """The trial's schedule (None: the best trial's): in samples if a policy turned knobs, else in steps."""
    from orchestrator.reading.summary import no_result, summary
    from search.rules.forked_schedule import schedule

    begun = ledger.begun()
    facts = summary(ledger)
    best = facts["best"] if trial is None else None
    if trial is None and best is None:
        raise BadInput(f"{ledger.folder}: {no_result(facts)}, so no trial is the best; name one with --trial.")
    number = best["trial"] if best is not None else trial
    if number not in begun:
        raise BadInput(
            f"{ledger.folder}: no trial {number}; there are {len(begun)}."
            if begun
            else f"{ledger.folder}: no trials yet."
        )
    kept = ledger.rows("decision", "WHERE trial = :trial AND position IS NOT NULL ORDER BY seq", trial=number)
    if kept and begun[number].parent is None:
        at = {0: {"samples": 0, "knobs": kept[0]["before"], "why": "configuration"}}
        for row in kept:  # the last word at each place
            knobs = dict(row["after"])
            averaging = {"averaging": knobs.pop("averaging")} if "averaging" in knobs else {}  # begun there
            turned = {"samples": row["position"], "knobs": knobs, "why": row["why"], **averaging}
            at[row["position"]] = at.get(row["position"], {}) | turned
        return [at[samples] for samples in sorted(at)]
    reports = ledger.rows("report", "WHERE trial = :trial ORDER BY step DESC LIMIT 1", trial=number)
    step = reports[0]["step"] if reports else begun[number].parent_step or 0
    seeds = {row["trial"]: row["seed"] for row in ledger.rows("suggestion", "WHERE kind <> 'resume'")}
    return [stretch._asdict() | {"seed": seeds[stretch.trial]} for stretch in schedule(number, step, begun)]


def _share(ledger: Ledger, output: Path | None) -> None:
    from orchestrator.reading.share import share

    shared = share(ledger, output or Path(f"{ledger.folder.name}-shared"), _report(ledger))
    typer.echo(f"{shared.folder}: {', '.join(shared.files)}")
    for reason in shared.left_out:
        typer.echo(f"without {reason}")


def _report(ledger: Ledger) -> dict[str, bytes]:
    """The files of the report, by name."""
    from orchestrator.page.document import document
    from orchestrator.page.html import html

    return {"report.html": html(document(ledger)).encode()}


def _give(text: str, output: Path | None) -> None:
    from orchestrator.reading.export import writing

    if output is None:
        typer.echo(text, nl=False)
    else:
        with writing(output):
            output.write_text(text)
