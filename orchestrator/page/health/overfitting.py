"""Most trainings overfit: the tuned metric is best long before the end, and gets worse from there on.

A trial's result is its metric at its last step, so what such a training gained is lost. The metric alone decides. A rate
that is too large makes it worse, too; where the training loss is on record and rises with it, the curve does not count.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from orchestrator.console.plurals import plural
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.history import Trial
from search.models.fits import rank_correlation

LEAST = 5  # curves
REPORTS = 8  # in a curve
WINDOW = 1 / 8  # of a curve: a value is the mean over so many reports, two at least
EARLY = 2 / 3  # of a curve: its lowest value lies before
LOST = 0.1  # of what the curve had gained: its rise
SMALL = 0.03  # of the lowest value itself: less is no loss worth a word
CLEAR = 4.0  # standard errors of the rise, by the fluctuation from report to report
RISES = 0.6  # rank correlation of the values behind the lowest with their steps


def overfitting(run: Recorded) -> list[Finding]:
    """A finding if more than half of the full trainings lose again what they had gained."""
    curves = [trial for trial in run.full if not trial.began and len(trial.losses) >= REPORTS and _is_finite(trial)]
    turned = {trial: place for trial in curves if (place := turning_point(trial.losses)) is not None}
    beside = _train_losses(run, turned)
    turned = {trial: place for trial, place in turned.items() if not _rises_too(trial, place, beside)}
    if len(curves) < LEAST or 2 * len(turned) <= len(curves):
        return []
    lowest = min(turned, key=lambda trial: trial.losses[turned[trial]])
    best = min(trial.loss for trial in curves)
    step = round(statistics.median(trial.steps[place] for trial, place in turned.items()))
    told = (
        "the training loss falls meanwhile"
        if any(trial.number in beside for trial in turned)
        else "the training loss is not on record; too large a learning rate can look the same"
    )
    return [
        Finding(
            "overfitting",
            f"Most trainings overfit: in {len(turned)} of {plural(len(curves), 'full training')} {run.metric} is best near "
            f"step {step} of {run.history.horizon} (median), and gets worse from there on.",
            f"On the way trial {lowest.number} had {run.value(lowest.losses[turned[lowest]]):.4g} at step "
            f"{lowest.steps[turned[lowest]]}; the best final value is {run.value(best):.4g} ({told}).",
            "Train for fewer steps, tune the regularisation (weight decay, dropout, augmentation), let your training keep and "
            "report its best checkpoint, or use policy=RateRace(), whose guard returns to the best weights.",
            "advice",
        )
    ]


def turning_point(losses: Sequence[float]) -> int | None:
    """The place of the lowest loss of a curve that rises for long and clearly behind it; None if it does not."""
    width = max(2, round(WINDOW * len(losses)))
    means = [statistics.fmean(losses[place : place + width]) for place in range(len(losses) - width + 1)]
    low = min(range(len(means)), key=means.__getitem__)
    if low + width > EARLY * len(losses):
        return None
    rise, gained = means[-1] - means[low], losses[0] - means[low]
    needed = max(LOST * gained, SMALL * abs(means[low]), CLEAR * fluctuation(losses) * math.sqrt(2 / width))
    behind = losses[low + width // 2 :]
    if rise <= needed or rank_correlation(np.arange(len(behind), dtype=np.float64), np.array(behind)) < RISES:
        return None
    return min(range(low, low + width), key=losses.__getitem__)


def fluctuation(losses: Sequence[float]) -> float:
    """The standard deviation from report to report, by third differences, which hardly any trend enters."""
    third = [d - a + 3 * (b - c) for a, b, c, d in zip(losses, losses[1:], losses[2:], losses[3:], strict=False)]
    return math.sqrt(statistics.fmean(each**2 for each in third) / 20)  # Var = (1 + 9 + 9 + 1) σ²


def _is_finite(trial: Trial) -> bool:
    return all(map(math.isfinite, trial.losses))


def _train_losses(run: Recorded, trials: Iterable[Trial]) -> Mapping[int, Mapping[int, float]]:
    """Trial → step → the training loss, where reports have one beside the tuned metric."""
    wanted, found = {trial.number for trial in trials}, dict[int, dict[int, float]]()
    for row in run.rows["report"]:
        if row["trial"] in wanted:
            for name, value in row["metrics"].items():
                if name != run.metric and name.startswith("train") and name.endswith("loss"):
                    found.setdefault(row["trial"], {})[row["step"]] = value
    return found


def _rises_too(trial: Trial, place: int, beside: Mapping[int, Mapping[int, float]]) -> bool:
    losses = beside.get(trial.number, {})
    then, last = losses.get(trial.steps[place]), losses.get(trial.step)
    return then is not None and last is not None and not last <= then
