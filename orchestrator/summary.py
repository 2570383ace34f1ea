"""From the ledger to what people want to know: the summary, the plot, the best configuration, the whole record.

Reads only the ledger: needs neither Ray nor torch, works while the sweep is running and on a stranger's run.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import psutil

from orchestrator.accounts import accounts, observations, print_accounts
from orchestrator.errors import BadInput, StorageError
from orchestrator.ledger import Ledger
from orchestrator.record.encoding import goal_of, now, seconds_between, to_json
from orchestrator.schema import RECORDS
from orchestrator.standing import Cause, Stand, causes, load_history, stands
from orchestrator.storage import host, replace_file
from search.finalists import winner
from search.history import Trial
from search.records import BASELINE, FINALIST, Goal, Status
from search.task import FULL

if TYPE_CHECKING:
    from rich.console import Console

MOST_CAUSES = 5  # of failures, that are shown
STATE = "state"  # kind of the event that says how an invocation ended


def summary(ledger: Ledger) -> dict[str, Any]:
    """One object with everything that `show --json` promises."""
    with ledger.snapshot():
        sweeps = ledger.sweeps()
        about = _description(ledger)
        found = stands(ledger)
        history = load_history(ledger, found)
        best = winner(history)
        baseline = next((trial for trial in history if trial.first_origin == BASELINE), None)
        origins = ledger.query("SELECT origin, COUNT(*) FROM suggestion GROUP BY origin ORDER BY MIN(seq)")
        return {
            "name": about["name"],
            "state": state(ledger),
            "metric": about["metric"],
            "mode": about["mode"],
            "trials": {status.value: history.count(status) for status in Status},
            "best": _about(ledger, best, about),
            "baseline": _about(ledger, baseline, about),
            "cost": {
                "seconds": round(sum(trial.cost_seconds for trial in history), 3),
                "full_equivalents": round(history.spent, 3),
                "budget": about.get("budget"),
                "usd": None,
            },
            "suggestions": dict(origins),
            "resumes": len(sweeps) - 1,
            "failures": [_failure(ledger, cause) for cause in causes(found)],
            **accounts(ledger, history, goal_of(about)),
        }


def glance(ledger: Ledger) -> dict[str, Any]:
    """What `status` and `list` tell, of a long record too: state, trials by status, best, full trainings, failures."""
    with ledger.snapshot():
        about = _description(ledger)
        found = stands(ledger)
        goal = goal_of(about)
        if about.get("tasks") or any(stand.origin == FINALIST for stand in found):
            history = load_history(ledger, found)
            best, spent = winner(history), history.spent
            shown = None if best is None else (best.number, goal.value(best.loss))
        else:
            spent = sum(stand.step - stand.began for stand in found if stand.step) / about["horizon"]
            incumbent = _incumbent(found, goal)
            shown = None if incumbent is None else (incumbent.trial, goal.value(incumbent.loss(goal)))
        counts = Counter(stand.status for stand in found)
        return {
            "state": state_words(ledger),
            "metric": about["metric"],
            "trials": {status.value: counts[status.value] for status in Status if counts[status.value]},
            "best": shown,
            "spent": spent,
            "failures": [_failure(ledger, cause) for cause in causes(found)],
        }


def _incumbent(found: list[Stand], goal: Goal) -> Stand | None:
    """As `search.history.incumbent`, of a run without tasks and finalists."""
    candidates = [stand for stand in found if stand.status == Status.COMPLETED.value and stand.step]
    if not candidates:
        finite = [stand for stand in found if stand.step and isfinite(stand.loss(goal))]
        furthest = max((stand.step for stand in finite), default=0)
        candidates = [stand for stand in finite if stand.step == furthest]
    return min(candidates, key=lambda stand: (stand.loss(goal), stand.trial), default=None)


def _failure(ledger: Ledger, cause: Cause) -> dict[str, Any]:
    log = trial_log(ledger.folder, cause.trial)
    return cause._asdict() | {"log": str(log) if log.exists() else None}


def trial_log(folder: Path, trial: int) -> Path:
    """Where what a trial prints is kept."""
    return folder / "trials" / f"{trial:05d}" / "log.txt"


def _description(ledger: Ledger) -> dict[str, Any]:
    sweeps = ledger.sweeps()
    if not sweeps:
        raise StorageError(f"{ledger.folder}: nothing is recorded yet; look again in a moment.")
    description: dict[str, Any] = sweeps[-1]["description"]
    return description


def state(ledger: Ledger) -> str:
    """running | interrupted | finished | failed; of a run on another machine, which is out of sight, its last word."""
    lease = ledger.lease()
    if lease is None:
        return "interrupted"
    told = ledger.rows(
        "event", "WHERE kind = :kind AND epoch = :epoch ORDER BY seq DESC LIMIT 1", kind=STATE, epoch=lease.epoch
    )
    if told:
        return str(told[0]["text"])
    if lease.host != host():
        return "running"
    try:
        alive = abs(psutil.Process(lease.pid).create_time() - lease.started) < 0.01
    except psutil.Error:
        alive = False
    return "running" if alive else "interrupted"


def state_words(ledger: Ledger) -> str:
    """The state for people: of a run on another machine when it was last heard, for whether it is alive is not to be seen."""
    word, lease = state(ledger), ledger.lease()
    if word != "running" or lease is None or lease.host == host():
        return word
    heard = ledger.last_heard()
    return f"running on {lease.host}, last heard {_ago(seconds_between(heard, now()))} ago ({heard[:19]} UTC)"


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _about(ledger: Ledger, trial: Trial | None, about: Mapping[str, Any]) -> dict[str, Any] | None:
    if trial is None:
        return None
    tests = ledger.rows("test", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    checkpoint = newest_checkpoint(ledger, trial.number)
    return {
        "trial": trial.number,
        "config": dict(trial.config),
        "value": goal_of(about).value(trial.loss) if isfinite(trial.loss) else None,
        "task": trial.task,
        "step": trial.step,
        "status": trial.status.value,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "test": tests[0]["metrics"] if tests else None,
    }


def newest_checkpoint(ledger: Ledger, trial: int) -> Path | None:
    """The last checkpoint of a trial that is there and is the one on record."""
    for row in ledger.rows("checkpoint", "WHERE trial = :trial ORDER BY seq DESC", trial=trial):
        path: Path = ledger.folder / row["path"]
        with contextlib.suppress(OSError):  # deleted since, or of another kind: then there is no manifest
            if hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest() == row["sha256"]:
                return path.absolute()
    return None


class CostCurve(NamedTuple):
    """The incumbent's value against what was trained, in full trainings: a point for each completed trial."""

    costs: list[float]
    values: list[float]
    baseline: float | None
    total: float  # cost of all that was trained


