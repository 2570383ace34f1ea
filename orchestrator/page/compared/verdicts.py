"""Which group ends better, in a sentence, with the evidence for it."""

from __future__ import annotations

import statistics

from orchestrator.page.compared.groups import Comparison, Group

SEVERAL = 3  # runs in each of two groups, from which on a test of their difference makes sense


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each pair with the first group, the evidence with it."""
    first, *others = comparison.groups
    return [_verdict(comparison, first, other) for other in others]


def _verdict(comparison: Comparison, first: Group, other: Group) -> str:
    ours, theirs = first.scores, other.scores
    if not ours or not theirs:
        return f"{first.label} and {other.label} cannot be compared: one has no completed full training."
    gap = statistics.median(theirs) - statistics.median(ours)
    ahead, behind = (first, other) if gap >= 0 else (other, first)
    if not gap:
        return f"{first.label} and {other.label} end equally well."
    pairs = [(a, b) for a in ahead.scores for b in behind.scores]
    wins = sum(a < b for a, b in pairs)
    text = f"{ahead.label} ends better than {behind.label} by {abs(gap):.3g} {comparison.goal.metric}"
    if min(len(ours), len(theirs)) < SEVERAL:
        return text + (f", in {wins} of {len(pairs)} pairs of runs." if len(pairs) > 1 else " (one run each).")
    from scipy.stats import mannwhitneyu

    p = float(mannwhitneyu(ours, theirs).pvalue)
    clear = "" if p < 0.05 else "; this may be chance"
    return f"{text}, in {wins} of {len(pairs)} pairs of runs (Mann-Whitney p = {p:.2g}{clear})."
