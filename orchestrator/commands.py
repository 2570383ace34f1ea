"""The `orchestrator` command: inspect runs, export them, train a recorded trial again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.console.typed_command import replay_command
from orchestrator.errors import BadInput, did_you_mean
from orchestrator.main import explain
from orchestrator.secrets import MASK

if TYPE_CHECKING:
    from orchestrator.record.ledger import Ledger

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
Run = Annotated[str, typer.Argument(help="Name of a run under --runs, or the path of its folder.")]
Runs = Annotated[Path, typer.Option(help="Folder of all runs.", callback=lambda path: path.expanduser())]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn our errors into one message and their exit code."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except BrokenPipeError:  # `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            raise typer.Exit(explain(error)) from None

    return wrapped


@app.command("list")
@told
def list_runs(runs: Runs = Path("runs")) -> None:
    """All runs, newest first."""
    from rich.console import Console
    from rich.table import Table

    from orchestrator.reading.state import runs as found_runs
    from orchestrator.reading.summary import glance
    from orchestrator.record.ledger import Ledger

    table = Table(box=None, pad_edge=False)
    for heading in ("run", "state", "trials", "failed", "metric", "best", "cost"):
        table.add_column(heading, justify="left" if heading in ("run", "state", "metric") else "right")
    folders = found_runs(runs)
    reasons = []
    for folder in folders:
        try:
            ledger = Ledger.read(folder, check=False)
            try:
                facts = glance(ledger)
            finally:
                ledger.close()
        except Exception as error:
            table.add_row(folder.name, "unreadable", "", "", "", "", "")
            reasons.append(f"{folder.name}: {error}")
            continue
        best, failed = facts["best"], sum(failure["times"] for failure in facts["failures"])
        if facts["failures"]:
            first = facts["failures"][0]
            reasons.append(f"{folder.name}: {first['status']} {first['times']} ×: {first['reason']}")
        table.add_row(
            folder.name,
            facts["state"],
            str(sum(facts["trials"].values())),
            str(failed or ""),
            facts["metric"],
            "–" if best is None or best[1] != best[1] else f"{best[1]:.4g}",
            f"{facts['spent']:.1f}",
        )
    console = Console()
    if folders:
        console.print(table)
        for reason in reasons:
            console.print(reason, markup=False, highlight=False, soft_wrap=True)
    else:
        typer.echo(f"no runs in {runs}")


@app.command()
@told
def status(run: Run, runs: Runs = Path("runs")) -> None:
    """The state of a run in one line, why trials failed, and the last events."""
    from orchestrator.reading.printed_summary import failure_lines
    from orchestrator.reading.summary import glance
    from orchestrator.reading.trial_counts import latest_events

    with _opened(run, runs, check=False) as ledger:
        facts = glance(ledger)
        counts = ", ".join(f"{count} {name}" for name, count in facts["trials"].items()) or "no trials"
        best = facts["best"]
        shown = f"; best {facts['metric']} {best[1]:.6g} (trial {best[0]})" if best and best[1] == best[1] else ""
        typer.echo(f"{ledger.folder.name}: {facts['state']}; {counts}{shown}; {facts['spent']:.1f} full trainings")
        for line in failure_lines(facts["failures"], ledger.folder):
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
        bool, typer.Option("--follow", "-f", help="Continue with new output until the trial ends.")
    ] = False,
) -> None:
    """The output of a trial."""
    from orchestrator.reading.logs import print_failed, print_log

    if failed and (follow or trial is not None):
        raise BadInput("logs --failed shows all failed trials: omit the trial's number and --follow.")
    with _opened(run, runs, check=False) as ledger:
        if failed:
            print_failed(ledger, sys.stdout)
        else:
            print_log(ledger, trial, sys.stdout, follow=follow)


@app.command()
@told
def show(
    run: Run,
    runs: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Best configuration, gain, cost and counts."""
    from orchestrator.reading.printed_summary import print_summary
    from orchestrator.reading.summary import summary

    with _opened(run, runs) as ledger:
        if as_json:
            typer.echo(json.dumps(summary(ledger), indent=2, sort_keys=False))
        else:
            from rich.console import Console

            print_summary(ledger, Console())


@app.command()
@told
def report(run: Run, runs: Runs = Path("runs")) -> None:
    """Print the summary and draw the incumbent against cost."""
    from rich.console import Console

    from orchestrator.reading.plot import plot
    from orchestrator.reading.printed_summary import print_summary

    with _opened(run, runs) as ledger:
        print_summary(ledger, Console())
        picture = plot(ledger, ledger.folder / "report" / "incumbent.png")
        typer.echo(f"Plot         {picture}" if picture else "Plot         none: no trial is completed yet")