def cost_curve(ledger: Ledger) -> CostCurve:
    """Points in order of recording."""
    goal = goal_of(_description(ledger))
    with ledger.snapshot():
        history = load_history(ledger, stands(ledger))
        reports = ledger.query("SELECT trial, step, value, kind FROM report ORDER BY seq")
    costs, values, reference = [], [], None
    best, cost = float("inf"), 0.0
    before = {trial.number: trial.began for trial in history}
    shares = {task: history.cost_of(task) / history.steps(task) for task in {trial.task for trial in history}}
    for number, step, value, kind in reports:
        trial = history.trials[number]
        cost += (step - before[number]) * shares[trial.task]
        before[number] = step
        is_full = trial.task == FULL and trial.status is Status.COMPLETED and trial.first_origin != FINALIST
        if is_full and trial.step == step and kind == "number":
            best = min(best, goal.loss(value))
            costs.append(cost)
            values.append(goal.value(best))
            if trial.first_origin == BASELINE:
                reference = value
    return CostCurve(costs, values, reference, cost)


def plot(ledger: Ledger, target: Path) -> Path | None:
    """The incumbent against cost as a picture; None if no trial was completed yet."""
    costs, values, reference, total = cost_curve(ledger)
    if not costs:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    about = _description(ledger)
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    axes.step(
        [*costs, total],
        [*values, values[-1]],
        where="post",
        color="#1f5fa8",
        linewidth=2,
        label="best completed trial so far",
    )
    axes.plot(costs, values, "o", color="#1f5fa8", markersize=3.5)
    if reference is not None:
        axes.axhline(reference, color="#b04a2f", linestyle="--", linewidth=1.2, label=f"baseline {reference:.4g}")
    axes.set_xlabel("cost (full trainings)")
    axes.set_ylabel(f"{about['metric']} on validation ({'higher' if about['mode'] == 'max' else 'lower'} is better)")
    axes.set_title(f"{about['name']}: incumbent against cost")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="upper right" if about["mode"] == "min" else "lower right")  # where no curve is
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=target.suffix[1:] or "png")
    plt.close(figure)
    return _put(target, picture.getvalue())


