"""Trials are stopped while their learning rate still warms up, where their losses say little."""

from __future__ import annotations

from orchestrator.definition.warm_up import WarmUp, warm_ups
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.starts import first_stage
from orchestrator.page.recorded import Recorded
from search.history import Trial
from search.records import Status
from search.task import FULL

LEAST, SHARE = 3, 0.5  # stopped trials, and those of them that were stopped during the warm-up


def warm_up(run: Recorded) -> list[Finding]:
    """A finding for each parameter that sets a warm-up, if most stopped trials were stopped before its end."""
    stopped = [
        trial for trial in run.history.having(Status.STOPPED) if trial.task == FULL and not trial.began and trial.steps
    ]
    found = []
    for each in warm_ups(run.about["space"]["parameters"], run.history.horizon):
        cut = [trial for trial in stopped if trial.step < each.steps(trial.config)]
        if len(cut) >= max(LEAST, SHARE * len(stopped)):
            found.append(_finding(run, each, cut, len(stopped)))
    return found


def _finding(run: Recorded, warm_up: WarmUp, cut: list[Trial], stopped: int) -> Finding:
    horizon, longest = run.history.horizon, warm_up.longest
    at_once = sum(len(trial.steps) == 1 for trial in cut)
    unit = f" of the {horizon} steps" if warm_up.unit > 1 else ""
    remedy = f"Let the first comparison wait for its end{first_stage(run, longest)}"
    if longest > horizon / 2:
        remedy = f"Narrow {warm_up.name}, or train each to the end"
    return Finding(
        "warm_up",
        f"{len(cut)} of {stopped} stopped trials were stopped during their warm-up, where a loss says little about the end.",
        f"Their {warm_up.name} is {_between([trial.config[warm_up.name] for trial in cut])}{unit}, and they were stopped at "
        f"step {_between([trial.step for trial in cut])}, {at_once} of them at the first report.",
        f"{remedy}. Ignore this if {warm_up.name} does not count steps.",
        "advice",
        warm_up.name,
    )


def _between(values: list[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"
