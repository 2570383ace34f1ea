"""Where the baseline is the best only because no other configuration has been trained to the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from orchestrator.console.plurals import plural
from search.history import History, Trial, key_of
from search.records import FINALIST, Status
from search.task import FULL

UNTRIED = "no other configuration has been trained to the end"
EARLY = 10  # a first rung in the first tenth of a training may say little about its end
CUTS = ("Asha", "Hyperband", "Median")  # schedulers with a `grace_period`


def untried(about: Mapping[str, Any], history: History, best: Trial | None, baseline: Trial | None) -> str:
    """How the others ended, and what to do, if `best` is the baseline and none of them was trained to the end; else empty."""
    if best is None or baseline is None or key_of(best.config) != key_of(baseline.config):
        return ""
    others = [
        trial for trial in history if trial is not baseline and trial.first_origin != FINALIST and trial.task == FULL
    ]
    if any(trial.status is Status.COMPLETED for trial in others):
        return ""
    stops = Counter(trial.step for trial in others if trial.status is Status.STOPPED)
    if not stops:
        return f"{plural(len(others), 'other', 'have begun')}" if others else "none other has begun"
    (step, count), stopped = stops.most_common(1)[0], stops.total()
    which = "all" if count == stopped else f"{count} of them"
    remedy = later_rung(about, history.horizon, step)
    return f"{stopped} of {len(others)} were stopped, {which} at step {step} of {history.horizon}{f'. {remedy}' if remedy else ''}"


def later_rung(about: Mapping[str, Any], horizon: int, step: int) -> str:
    """How to stop trials later than at this step; empty if it is no early one, or if no `grace_period` decides."""
    scheduler = str(about["scheduler"]).partition("(")[0]
    if not scheduler.startswith(CUTS) or step * EARLY >= horizon:
        return ""
    return f"Compare later: scheduler={scheduler}(grace_period={horizon // EARLY}); of boosting rounds, report every 10th only."