@app.command()
@told
def export(
    run: Run,
    runs: Runs = Path("runs"),
    jsonl: Annotated[bool, typer.Option("--jsonl", help="The record as JSON lines.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The record as CSV.")] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="The record as Parquet (needs the extra `parquet`).")
    ] = False,
    as_schedule: Annotated[
        bool, typer.Option("--schedule", help="The knobs that a trial trained with, as JSON.")
    ] = False,
    trial: Annotated[int | None, typer.Option(help="With --schedule: the trial's number; default: the best.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File to write; default: standard output (parquet: record.parquet in the run)."),
    ] = None,
) -> None:
    """The best configuration as YAML, the whole record (--jsonl, --csv, --parquet), or a schedule (--schedule).

    The schedule lists the knobs that a policy turned during training, or the configurations of a population's member,
    forks included. A new training can follow it: policy=ReplayedSchedule.of(workload, json.load(open("schedule.json"))).
    """
    from orchestrator.reading.export import best_as_yaml, write_record
    from orchestrator.record.storage import refuse_links

    if jsonl + as_csv + parquet + as_schedule > 1:
        raise BadInput("export: choose one of --jsonl, --csv, --parquet and --schedule.")
    if trial is not None and not as_schedule:
        raise BadInput(f"export --trial {trial}: goes with --schedule.")
    with _opened(run, runs) as ledger:
        if as_schedule:
            text = json.dumps(_schedule(ledger, trial), indent=2) + "\n"
            _give(text, output)
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
    more = [] if go_on is None else ["--go-on", str(go_on)]
    raise typer.Exit(_call_script(run, runs, "--replay", str(trial), *more))


@app.command()
@told
def audit(run: Run, runs: Runs = Path("runs")) -> None:
    """Derive every decision again from the record, and say where the record differs."""
    raise typer.Exit(_call_script(run, runs, "--audit"))


@app.command()
@told
def repair(run: Run, runs: Runs = Path("runs")) -> None:
    """Replace a damaged ledger by its records before the damage or by its copy, whichever holds more."""
    from orchestrator.record.repair import repair as repair_run

    folder = next((path for path in (runs / run, Path(run).expanduser()) if path.is_dir()), runs / run)
    typer.echo(repair_run(folder.absolute()))


def _call_script(run: str, runs: Path, *flags: str) -> int:
    """Run the script that made a run once more, for something else than driving it; returns its exit code."""
    with _opened(run, runs) as ledger:
        folder = ledger.folder
        latest = ledger.sweeps()[-1]
    if any(MASK in word for word in latest["command"]):
        raise BadInput(
            f"{folder}: the command that made this run holds a secret, which the record does not show. Run it yourself "
            f"with {' '.join(flags)} added: {shlex.join(latest['command'])}"
        )
    command, place = replay_command(folder, latest)
    where = ["--name", folder.name, "--runs", str(folder.parent)]
    return subprocess.call([sys.executable, *command, *where, *flags], cwd=place)


def _schedule(ledger: Ledger, trial: int | None) -> list[dict[str, Any]]:
    """The trial's schedule (None: the best trial's): in samples if a policy turned knobs, else in steps."""
    from orchestrator.reading.summary import summary
    from search.rules.forked_schedule import schedule

    begun = ledger.begun()
    best = summary(ledger)["best"] if trial is None else None
    if trial is None and best is None:
        raise BadInput(f"{ledger.folder}: no trial has reported yet, so none is the best; name one with --trial.")
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
            begun_there = {"averaging": row["after"].pop("averaging")} if "averaging" in row["after"] else {}
            turned = {"samples": row["position"], "knobs": row["after"], "why": row["why"], **begun_there}
            at[row["position"]] = at.get(row["position"], {}) | turned
        return [at[samples] for samples in sorted(at)]
    reports = ledger.rows("report", "WHERE trial = :trial ORDER BY step DESC LIMIT 1", trial=number)
    step = reports[0]["step"] if reports else begun[number].parent_step or 0
    return [stretch._asdict() for stretch in schedule(number, step, begun)]


def _give(text: str, output: Path | None) -> None:
    from orchestrator.reading.export import writing

    if output is None:
        typer.echo(text, nl=False)
    else:
        with writing(output):
            output.write_text(text)


@contextmanager
def _opened(run: str, runs: Path, *, check: bool = True) -> Iterator[Ledger]:
    from orchestrator.record.ledger import COPY, FILE, Ledger

    candidates = [runs / run, Path(run).expanduser()]
    folder = next((path for path in candidates if (path / FILE).exists()), None)
    folder = folder or next((path for path in candidates if (path / COPY).exists()), None)  # it has lost its ledger
    if folder is None:
        names = [path.parent.name for path in runs.glob(f"*/{FILE}")]
        raise BadInput(f"no run {run!r} in {runs}." + (did_you_mean(run, names) if names else ""))
    ledger = Ledger.read(folder.absolute(), check=check)
    try:
        yield ledger
    finally:
        ledger.close()
