"""The best value lies at the end of its range: the optimum may lie beyond.

The best trial alone is no evidence: with a random search, one best value in five lies in the outer tenths of a range
that does not matter at all. So the other good trials must lie there too, and the loss must fall towards this end with
all other parameters held equal.
"""

from __future__ import annotations

import math

from orchestrator.page.health.finding import Finding
from orchestrator.page.health.ranges import Numeric, numeric, place
from orchestrator.page.health.slope import slope
from orchestrator.page.health.widening import is_share, wider
from orchestrator.page.recorded import Recorded
from search.domain.written import written

LEAST = 12  # completed trials
OUTER = 0.1  # of the range: here the best value is at its end
ZONE = 1 / 3  # of the range: here the other good trials must be
TOP, LEAST_TOP = 0.25, 5  # the good trials: the best quarter, but at least five
CHANCE, SMALL_CHANCE = 0.2, 0.01  # of so many good trials in the zone without influence; the second: where that is all
FALLS = -2.5  # t-value of the slope. Of 2 × 15 sweeps in which half of the parameters did not matter, 2 went below it


def edge(run: Recorded) -> list[Finding]:
    """A finding for each parameter whose best value lies at an end of its range."""
    best = run.best
    if best is None or best not in run.full:
        return []
    found = []
    for name, parameter in numeric(run).items():
        if name in best.found:  # the range is that of the beginnings; the training went on from there
            continue
        at = place(best, name, parameter)
        if at is not None and (finding := _at_the_end(run, name, parameter, best.config[name], at)) is not None:
            found.append(finding)
    return found


def _at_the_end(run: Recorded, name: str, parameter: Numeric, value: float, at: float) -> Finding | None:
    up = at > 0.5
    places = [
        (trial.loss, spot if up else 1 - spot)
        for trial in run.full
        if math.isfinite(trial.loss) and (spot := place(trial, name, parameter)) is not None
    ]
    is_end = value == (parameter.high if up else parameter.low)
    if len(places) < LEAST or not (is_end or (at if up else 1 - at) >= 1 - OUTER):
        return None
    top = [spot for _, spot in sorted(places)[: max(LEAST_TOP, math.ceil(TOP * len(places)))]]
    inside, share = sum(spot >= 1 - ZONE for spot in top), _share_of_zone(parameter, up=up)
    falls = slope(run, name, up=up)
    if _chance(inside, len(top), share) > (SMALL_CHANCE if falls is None else CHANCE):
        return None
    if falls is not None and falls > FALLS:
        return None
    which, range_now = ("upper" if up else "lower"), f"{parameter.low:g} to {parameter.high:g}"
    return Finding(
        "edge",
        f"The best {name}, {value:.4g}, lies at the {which} end of its range ({range_now}).",
        f"{inside} of the best {len(top)} trials lie in the {which} third of the range; by chance {share * len(top):.1f} would."
        + ("" if falls is None else f" All else equal, the loss still falls towards this end (t = {falls:.1f})."),
        _remedy(name, parameter, up=up),
        "advice",
        name,
    )


def _remedy(name: str, parameter: Numeric, *, up: bool) -> str:
    more, end = wider(parameter, up=up), parameter.high if up else parameter.low
    if more is None:
        return (
            f"If {end:g} is the natural bound of {name}, keep the range; if not, {'raise' if up else 'lower'} this end."
        )
    if up and is_share(parameter):
        return f"Possibly widen it to {written(more)}; if {name} is a share, it cannot exceed 1."
    return f"Widen it to {written(more)} and run the same command again; the record stays valid."


def _share_of_zone(parameter: Numeric, *, up: bool) -> float:
    """The probability that a random value lies in the zone."""
    spots = [parameter.to_unit(parameter.from_unit((index + 0.5) / 600)) for index in range(600)]
    return sum((spot if up else 1 - spot) >= 1 - ZONE for spot in spots) / len(spots)


def _chance(inside: int, count: int, share: float) -> float:
    """The probability of at least `inside` of `count` in the zone."""
    return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(inside, count + 1))
