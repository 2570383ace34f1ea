"""Which group is better at equal cost and at the end, in sentences, with the evidence for it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from orchestrator.page.compared.groups import Comparison, Group

SEVERAL = 3  # runs in each of two groups, from which on a test of their difference makes sense
ALIKE = 1.1  # the ends of all runs count as equal cost if the highest is at most so many times the lowest


def verdicts(comparison: Comparison) -> list[str]:
    """For each pair with the first group: who is better at equal cost, and at the end if that is another cost."""
    first, *others = comparison.groups
    return [_verdict(comparison.goal.metric, first, other) for other in others]


def _verdict(metric: str, first: Group, other: Group) -> str:
    if not first.best or not other.best:
        return f"{first.label} and {other.label} cannot be compared: one has no completed full training."
    ends = [*first.ends, *other.ends]
    cost, is_confirmed = min(ends), first.is_confirmed and other.is_confirmed
    if is_confirmed and max(ends) <= ALIKE * cost:
        better = _better(metric, first, other, first.confirmed, other.confirmed)
        return f"At equal cost ({_trainings(ends)}) and on fresh seeds, {better}"
    early = first.at(cost), other.at(cost)
    equal = f"At equal cost ({_trainings([cost])}), {_better(metric, first, other, *early)}"
    late = (first.confirmed, other.confirmed) if is_confirmed else (first.at(math.inf), other.at(math.inf))
    if sorted(late[0]) == sorted(early[0]) and sorted(late[1]) == sorted(early[1]):
        return equal
    seeds = ", on fresh seeds" if is_confirmed else ""
    where = f"{first.label} {_range(first.ends)}, {other.label} {_range(other.ends)} full trainings"
    return f"{equal} At the end ({where}){seeds}, {_better(metric, first, other, *late)}"


def _range(costs: Sequence[float]) -> str:
    low, high = f"{min(costs):.3g}", f"{max(costs):.3g}"
    return low if low == high else f"{low} to {high}"


def _trainings(costs: Sequence[float]) -> str:
    told = _range(costs)
    return f"{told} full training{'s' * (told != '1')}"


def _better(metric: str, first: Group, other: Group, ours: list[float], theirs: list[float]) -> str:
    """The losses of the runs of both; infinite for a run without a result."""
    if lacking := [group.label for group, losses in ((first, ours), (other, theirs)) if math.inf in losses]:
        return f"there is no completed full training yet in every run of {' and '.join(lacking)}."
    gap = statistics.median(theirs) - statistics.median(ours)
    if not gap:
        return f"{first.label} and {other.label} are equally good."
    ahead, behind = (first, other) if gap > 0 else (other, first)
    text = f"{ahead.label} is better than {behind.label} by {abs(gap):.3g} {metric}"
    best, rest = (ours, theirs) if gap > 0 else (theirs, ours)
    pairs = [(a, b) for a in best for b in rest]
    if len(pairs) == 1:
        return f"{text} (one run each)."
    text += f", in {sum(a < b for a, b in pairs)} of {len(pairs)} pairs of runs"
    if min(len(ours), len(theirs)) < SEVERAL:
        return f"{text}."
    from scipy.stats import mannwhitneyu

    p = float(mannwhitneyu(ours, theirs).pvalue)
    clear = "" if p < 0.05 else "; this may be chance"
    return f"{text} (Mann-Whitney p = {p:.2g}{clear})."