def _put(target: Path, data: bytes) -> Path:
    """Write a report's file to its place, or, where this may not be written to, to the folder for temporary files."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, data)
        return target
    except OSError:
        elsewhere = Path(tempfile.mkdtemp(prefix=f"{target.parent.parent.name}-")) / target.name
        elsewhere.write_bytes(data)
        return elsewhere


def print_summary(ledger: Ledger, console: Console) -> None:
    """What a person wants to read at the end: best configuration, gain, cost, where things are, how to go on."""
    facts = summary(ledger)
    best, baseline = facts["best"], facts["baseline"]
    console.print(f"\n[bold]{ledger.folder.name}[/bold]: {state_words(ledger)}", highlight=False)
    if best is None:
        console.print(f"  no {'full training' if facts['tasks'] else 'trial'} has reported yet")
    else:
        console.print(
            f"\n[bold]Best configuration[/bold] (trial {best['trial']}, step {best['step']}, {best['status']})"
        )
        for line in yaml_text(best["config"]).splitlines():
            console.print(f"  {line}", markup=False, highlight=False)
        console.print("")
        console.print(_result_table(facts, best, baseline))
    counts = ", ".join(f"{count} {name}" for name, count in facts["trials"].items() if count)
    cost = facts["cost"]
    budget = "" if cost["budget"] is None else f" of {cost['budget']:g}"
    console.print(f"Trials       {counts or 'none'}", highlight=False)
    console.print(
        f"Cost         {cost['full_equivalents']:.1f}{budget} full trainings, {cost['seconds']:.0f} s of training",
        highlight=False,
    )
    origins = ", ".join(
        f"{count} {name}" for name, count in sorted(facts["suggestions"].items(), key=lambda item: -item[1])
    )
    console.print(
        f"Suggestions  {origins or 'none'}" + (f"; continued {facts['resumes']}×" if facts["resumes"] else ""),
        highlight=False,
    )
    print_accounts(facts, console)
    for line in failure_lines(facts["failures"], ledger.folder):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if best is not None and best["checkpoint"]:
        console.print(f"Checkpoint   {best['checkpoint']}", highlight=False, soft_wrap=True)


def failure_lines(failures: list[dict[str, Any]], folder: Path) -> list[str]:
    """Why trials failed, grouped by cause, for people: how many, the first, where to read on."""
    lines = []
    for position, failure in enumerate(failures[:MOST_CAUSES]):
        which = (
            f"trial {failure['trial']}"
            if failure["times"] == 1
            else f"{failure['times']} ×, first trial {failure['trial']}"
        )
        lines.append(f"{'Failures' if not position else '':<12} {failure['status']}, {which}: {failure['reason']}")
        if failure["log"]:
            lines.append(f"{'':<12} log: {failure['log']}")
    if len(failures) > MOST_CAUSES:
        lines.append(f"{'':<12} and {len(failures) - MOST_CAUSES} more causes")
    if failures:
        lines.append(f"{'':<12} to read on: {shlex.join(['orchestrator', 'logs', str(folder), '--failed'])}")
    return lines


def _result_table(facts: Mapping[str, Any], best: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    table.add_column(f"{facts['metric']} (validation)", justify="right")
    tests = list(best["test"] or {})
    for name in tests:
        table.add_column(f"{name} (test)", justify="right")

    def row(label: str, about: Mapping[str, Any]) -> None:
        values = [(about["test"] or {}).get(name) for name in tests]
        table.add_row(label, _number(about["value"]), *[_number(value) for value in values])

    if baseline is not None:
        row(f"baseline (trial {baseline['trial']})", baseline)
    row(f"best (trial {best['trial']})", best)
    chosen = next((finalist for finalist in facts["finalists"] if finalist["winner"]), None)
    if chosen is not None:  # the score that it was not chosen for
        table.add_row(
            f"best, {len(chosen['confirmed'])} × on fresh seeds", _number(chosen["mean"]), *["–"] * len(tests)
        )
    if baseline is not None:
        tested, before = best["test"] or {}, baseline["test"] or {}
        gains = [_gain(baseline["value"], best["value"], facts["mode"])]
        gains += [
            _gain(before.get(name), tested.get(name), facts["mode"] if name == facts["metric"] else "")
            for name in tests
        ]
        table.add_row("against the baseline", *gains)
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _gain(before: float | None, after: float | None, mode: str) -> str:
    """In words, for people who need not remember the metric's direction; `mode` "": nobody said what is better."""
    if before is None or after is None or not isfinite(after - before):
        return "–"
    change = after - before
    if not change:
        return "equal"
    if not mode:
        return f"{change:+.4g}"
    return f"{'better' if (change > 0) == (mode == 'max') else 'worse'} by {abs(change):.4g}"


