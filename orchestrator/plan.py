"""--dry-run: what a sweep would do and cost, with nothing started and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.ledger import FILE, Ledger
from search.trial import History, Suggestion

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FIRST = 5  # configurations that are shown


def print_plan(sweep: Sweep, folder: Path) -> None:
    console = Console(soft_wrap=True, highlight=False)
    horizon = sweep.workload.horizon
    console.print(f"[bold]{sweep.name}[/bold] in {folder}: {sweep.num_samples} configurations of {sweep.workload!r}")
    console.print(f"  tunes      {sweep.metric_name} ({'max' if sweep.maximise else 'min'})")
    console.print(f"  searcher   {sweep.searcher!r}", markup=False)
    console.print(f"  scheduler  {sweep.scheduler!r}", markup=False)
    console.print(
        f"  resources  {dict(sweep.resources)} for each trial, {sweep.max_concurrent or 'as many as fit'} at once",
        markup=False,
    )
    console.print("  space")
    for name, parameter in sweep.space.parameters.items():
        console.print(f"    {name:<18} {parameter!r}", markup=False)
    console.print(
        f"  cost       at most {sweep.num_samples} full trainings of {horizon} steps ({sweep.num_samples * horizon} steps); a scheduler that stops trials spends less"
    )
    for line in _recorded(sweep, folder):
        console.print(f"  {line}")
    console.print(f"  the first {min(FIRST, sweep.num_samples)} configurations, if nothing is known yet:")
    for config in first_configurations(sweep):
        console.print(
            "    "
            + ", ".join(
                f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in config.items()
            ),
            markup=False,
        )
    console.print("Nothing was started.")


def first_configurations(sweep: Sweep) -> list[dict[str, object]]:
    """What the searcher proposes to an empty history; later ones depend on results."""
    history = History(sweep.space, horizon=sweep.workload.horizon, seed=sweep.seed)
    found: list[dict[str, object]] = []
    given = [
        dict(point)
        for point in ([sweep.baseline_config] if sweep.baseline_config else []) + list(sweep.points_to_evaluate)
    ]
    found += given
    while len(found) < min(FIRST, sweep.num_samples):
        suggestion = sweep.searcher.suggest(history)
        if not isinstance(suggestion, Suggestion):
            break
        history.append(suggestion)
        found.append(dict(suggestion.config))
    return found[:FIRST]


def _recorded(sweep: Sweep, folder: Path) -> list[str]:
    """What a run of this name has spent so far, and what a step costs by that."""
    if not (folder / FILE).exists():
        return []
    ledger = Ledger.read(folder)
    reports = ledger.rows("report")
    trials = {row["trial"] for row in ledger.rows("suggestion")}
    ledger.close()
    lines = [f"on record  {len(trials)} trials, {len(reports)} steps: the command will continue them"]
    if reports:
        mean = sum(row["cost_seconds"] for row in reports) / len(reports)
        remaining = max(0, sweep.num_samples * sweep.workload.horizon - len(reports))
        lines.append(f"forecast   {mean:.3g} s a step so far: at most {remaining * mean / 3600:.2f} h of training more")
    return lines
