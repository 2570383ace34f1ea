"""The rows of a plan that tell its limits and what it will cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.console.plurals import plural
from orchestrator.definition.earlier import called
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
from orchestrator.reading.out_of_time import time_budget_left
from orchestrator.reading.room import smoke_seconds, trainings_in_all
from search.history import History, incumbent
from search.rules.earlier import tried_first
from search.rules.multifidelity import MultiFidelity
from search.rules.to_start import to_start
from search.schedulers.run_to_end import RunToEnd

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


def configurations(sweep: Sweep, history: History) -> int | None:
    """How many the sweep starts in all, the baseline included; None: as many as the budget allows."""
    rest = to_start(history, sweep.searcher, sweep.rules)
    return None if rest is None else history.started + rest


def _started_first(sweep: Sweep, history: History) -> str:
    """How many configurations of each earlier run start first."""
    counted = [
        (tried_first(earlier, sweep.space, sweep.baseline_config), called(run))
        for run, earlier in zip(sweep.transfer, history.earlier, strict=True)
    ]
    told = [f"the best {plural(count, 'configuration')} of {run}" for count, run in counted if count]
    listed = ", ".join(run for _, run in counted)
    many = len(told) > 1 or any(count > 1 for count, _ in counted)
    return (
        f"{' and '.join(told)} {'start' if many else 'starts'} first"
        if told
        else f"no configuration of {listed} starts first"
    )


def limit_rows(sweep: Sweep, history: History) -> list[str]:
    """What limits the sweep: configurations, budget, finalists, and the runs that it learns from."""
    horizon, count, most = sweep.workload.horizon, sweep.finalist_count, configurations(sweep, history)
    lines = []
    if most is not None:
        steps = f" ({most * horizon} steps)" if most > 1 and horizon > 1 else ""
        own = ", including the baseline" if sweep.baseline_config is not None else ""
        stops = not isinstance(sweep.scheduler, RunToEnd) and horizon > 1
        less = (
            f"; {type(sweep.scheduler).__name__} stops some of them early and spends less" if stops else _goes_on(sweep)
        )
        lines.append(
            f"cost       at most {plural(most, 'full training')} of {plural(horizon, 'step')}{steps}{own}{less}"
        )
    if sweep.budget is not None:
        used = "for the baseline and the search" if sweep.baseline_config is not None else "for the search"
        parts = (
            ""
            if full_trainings(sweep.budget) is None
            else f" of {horizon} steps, {sweep.rules.search_budget:g} of them {used}"
        )
        lines.append(f"budget     {budget_words(sweep.budget)}{parts}")
    if count:
        count = count if most is None else min(count, most)
        counted = most is not None and sweep.budget is None
        more = f": {plural(count * sweep.confirmations, 'full training')} more" if counted else ""
        lines.append(
            f"finalists  the best {count} are trained again at the end, {sweep.confirmations} × each on fresh seeds{more}"
        )
    if sweep.transfer:
        learns = ", and the search learns from these runs" if sweep.searcher.use_of_earlier() else ""
        lines.append(f"transfer   {_started_first(sweep, history)}{learns}")
    return lines


def _goes_on(sweep: Sweep) -> str:
    """That a search over partial trainings ends only when none is left to go on with, if nothing else ends it; else empty."""
    limits = (sweep.budget, sweep.device_budget, sweep.time_budget, sweep.target)
    is_partial = isinstance(sweep.searcher, MultiFidelity) and sweep.searcher.stop_below is None
    if not is_partial or any(limit is not None for limit in limits):
        return ""
    return f"; without a budget or stop_below, {type(sweep.searcher).__name__} trains each of them in full"


def forecast_rows(sweep: Sweep, folder: Path, history: History, workers: int) -> list[str]:
    """What the run will cost and when it ends; before any step is measured, what is known of it."""
    left = time_budget_left(sweep, folder)
    seen = of_sweep(sweep, history, workers, left)
    if seen is None:
        return _before_any_step(sweep, folder, history, workers)
    usd = usd_per_second(prices_of(sweep.prices), history)
    end = f"ends in {between(seen.wall_seconds, duration)}, with {plural(workers, 'worker')}"
    lines = [f"forecast   {cost_in_all(seen, usd)}"]
    lines += [f"           {end}", f"           {ASSUMED}"] if seen.device_seconds.high > 0 else []
    lines += _time_ends(left) if 0 < left <= seen.wall_seconds.high else []
    lines += _budget_ends(sweep, folder, history, (seen.device_seconds + seen.spent_device_seconds).high)
    beside = random_search_words(history, incumbent(history), usd)
    return lines + ([f"random     random search would need {beside}"] if beside else [])


def _before_any_step(sweep: Sweep, folder: Path, history: History, workers: int) -> list[str]:
    """What is known from the smoke test."""
    seconds, full = smoke_seconds(sweep, folder), _full_trainings(sweep, history)
    if full is None:
        known = "what the budget allows"
    elif full.low < full.high:
        known = f"{between(full, lambda n: f'{n:.3g}')} full trainings, if results come in random order"
    elif full_trainings(sweep.budget) is not None:
        known = f"{full.middle:.3g} full trainings, plus the rest of the trainings under way when they are used up"
    else:
        known = f"{full.middle:.3g} full trainings at most"
    known += f", of which {history.spent:.3g} are done" if history.spent else ""
    if not seconds:
        return [f"forecast   {known}; no step has been timed yet (--smoke times two)"]
    device, held = held_by_trial(sweep.resources)
    if full is None:
        allowed = trainings_in_all(sweep, folder, history)
        about = "" if allowed is None else f": about {allowed:.3g} full trainings"
        return [f"forecast   {known}{about}; a step took {seconds:.3g} s in the smoke test"]
    each, left = seconds * sweep.workload.horizon, time_budget_left(sweep, folder)
    rest = Range(*(max(0.0, each * (trainings - history.spent)) for trainings in (full.middle, full.low, full.high)))
    cut = _at_most(rest, left * workers)
    usd = prices_of(sweep.prices).usd(device_name(device), held)
    money = "" if usd is None else f", {between(cut * usd, lambda cost: dollars(rounded(cost)))}"
    cost = between(cut * held, device_time)
    return [
        f"forecast   {known}",
        f"           {cost} of device time{money}, if all steps take the {seconds:.3g} s of the smoke test, where one",
        "           trial trained alone; starts and evaluations come on top",
        *(_time_ends(left) if cut.high < rest.high else []),
        *_budget_ends(sweep, folder, history, cut.high * held + sum(history.device_time.by_device.values())),
    ]


def _time_ends(left: float) -> list[str]:
    return [f"           the time budget ends it after {duration(left)} at the latest"]


def _budget_ends(sweep: Sweep, folder: Path, history: History, most: float) -> list[str]:
    """Where a budget of money or device time ends a run that may take `most` device-seconds; empty if it is enough."""
    device, allowed = sweep.device_budget, trainings_in_all(sweep, folder, history)
    rate = None if device is None else device.rate(device_name(held_by_trial(sweep.resources)[0]))
    if device is None or allowed is None or most * (rate or 0.0) <= device.amount:
        return []
    return [f"           the budget ends it at {device.words} at the latest, after about {allowed:.3g} full trainings"]


def _full_trainings(sweep: Sweep, history: History) -> Range | None:
    """Full trainings of the whole plan, by its limits; or by the scheduler, if results come in random order.

    None if only device time or money limits them.
    """
    most, budget = configurations(sweep, history), full_trainings(sweep.budget)
    if most is None:
        return None if budget is None else Range(budget, budget, budget)
    baseline = int(sweep.baseline_config is not None and most > 0)  # no scheduler stops it
    if sweep.tasks or sweep.searcher.schedules or isinstance(sweep.scheduler, RunToEnd):
        found = Range(most, most, most)
    else:
        found = Range(*full_trainings_of(sweep.scheduler, sweep.workload.horizon, most - baseline)) + baseline
    whole = found + min(sweep.finalist_count, most) * sweep.confirmations
    return whole if budget is None else _at_most(whole, budget)


def _at_most(found: Range, limit: float) -> Range:
    return Range(min(found.middle, limit), min(found.low, limit), min(found.high, limit))
