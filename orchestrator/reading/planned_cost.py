"""The rows of a plan that tell its limits and what it will cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console.plurals import plural
from orchestrator.money.amounts import budget_words, dollars, full_trainings
from orchestrator.money.devices import device_name
from orchestrator.money.forecast import Range
from orchestrator.money.order import full_trainings_of
from orchestrator.money.prices import held_by_trial, prices_of
from orchestrator.reading.forecasts import (
    ASSUMED,
    between,
    cost_in_all,
    device_time,
    duration,
    of_sweep,
    random_search_words,
    rounded,
    usd_per_second,
)
from orchestrator.reading.room import smoke_seconds, trainings_in_all
from search.history import History, incumbent
from search.schedulers.run_to_end import RunToEnd

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def limit_rows(sweep: Sweep) -> list[str]:
    """What limits the sweep: configurations, budget, finalists, and the runs that it learns from."""
    horizon, count = sweep.workload.horizon, sweep.finalist_count
    lines = []
    if sweep.limit is not None:
        steps = f" ({sweep.limit * horizon} steps)" if sweep.limit > 1 and horizon > 1 else ""
        stops = not isinstance(sweep.scheduler, RunToEnd) and horizon > 1
        less = f"; {type(sweep.scheduler).__name__} stops some of them early and spends less" if stops else ""
        lines.append(
            f"cost       at most {plural(sweep.limit, 'full training')} of {plural(horizon, 'step')}{steps}{less}"
        )
    if sweep.budget is not None:
        parts = (
            ""
            if full_trainings(sweep.budget) is None
            else f" of {horizon} steps, {sweep.rules.search_budget:g} of them to search with"
        )
        lines.append(f"budget     {budget_words(sweep.budget)}{parts}")
    if count:
        counted = sweep.limit is not None and sweep.budget is None
        more = f": {plural(count * sweep.confirmations, 'full training')} more" if counted else ""
        lines.append(
            f"finalists  the best {count} are trained again at the end, {sweep.confirmations} × each on fresh seeds{more}"
        )
    if sweep.transfer:
        lines.append(f"transfer   learns from {', '.join(sweep.transfer)}")
    return lines


def forecast_rows(sweep: Sweep, folder: Path, history: History, workers: int) -> list[str]:
    """What the run will cost and when it ends; before any step is measured, what is known of it."""
    seen = of_sweep(sweep, history, workers)
    if seen is None:
        return _before_any_step(sweep, folder, history, trainings_in_all(sweep, folder, history))
    usd = usd_per_second(prices_of(sweep.prices), history)
    end = f"ends in {between(seen.wall_seconds, duration)}, with {plural(workers, 'worker')}"
    lines = [f"forecast   {cost_in_all(seen, usd)}"]
    lines += [f"           {end}", f"           {ASSUMED}"] if seen.device_seconds.high > 0 else []
    lines += _budget_ends(sweep, folder, history, (seen.device_seconds + seen.spent_device_seconds).high)
    beside = random_search_words(history, incumbent(history), usd)
    return lines + ([f"random     {beside}"] if beside else [])


def _before_any_step(sweep: Sweep, folder: Path, history: History, allowed: float | None) -> list[str]:
    """What is known from the smoke test. `allowed`: full trainings that the budget pays for."""
    seconds = smoke_seconds(sweep, folder)
    full = _full_trainings(sweep)
    if isinstance(full, Range):
        known = f"{between(full, lambda n: f'{n:.3g}')} full trainings, if results come in random order"
    else:
        known = "what the budget allows" if math.isinf(full) else f"{full:.3g} full trainings at most"
    if not seconds:
        return [f"forecast   {known}; no step has been timed yet (--smoke times two)"]
    usd = prices_of(sweep.prices).usd(device_name(held_by_trial(sweep.resources)[0]), held_by_trial(sweep.resources)[1])
    if not isinstance(full, Range) and math.isinf(full):
        about = "" if allowed is None else f": about {allowed:.3g} full trainings"
        return [f"forecast   {known}{about}; a step took {seconds:.3g} s in the smoke test"]
    each = seconds * sweep.workload.horizon
    whole = full * each if isinstance(full, Range) else Range(full * each, full * each, full * each)
    cost = between(whole * held_by_trial(sweep.resources)[1], device_time)
    money = "" if usd is None else f", {between(whole * usd, lambda cost: dollars(rounded(cost)))}"
    return [
        f"forecast   {known}",
        f"           {cost} of device time{money}, if all steps take the {seconds:.3g} s of the smoke test, where one",
        "           trial trained alone; starts and evaluations come on top",
        *_budget_ends(sweep, folder, history, whole.high * held_by_trial(sweep.resources)[1]),
    ]


def _budget_ends(sweep: Sweep, folder: Path, history: History, most: float) -> list[str]:
    """Where a budget of money or device time ends a run that may take `most` device-seconds; empty if it is enough."""
    device, allowed = sweep.device_budget, trainings_in_all(sweep, folder, history)
    rate = None if device is None else device.rate(device_name(held_by_trial(sweep.resources)[0]))
    if device is None or allowed is None or most * (rate or 0.0) <= device.amount:
        return []
    return [f"           the budget ends it at {device.words} at the latest, after about {allowed:.3g} full trainings"]


def _full_trainings(sweep: Sweep) -> float | Range:
    """Full trainings of the plan: by the budget, or by the scheduler if results come in random order."""
    kept = sweep.finalist_count * sweep.confirmations
    if (budget := full_trainings(sweep.budget)) is not None:
        return budget
    if sweep.limit is None or sweep.tasks or sweep.searcher.schedules or isinstance(sweep.scheduler, RunToEnd):
        return float((sweep.limit or math.inf) + kept)
    return Range(*full_trainings_of(sweep.scheduler, sweep.workload.horizon, sweep.limit)) + kept
