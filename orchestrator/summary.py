"""From the ledger to what people want to know: the summary, the plot, the best configuration, the whole record.

Reads only the ledger: needs neither Ray nor torch, works while the sweep is running and on a stranger's run.
"""

from __future__ import annotations

import csv
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil

from orchestrator.accounts import accounts, observations, print_accounts
from orchestrator.errors import BadInput
from orchestrator.ledger import Ledger, to_json
from orchestrator.sweep import described_tasks
from search.finalists import winner
from search.space import Space
from search.task import FULL
from search.trial import BASELINE, FINALIST, History, Status, Trial

if TYPE_CHECKING:
    from rich.console import Console

STATE = "state"  # kind of the event that says how an invocation ended


def summary(ledger: Ledger) -> dict[str, Any]:
    """One object with everything that `show --json` promises."""
    sweeps = ledger.sweeps()
    about = sweeps[-1]["description"]
    history = load_history(ledger)
    best = winner(history)
    baseline = next((trial for trial in history if trial.first_origin == BASELINE), None)
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
        "suggestions": dict(Counter(row["origin"] for row in ledger.rows("suggestion"))),
        "resumes": len(sweeps) - 1,
        **accounts(ledger, history, about["mode"] == "max"),
    }


def load_history(ledger: Ledger) -> History:
    about = ledger.sweeps()[-1]["description"]
    # The space is only described in the ledger, and reading needs no more.
    return ledger.history(
        Space({"unknown": None}), about["horizon"], about["seed"], about["mode"] == "max", tasks=described_tasks(about)
    )


def state(ledger: Ledger) -> str:
    """running | interrupted | finished | failed."""
    lease = ledger.lease()
    if lease is None:
        return "interrupted"
    told = ledger.rows("event", f"WHERE kind = '{STATE}' AND epoch = {lease.epoch} ORDER BY seq DESC LIMIT 1")
    if told:
        return str(told[0]["text"])
    try:
        alive = abs(psutil.Process(lease.pid).create_time() - lease.started) < 0.01
    except psutil.Error:
        alive = False
    return "running" if alive else "interrupted"


def _about(ledger: Ledger, trial: Trial | None, about: Mapping[str, Any]) -> dict[str, Any] | None:
    if trial is None:
        return None
    sign = -1.0 if about["mode"] == "max" else 1.0
    tests = ledger.rows("test", "WHERE trial = :trial ORDER BY seq DESC LIMIT 1", trial=trial.number)
    checkpoint = newest_checkpoint(ledger, trial.number)
    return {
        "trial": trial.number,
        "config": dict(trial.config),
        "value": sign * trial.loss if isfinite(trial.loss) else None,
        "task": trial.task,
        "step": trial.step,
        "status": trial.status.value,
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "test": tests[0]["metrics"] if tests else None,
    }


def newest_checkpoint(ledger: Ledger, trial: int) -> Path | None:
    for row in ledger.rows("checkpoint", "WHERE trial = :trial ORDER BY seq DESC", trial=trial):
        path: Path = ledger.folder / row["path"]
        if path.exists():
            return path.absolute()
    return None


def cost_curve(ledger: Ledger) -> tuple[list[float], list[float], float | None]:
    """(cost in full trainings, incumbent's value) at each completed trial, in order of recording; the baseline's value."""
    about = ledger.sweeps()[-1]["description"]
    sign = -1.0 if about["mode"] == "max" else 1.0
    history = load_history(ledger)
    costs, values, reference = [], [], None
    best, cost = float("inf"), 0.0
    before = {trial.number: trial.began for trial in history}
    for row in ledger.rows("report"):
        trial = history.trials[row["trial"]]
        share = history.cost_of(trial.task) / history.steps(trial.task)
        cost += (row["step"] - before[trial.number]) * share
        before[trial.number] = row["step"]
        is_full = trial.task == FULL and trial.status is Status.COMPLETED and trial.first_origin != FINALIST
        if is_full and trial.step == row["step"] and row["kind"] == "number":
            best = min(best, sign * row["value"])
            costs.append(cost)
            values.append(sign * best)
            if trial.first_origin == BASELINE:
                reference = row["value"]
    return costs, values, reference


