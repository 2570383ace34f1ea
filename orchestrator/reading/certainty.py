"""How sure the gain over the baseline is: against the noise between fresh seeds, where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from statistics import variance
from typing import Any

from search.records import Status

SURE = 0.975  # quantile of Student's t: a lead beyond it is no luck of one comparison in twenty
SURE_BY_NORMAL = 2.0  # the same with many repetitions
BEYOND_NOISE = "more than the noise between seeds explains"


@dataclass(frozen=True)
class Lead:
    """A lead against the noise."""

    times: float  # how many standard errors it is
    error: float
    sure: float  # so many standard errors would be more than the noise between seeds explains

    @property
    def is_too_rarely_repeated(self) -> bool:
        """Whether only the few repetitions put it in doubt."""
        return SURE_BY_NORMAL < self.times <= self.sure

    @property
    def words(self) -> str:
        if self.is_too_rarely_repeated:
            return "not enough with so few repetitions"
        return BEYOND_NOISE if self.times > self.sure else "noise could explain it"


def noise_between_seeds(groups: Iterable[Sequence[float]]) -> tuple[float | None, int]:
    """The standard deviation pooled over configurations, and its degrees of freedom; None without two values of one."""
    finite = [[value for value in group if isfinite(value)] for group in groups]
    freedom = sum(max(0, len(group) - 1) for group in finite)
    squares = sum(variance(group) * (len(group) - 1) for group in finite if len(group) > 1)
    return (sqrt(squares / freedom) if freedom else None), freedom


def against_noise(lead: float, noise: float, freedom: int, mine: int, theirs: int) -> Lead:
    """`mine`, `theirs`: of how many trainings the two scores are the means; the noise is more than 0."""
    from scipy.stats import t as student

    error = noise * sqrt(1 / mine + 1 / theirs)
    return Lead(lead / error, error, float(student.ppf(SURE, freedom)))


def certainty(facts: Mapping[str, Any]) -> str:
    """What stands beside a gain over the baseline, in half a sentence; empty if there is no gain.

    `facts`: those of the `summary` on the best, the baseline and the finalists.
    """
    best, baseline = facts["best"], facts["baseline"]
    if best is None or baseline is None or facts["unfair"] or None in (best["value"], baseline["value"]):
        return ""
    gain = (best["value"] - baseline["value"]) * (1 if facts["mode"] == "max" else -1)
    if gain <= 0:
        return ""
    fresh = best["confirmed"]
    if facts["depends_on_seed"] is False:
        return "not confirmed: the repetitions are copies"
    if best["status"] != Status.COMPLETED.value or not fresh:
        return "not confirmed on fresh seeds"
    groups = [[value for value in each["confirmed"] if value is not None] for each in facts["finalists"]]
    noise, freedom = noise_between_seeds(groups)
    if len(fresh) == 1 or noise is None:
        return "noise not measured"
    if not noise:
        return "fresh seeds gave equal values"
    return against_noise(gain, noise, freedom, len(fresh), len(baseline["confirmed"]) or 1).words
