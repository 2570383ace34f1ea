"""Starting the trainings cost more than the trainings."""

from __future__ import annotations

import math

from orchestrator.console.plurals import plural
from orchestrator.definition.description import described_population
from orchestrator.page.analysis.words import percent
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import brief, duration
from orchestrator.reading.untried import CUTS
from search.records import Status

SHARE, SECONDS = 0.5, 30.0  # of the device time, and at least; less is not worth a change
TRAINED = ("completed", "stopped", "finalists", "running", "failed", "stalled")  # parts of the bill
STAGE = " If the time before a first report is part of the training, such as pretraining, ignore this advice."


def starts(run: Recorded) -> list[Finding]:
    """A finding if starts took most of the device time, with the steps of training that would outweigh one."""
    cost = run.accounts["cost"]
    parts = {name: float(part["device_seconds"]) for name, part in cost["breakdown"].items()}
    spent, trained = parts.get("start", 0.0), sum(parts.get(name, 0.0) for name in TRAINED)
    share = spent / cost["device_seconds"] if cost["device_seconds"] else 0.0
    steps = sum(trial.step - trial.began for trial in run.history)
    if spent < SECONDS or share < SHARE or spent < trained or steps <= 0:
        return []
    slow = sum(run.start_seconds.values()) * run.history.device_time.devices > SHARE * spent
    count, horizon = len(run.rows["suggestion"]), run.history.horizon
    is_population = described_population(run.about) is not None
    early = sorted(trial.step for trial in run.history if trial.status is Status.STOPPED)
    stopped = (
        f" {plural(len(early), 'trial')} of {len(run.history.trials)} were stopped early, half of them by step "
        f"{early[(len(early) - 1) // 2]} of {horizon}."
        if early and not is_population
        else ""
    )
    enough = _rounded_up(spent / count * steps / trained) if trained else horizon
    return [
        Finding(
            "starts",
            f"Starts took {percent(share)} of the device time, more than the training.",
            f"{plural(count, 'start')} took {duration(spent)} of device time, {brief(spent / count)} s each. "
            f"{'The extra time of first reports counts as start. ' if slow else ''}Without starts, the training took {duration(trained)}.{stopped}",
            f"{_remedy(run, enough if early and not (is_population and enough >= horizon) else None)}{STAGE if slow else ''}",
            "advice",
        )
    ]


def _remedy(run: Recorded, enough: int | None) -> str:
    """`enough`: the steps that outweigh a start; None if no setting lets a trial train so long between two starts."""
    if enough is None:
        return f"Make starts cheaper: {_cheaper(run)}"
    return f"{_longer(run, enough)}Or make starts cheaper: {_cheaper(run)}"


def _longer(run: Recorded, enough: int) -> str:
    """Which setting lets a trial train as long as its start takes; `enough`: steps."""
    horizon, has_tasks = run.history.horizon, bool(run.about.get("tasks"))
    if described_population(run.about) is not None:
        return f"Let each member train longer between comparisons: {enough} steps take as long as a start (interval={enough}). "
    cuts = str(run.about["scheduler"]).startswith(CUTS)
    if enough > horizon / 2 and not has_tasks:
        beside = f"{enough} of {horizon} steps" if enough < horizon else f"all {horizon} steps, or longer"
        how = "scheduler=RunToEnd()" if cuts else "searcher=Tpe(), scheduler=RunToEnd()"
        return f"A start takes as long as {beside}, so stopping early saves little: train each to the end ({how}). "
    return f"Let each trial train longer before it is compared: {enough} steps take as long as a start{first_stage(run, enough)}. "


def first_stage(run: Recorded, steps: int) -> str:
    """Which setting compares trials only after so many steps, in brackets; empty if nothing compares them early."""
    (scheduler, _, _), (searcher, _, its) = (str(run.about[name]).partition("(") for name in ("scheduler", "searcher"))
    if run.about.get("tasks"):
        return " (the steps of the first task)"
    if scheduler.startswith(CUTS):
        return f" ({scheduler}(grace_period={steps}))"
    return f" ({searcher}(first={steps}))" if "first=" in its else ""


def _cheaper(run: Recorded) -> str:
    if str(run.about.get("workload", "")).startswith("Script("):
        return (
            "a function in place of the script keeps its imports between trials, and one training "
            "can try several configurations in one process."
        )
    return "keep between trials what a start imports, reads or compiles."


def _rounded_up(steps: float) -> int:
    """To two digits.

    >>> _rounded_up(0.2), _rounded_up(83.1), _rounded_up(1234)
    (1, 84, 1300)
    """
    unit: int = 10 ** max(0, math.floor(math.log10(max(1.0, steps))) - 1)
    return max(1, math.ceil(steps / unit) * unit)