def best_as_yaml(ledger: Ledger) -> str:
    """The best configuration with all that is needed to train on from it."""
    facts = summary(ledger)
    best = facts["best"]
    if best is None:
        raise BadInput(f"{ledger.folder}: nothing to export, no trial has reported yet.")
    number = best["trial"]
    content: dict[str, Any] = {
        "run": ledger.folder.name,
        "trial": number,
        "metric": facts["metric"],
        "value": best["value"],
        "test": best["test"],
        "step": best["step"],
        "config": best["config"],
        "checkpoint": best["checkpoint"],
    }
    begun = ledger.rows("suggestion", "WHERE trial = :trial ORDER BY seq LIMIT 1", trial=number)[0]
    again = ["orchestrator", "replay", str(ledger.folder), str(number)]
    if begun["command"]:
        content["command"] = f"TRIAL_SEED={begun['seed']} {shlex.join(begun['command'])}"
        content["files"], reported = scripts_own(ledger.folder, number)
        if reported:
            content["checkpoint"] = reported
    elif best["checkpoint"] and best["status"] == Status.COMPLETED.value and _description(ledger).get("trains_on"):
        horizon = _description(ledger)["horizon"]
        content["train_on"] = shlex.join([*again, "--go-on", str(max(best["step"], horizon) + horizon)])
    content["train_again"] = shlex.join(again)
    return yaml_text(content)


def scripts_own(folder: Path, trial: int) -> tuple[str | None, str | None]:
    """A script's TRIAL_FOLDER and the checkpoint that it reported last, as far as they are there."""
    own = folder / "trials" / f"{trial:05d}" / "checkpoints" / "script"
    reported = None
    if (reports := own / ".reports" / "reports.jsonl").is_file():
        for line in reports.read_bytes().splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # a line that was cut off
                path = json.loads(line)["checkpoint"]
                reported = path if path is not None and Path(path).exists() else reported
    return str(own) if own.is_dir() else None, reported


def yaml_text(content: Mapping[str, Any]) -> str:
    """YAML 1.2 that reads back as the same values."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(dict(content), stream)
    return stream.getvalue()


def records(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Every record in the order in which it was written, as flat dicts with `kind, trial, step, value, time`."""
    with ledger.snapshot():
        about = observations(ledger)
        rows = [(row["seq"], table, row) for table in RECORDS for row in ledger.rows(table)]
    for seq, table, row in sorted(rows, key=lambda item: item[0]):
        value: Any = row.get("value")
        if table == "report" and row["kind"] != "number":
            value = row["kind"]
        record = {
            "seq": seq,
            "kind": table,
            "trial": row.get("trial"),
            "step": row.get("step"),
            "value": value,
            "time": row["time"],
        }
        if table == "report" and seq in about:
            task, paid = about[seq]
            record |= {"task": task, "paid": str(paid), "resumed": paid.how in ("went on", "forked")}
        renamed = {"kind": {"suggestion": "does", "event": "event"}.get(table, "")}
        for name, content in row.items():
            name = renamed.get(name, name)
            if name and name not in record and content is not None:
                record[name] = content
        yield record


def write_record(ledger: Ledger, form: str, target: IO[str] | Path) -> None:
    """Write `records` as jsonl (to a stream or file), csv or parquet (to a file)."""
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise BadInput("--parquet needs pyarrow: pip install pyarrow.") from error
        import pandas as pd

        flat = [_flat(record) for record in records(ledger)]
        frame = pd.DataFrame(flat)
        mixed = [name for name in frame if frame[name].map(type).nunique() > 1]
        frame[mixed] = frame[mixed].map(lambda item: None if item is None or item != item else str(item))
        with writing(target):
            frame.to_parquet(target)
        return
    with writing(target):
        stream = target.open("w", newline="") if isinstance(target, Path) else target
    try:
        if form == "jsonl":
            for record in records(ledger):
                stream.write(to_json(record) + "\n")
        else:
            flat = [_flat(record) for record in records(ledger)]
            names = list(dict.fromkeys(name for record in flat for name in record))
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            writer.writerows(flat)
    finally:
        if isinstance(target, Path):
            stream.close()


@contextlib.contextmanager
def writing(target: object) -> Iterator[None]:
    """Say in one sentence that a file cannot be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written: {error.strerror}. Name another file with --output."
        ) from error


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, content in record.items():
        if name in ("config", "metrics", "before", "after") and isinstance(content, Mapping):
            flat |= {f"{name}.{inner}": value for inner, value in content.items()}
        else:
            flat[name] = to_json(content) if isinstance(content, (dict, list)) else content
    return flat


def runs(folder: Path) -> list[Path]:
    """The run folders below `folder`, newest first."""
    found = [path.parent for path in folder.expanduser().glob("*/ledger.db")]
    return sorted(found, key=lambda path: (path / "ledger.db").stat().st_mtime, reverse=True)
