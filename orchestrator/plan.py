"""--dry-run: what a sweep would do and cost, with nothing started and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.ledger import FILE, Ledger
from orchestrator.transfer import earlier_histories
from search.task import FULL
from search.trial import History, Suggestion

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FIRST = 5  # configurations that are shown


def print_plan(sweep: Sweep, folder: Path) -> None:
    console = Console(soft_wrap=True, highlight=False)
    many = "as many as the budget allows" if sweep.limit is None else f"{sweep.limit} configurations"
    console.print(f"[bold]{sweep.name}[/bold] in {folder}: {many} of {sweep.workload!r}")
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
    for line in [*_tasks(sweep), *_limits(sweep)]:
        console.print(f"  {line}", markup=False)
    for line in _recorded(sweep, folder):
        console.print(f"  {line}")
    console.print(f"  the first {_shown(sweep)} configurations, if nothing is known yet:")
    for config in first_configurations(sweep, folder):
        console.print(
            "    "
            + ", ".join(
                f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
                for name, value in config.items()
            ),
            markup=False,
        )
    console.print("Nothing was started.")


def first_configurations(sweep: Sweep, folder: Path) -> list[dict[str, object]]:
    """What the searcher proposes to an empty history; later ones depend on results."""
    earlier, _ = earlier_histories(sweep, folder, [])
    history = History(
        sweep.space, horizon=sweep.workload.horizon, seed=sweep.seed, tasks=sweep.tasks, limit=sweep.limit, earlier=earlier
    )  # fmt: skip
    found: list[dict[str, object]] = []
    given = [
        dict(point)
        for point in ([sweep.baseline_config] if sweep.baseline_config else []) + list(sweep.points_to_evaluate)
    ]
    found += given
    while len(found) < _shown(sweep):
        suggestion = sweep.searcher.suggest(history)
        if not isinstance(suggestion, Suggestion):
            break
        history.append(suggestion)
        found.append(dict(suggestion.config))
    return found[:FIRST]


def _shown(sweep: Sweep) -> int:
    return FIRST if sweep.limit is None else min(FIRST, sweep.limit)


def _tasks(sweep: Sweep) -> list[str]:
    """Each task: its steps, what differs, its declared cost, and what a promotion from it pays."""
    horizon, lines = sweep.workload.horizon, []
    for task in sorted(sweep.tasks, key=lambda task: task.cost):
        differs = "".join(f", {name}={value!r}" for name, value in task.changes.items())
        cost = task.steps(horizon) / horizon if task.resumes else task.cost
        then = "" if task.name == FULL else "; resumed later" if task.resumes else "; a promotion starts over"
        lines.append(f"task       {task.name}: {task.steps(horizon)} steps{differs}, costs {cost:.3g}{then}")
    return lines


def _limits(sweep: Sweep) -> list[str]:
    horizon, count = sweep.workload.horizon, sweep.finalist_count
    lines = []
    if sweep.limit is not None:
        lines.append(
            f"cost       at most {sweep.limit} full trainings of {horizon} steps ({sweep.limit * horizon} steps); a scheduler that stops trials spends less"
        )
    if sweep.budget is not None:
        lines.append(
            f"budget     {sweep.budget:g} full trainings of {horizon} steps, {sweep.search_budget:g} of them to search with"
        )
    if count:
        lines.append(
            f"finalists  the best {count} are trained again at the end, {sweep.confirmations} × each on fresh seeds"
        )
    if sweep.transfer:
        lines.append(f"transfer   learns from {', '.join(sweep.transfer)}")
    return lines


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
        most = min(most for most in (sweep.limit, sweep.budget) if most is not None)
        remaining = max(0.0, most * sweep.workload.horizon - len(reports))
        lines.append(f"forecast   {mean:.3g} s a step so far: at most {remaining * mean / 3600:.2f} h of training more")
    return lines
