"""How many full trainings a budget pays for, as far as their time is known: from the run, or from its smoke test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console.plurals import plural
from orchestrator.definition.validation import SEARCHED
from orchestrator.errors import OrchestratorError
from orchestrator.money.amounts import Amount, budget_words, full_trainings
from orchestrator.money.devices import device_name
from orchestrator.money.prices import held_by_trial
from orchestrator.record.ledger import FILE, Ledger
from search.records import BASELINE, FINALIST

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep
    from search.history import History

NEARLY = 1e-9  # because sums are not exact


def cost_of_full(sweep: Sweep, folder: Path, history: History) -> float:
    """What a full training costs, in the unit of the budget; 0 if that is not known."""
    device = sweep.device_budget
    if device is None:
        return 0.0 if sweep.budget is None else 1.0
    if known := device.of_full_trainings(1.0, history):
        return known
    seconds = smoke_seconds(sweep, folder)
    kind, many = held_by_trial(sweep.resources)
    return seconds * sweep.workload.horizon * many * (device.rate(device_name(kind)) or 0.0) if seconds else 0.0


def trainings_in_all(sweep: Sweep, folder: Path, history: History) -> float | None:
    """How many full trainings a budget of money or device time ends the run after; None if that is not known."""
    device, each = sweep.device_budget, cost_of_full(sweep, folder, history)
    if device is None or not each:
        return None
    return history.spent + max(0.0, device.amount - device.spent(history)) / each


@dataclass(frozen=True)
class _Short:
    """A budget that leaves nothing to search with."""

    each: float  # what a full training costs, in the unit of the budget
    enough: float  # a budget that leaves room for SEARCHED configurations
    drops: bool  # whether it would leave some room without finalists


def no_room(sweep: Sweep, folder: Path, history: History) -> str:
    """A warning, if the budget leaves nothing to search with beside the first configuration and the finalists; else empty."""
    short = _short(sweep, folder, history)
    if short is None:
        return ""
    beside = [
        *["the baseline"] * (sweep.baseline_config is not None),
        *["the first configuration"] * any(trial.first_origin not in (BASELINE, FINALIST) for trial in history),
        *[f"the {plural(sweep.finalist_count * sweep.confirmations, 'repetition')} of finalists"]
        * bool(sweep.finalist_count),
    ]
    drop = ", or drop finalists (finalists=0)" if short.drops else ""
    of_one = "" if sweep.device_budget is None else f"; one costs about {budget_words(_like(sweep.budget, short.each))}"
    return (
        f"The budget of {budget_words(sweep.budget)} leaves no room for a full training"
        f"{' besides ' + ' and '.join(beside) if beside else ''}{of_one}. Give "
        f"{budget_words(_like(sweep.budget, short.enough))}{drop}."
    )


def budget_with_room(sweep: Sweep, folder: Path, history: History) -> float | Amount | None:
    """The budget that `no_room` advises; None where it says nothing."""
    short = _short(sweep, folder, history)
    return None if short is None else _like(sweep.budget, short.enough)


def _short(sweep: Sweep, folder: Path, history: History) -> _Short | None:
    each = cost_of_full(sweep, folder, history)
    began = [trial.first_origin for trial in history if trial.first_origin != FINALIST]
    if not each or sweep.budget is None or len(began) > 1 or (began not in ([], [BASELINE]) and not history.room):
        return None
    device = sweep.device_budget
    begun = sum(trial.first_origin == FINALIST for trial in history)
    baseline = int(sweep.baseline_config is not None and not len(history.trials))
    kept = max(0, sweep.finalist_count * sweep.confirmations - begun)
    if device is None:  # a training may begin while any of it is left
        amount, used, one = float(full_trainings(sweep.budget) or 0.0), history.spent + history.committed, 0.0
    else:
        amount, used, one = device.amount, device.spent(history) + device.committed(history), 1.0
    left = amount - used - (baseline + kept + one) * each
    if left > NEARLY or (device is not None and left >= -NEARLY):
        return None
    return _Short(each, used + (baseline + kept + SEARCHED) * each, bool(kept) and left + kept * each >= NEARLY)


def smoke_seconds(sweep: Sweep, folder: Path) -> float:
    """Seconds of a step in the smoke test of the same training, averaged over a full training; 0 if there was none.

    The first step, which may hold the start of a process, counts once.
    """
    place = folder.parent / f"{sweep.name}-smoke"
    if not (place / FILE).exists():
        return 0.0
    try:
        ledger = Ledger.read(place)
    except OrchestratorError:  # a warning is not worth a start
        return 0.0
    try:
        same = [row for row in ledger.sweeps() if row["description"]["workload"] == sweep.describe()["workload"]]
        first = ledger.query("SELECT AVG(cost_seconds) FROM report WHERE step = 1")[0][0]
        later = ledger.query("SELECT AVG(cost_seconds) FROM report WHERE step > 1")[0][0]
    finally:
        ledger.close()
    if not same or not (first or later):
        return 0.0
    horizon = sweep.workload.horizon
    mean: float = ((first or later) + (horizon - 1) * (later or first)) / horizon
    return mean


def _like(budget: object, number: float) -> float | Amount:
    """An amount in the unit of a budget, to two digits."""
    short = float(f"{number:.2g}")
    return Amount(short, budget.unit) if isinstance(budget, Amount) else short