def plot(ledger: Ledger, target: Path) -> Path | None:
    """The incumbent against cost as a picture; None if no trial was completed yet."""
    costs, values, reference = cost_curve(ledger)
    if not costs:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    about = ledger.sweeps()[-1]["description"]
    total = load_history(ledger).spent
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
    axes.legend(frameon=False, loc="best")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=130)
    plt.close(figure)
    return target


def print_summary(ledger: Ledger, console: Console) -> None:
    """What a person wants to read at the end: best configuration, gain, cost, where things are, how to go on."""
    facts = summary(ledger)
    best, baseline = facts["best"], facts["baseline"]
    console.print(f"\n[bold]{facts['name']}[/bold]: {facts['state']}")
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
    if best is not None and best["checkpoint"]:
        console.print(f"Checkpoint   {best['checkpoint']}", highlight=False, soft_wrap=True)


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
    if baseline is not None and baseline["value"] is not None and best["value"] is not None:
        gains = [best["value"] - baseline["value"]]
        gains += [
            (best["test"] or {}).get(name, float("nan")) - (baseline["test"] or {}).get(name, float("nan"))
            for name in tests
        ]
        table.add_row("gain", *[f"{gain:+.4g}" if gain == gain else "–" for gain in gains])
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def best_as_yaml(ledger: Ledger) -> str:
    """The best configuration with all that is needed to train on from it."""
    facts = summary(ledger)
    best = facts["best"]
    if best is None:
        raise BadInput(f"{ledger.folder}: nothing to export, no trial has reported yet.")
    horizon = ledger.sweeps()[-1]["description"]["horizon"]
    again = ["orchestrator", "replay", str(ledger.folder), str(best["trial"])]
    content: dict[str, Any] = {
        "run": facts["name"],
        "trial": best["trial"],
        "metric": facts["metric"],
        "value": best["value"],
        "test": best["test"],
        "step": best["step"],
        "config": best["config"],
        "checkpoint": best["checkpoint"],
    }
    if best["checkpoint"]:
        further = str(max(best["step"], horizon) + horizon)
        content["train_on"] = shlex.join([*again, "--go-on", further])
    content["train_again"] = shlex.join(again)
    return yaml_text(content)


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
    kinds = {"suggestion": "suggestion", "report": "report", "verdict": "decision", "ending": "decision", "checkpoint": "checkpoint", "test": "test", "event": "event", "sweep": "sweep"}  # fmt: skip
    about = observations(ledger)
    rows = [(row["seq"], kind, table, row) for table, kind in kinds.items() for row in ledger.rows(table)]
    for seq, kind, table, row in sorted(rows, key=lambda item: item[0]):
        value: Any = row.get("value")
        if table == "report" and row["kind"] != "number":
            value = row["kind"]
        record = {
            "seq": seq,
            "kind": kind,
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
            raise BadInput("--parquet needs pyarrow: pip install 'tuning-orchestrator[parquet]'.") from error
        import pandas as pd

        flat = [_flat(record) for record in records(ledger)]
        frame = pd.DataFrame(flat)
        mixed = [name for name in frame if frame[name].map(type).nunique() > 1]
        frame[mixed] = frame[mixed].map(lambda item: None if item is None or item != item else str(item))
        frame.to_parquet(target)
        return
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


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, content in record.items():
        if name in ("config", "metrics") and isinstance(content, Mapping):
            flat |= {f"{name}.{inner}": value for inner, value in content.items()}
        else:
            flat[name] = to_json(content) if isinstance(content, (dict, list)) else content
    return flat


def runs(folder: Path) -> list[Path]:
    """The run folders below `folder`, newest first."""
    found = [path.parent for path in folder.glob("*/ledger.db")]
    return sorted(found, key=lambda path: (path / "ledger.db").stat().st_mtime, reverse=True)
