"""The noise of the metric is larger than the lead of the best: another seed may give another winner.

The noise is measured from trainings of the same configuration on several seeds. Where there are none, it is bounded
from below by how much the metric fluctuates from step to step near the end of the good curves.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded
from search.history import Trial, key_of
from search.records import FINALIST, Status
from search.rules.finalists import independent
from search.task import FULL

REPEATS = 3  # degrees of freedom of a standard deviation from repeated trainings
CURVES, TAIL = 3, 8  # good curves with so many reports at least in their last third
LEAST = 5  # completed trials
CLEAR = 2.0  # standard errors: a difference that noise alone makes in one of twenty


@dataclass(frozen=True)
class Noise:
    """The standard deviation of the final loss between seeds, and how it was found."""

    deviation: float
    source: str
    is_bound: bool = False  # it may be larger


def noise(run: Recorded) -> list[Finding]:
    """Findings on the lead over the runner-up and on the gain over the baseline.

    None if the noise is unknown, or if repetitions were copies: then another seed gives the same winner.
    """
    if run.accounts["depends_on_seed"] is False:
        return []
    if run.best is None or len(_finite(run.full)) < LEAST or (known := noise_of(run)) is None or not known.deviation:
        return []
    found = [_gain(run, known), _lead(run, known)]
    return [finding for finding in found if finding is not None]


def noise_of(run: Recorded) -> Noise | None:
    """From repeated trainings if there are enough, else the lower bound from the curves; None if neither is known."""
    return _from_repeats(run) or _from_curves(run)


def _from_repeats(run: Recorded) -> Noise | None:
    """Pooled over configurations. A first score that was selected does not count beside fresh ones."""
    fresh = [[loss for loss in finalist.losses if math.isfinite(loss)] for finalist in independent(run.history)]
    groups: dict[str, list[float]] = {}
    for trial in _finite(run.full):
        if not trial.began:
            groups.setdefault(key_of(trial.config), []).append(trial.loss)
    samples = [group for group in [*fresh, *groups.values()] if len(group) > 1]
    freedom = sum(len(group) - 1 for group in samples)
    if freedom < REPEATS:
        return None
    squares = sum((len(group) - 1) * statistics.variance(group) for group in samples)
    trainings = sum(map(len, samples))
    return Noise(
        math.sqrt(squares / freedom),
        f"{trainings} trainings of {len(samples)} configurations on several seeds",
    )


def _from_curves(run: Recorded) -> Noise | None:
    """The median fluctuation of the best quarter's curves, from third differences, which hardly any trend enters.

    Noise makes consecutive third differences alternate (their correlation is −3/4). Where they do not, a trend made them:
    such a curve does not count.
    """
    good = sorted(_finite(run.full), key=lambda trial: trial.loss)[: max(CURVES, len(run.full) // 4)]
    found = []
    for trial in good:
        tail = [loss for loss in trial.losses[-max(TAIL, len(trial.losses) // 3) :] if math.isfinite(loss)]
        if len(tail) >= TAIL:
            third = [d - a + 3 * (b - c) for a, b, c, d in zip(tail, tail[1:], tail[2:], tail[3:], strict=False)]
            if sum(before * after for before, after in pairwise(third)) < 0:
                found.append(statistics.fmean(each**2 for each in third) / 20)  # Var = (1 + 9 + 9 + 1) σ²
    if len(found) < CURVES:
        return None
    return Noise(math.sqrt(statistics.median(found)), f"the last steps of the best {len(found)} curves", is_bound=True)


def lead(run: Recorded) -> float | None:
    """How much lower the loss of the best is than that of the next configuration; None without one that is completed."""
    scores, rival, _ = _scores(run)
    if run.best is None or rival is None:
        return None
    return statistics.fmean(scores[rival]) - statistics.fmean(scores[key_of(run.best.config)])


def _scores(run: Recorded) -> tuple[dict[str, tuple[float, ...]], str | None, bool]:
    """Configuration → its losses; the best of those that are not the winner's; and whether the losses are of fresh seeds.

    Fresh seeds count if several configurations have been trained again, the winner among them, else first scores.
    """
    best = "" if run.best is None else key_of(run.best.config)
    fresh = {key_of(each.trial.config): each.losses for each in independent(run.history) if math.isfinite(each.mean)}
    is_fresh = best in fresh and len(fresh) > 1
    first: dict[str, tuple[float, ...]] = {key: (loss,) for key, loss in _first_scores(run).items()}
    scores = fresh if is_fresh else first
    others = [key for key in scores if key != best] if best in scores else []
    return scores, min(others, key=lambda key: statistics.fmean(scores[key]), default=None), is_fresh


def _lead(run: Recorded, known: Noise) -> Finding | None:
    """Against the best other configuration."""
    assert run.best is not None
    best, ahead = key_of(run.best.config), lead(run)
    scores, rival, is_fresh = _scores(run)
    if rival is None or ahead is None:
        return None
    error = known.deviation * math.sqrt(1 / len(scores[best]) + 1 / len(scores[rival]))
    if ahead >= CLEAR * error:
        return None
    near = sum(
        statistics.fmean(losses) - statistics.fmean(scores[best]) < CLEAR * error for losses in scores.values()
    )  # the best counts itself
    means = "mean on fresh seeds" if is_fresh else "score"
    return Finding(
        "noise",
        f"The best trial's lead over the next best configuration is within the noise: {near} configurations may be equally good.",
        f"{_leads(ahead, means, run.metric)}; noise alone explains {_up_to(CLEAR * error, known)} (from {known.source}).",
        "Confirm more of them on more seeds (finalists, confirmations), or take the cheapest of them."
        if is_fresh
        else f"Confirm the best on fresh seeds (finalists={min(max(near, 2), 5)}, confirmations=3).",
        "note" if is_fresh else "advice",
        "runner-up",
    )


def _leads(ahead: float, means: str, metric: str) -> str:
    if not ahead:
        return f"By their {means} the best two configurations are equal in {metric}"
    return f"By their {means} the best {'leads' if ahead > 0 else 'is behind another'} by {abs(ahead):.2g} {metric}"


def _gain(run: Recorded, known: Noise) -> Finding | None:
    """Against the baseline. The best of n first scores is lucky, too; fresh scores are not."""
    best, baseline = run.best, run.baseline
    assert best is not None
    if baseline is None or baseline is best or baseline.status is not Status.COMPLETED or baseline.task != FULL:
        return None
    again = next((each for each in independent(run.history) if each.trial is best and math.isfinite(each.mean)), None)
    loss, runs = (best.loss, 1) if again is None else (again.mean, len(again.losses))
    gain, tried = baseline.loss - loss, len(_first_scores(run))
    luck = 0.0 if again is not None else known.deviation * statistics.NormalDist().inv_cdf(tried / (tried + 1))
    needed = luck + known.deviation * (CLEAR * math.sqrt(1 / runs + 1) if again is not None else 1)
    if not math.isfinite(gain) or gain >= needed:
        return None
    words = (
        f"noise alone explains {_up_to(needed, known)}"
        if again is not None
        else f"the luckiest of {tried} equal configurations would gain {'at least ' if known.is_bound else ''}{needed:.2g}"
    )
    return Finding(
        "noise",
        "The gain over the baseline is within the noise."
        if gain > 0
        else "On fresh seeds the best does not beat the baseline.",
        f"{_told(gain, run.metric)}; {words} (from {known.source}).",
        "Train the best and the baseline again on several seeds before you believe it (finalists, confirmations=3).",
        "serious",
        "baseline",
    )


def _told(gain: float, metric: str) -> str:
    if not gain:
        return f"Both have the same {metric}"
    return f"The gain is {gain:.2g} {metric}" if gain > 0 else f"It is worse by {-gain:.2g} {metric}"


def _up_to(difference: float, known: Noise) -> str:
    """The differences that noise explains; with a lower bound of the noise, the largest is not known."""
    return f"differences up to {difference:.2g}{', and perhaps larger ones' if known.is_bound else ''}"


def _first_scores(run: Recorded) -> dict[str, float]:
    """Configuration → its best loss in the search."""
    scores: dict[str, float] = {}
    for trial in sorted(_finite(run.full), key=lambda trial: trial.loss):
        if trial.first_origin != FINALIST:
            scores.setdefault(key_of(trial.config), trial.loss)
    return scores


def _finite(trials: Iterable[Trial]) -> list[Trial]:
    return [trial for trial in trials if math.isfinite(trial.loss)]
