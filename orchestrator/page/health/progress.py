"""Was the search long enough: few trials, no gain on the baseline, no more progress, or progress to the end."""

from __future__ import annotations

import math
import statistics

from orchestrator.page.completions import Completions, completions
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.ranges import searched
from orchestrator.page.recorded import Recorded
from search.origins import COVERING
from search.records import BASELINE

FEW, PER_PARAMETER = 5, 2  # completed trials: below this number, or this number for each parameter, little can be said
TRIED = 5  # completed trials that the baseline has beaten
LEAST = 16  # completed trials, before their progress says anything
GREAT, SMALL = 0.05, 0.01  # progress of the last doubling, as a share of the whole gain over a median trial


def few_trials(run: Recorded) -> list[Finding]:
    """A finding if so few trials were completed that the other checks cannot say anything."""
    completed, parameters = sum(math.isfinite(trial.loss) for trial in run.full), len(searched(run))
    needed = max(FEW, PER_PARAMETER * parameters)
    if not run.history.trials or completed >= needed:
        return []
    return [
        Finding(
            "few_trials",
            f"{completed or 'No'} of {len(run.history.trials)} trials {'has' if completed == 1 else 'have'} been trained to "
            f"the end{' so far' if run.state == 'running' else ''}: too few to judge the result.",
            f"{needed} are the least for {parameters} searched parameter{'s' * (parameters != 1)}.",
            "Raise num_samples or budget and run the same command again.",
            "note",
        )
    ]


def baseline_is_best(run: Recorded) -> list[Finding]:
    """A finding if no other trial is better than the baseline."""
    others = [trial.loss for trial in run.full if trial.first_origin != BASELINE and math.isfinite(trial.loss)]
    if run.baseline is None or run.best is not run.baseline or len(others) < TRIED:
        return []
    return [
        Finding(
            "baseline",
            "The baseline is still the best.",
            f"It has {run.metric} {run.value(run.baseline.loss):.4g}; the best of {len(others)} other completed trials has "
            f"{run.value(min(others)):.4g}.",
            "Centre the ranges on the baseline, give them priors there, or search longer.",
            "advice",
        )
    ]


def progress(run: Recorded) -> list[Finding]:
    """A finding if the last doubling of the search brought almost nothing, or so much that another one promises more."""
    found = completions(run)
    each = found.each
    if len(each) < LEAST or not found.cost:
        return []
    final, median = each[-1].incumbent, statistics.median(done.trial.loss for done in each)
    if median <= final:
        return []
    half, which = _best_of_half(run, found)
    gain = (half - final) / (median - final)
    evidence = (
        f"{which} has {run.metric} {run.value(half):.4g} as its best, all have {run.value(final):.4g}: doubling the search "
        f"improved it by {gain:.1%} of the gain over a median trial."
    )
    if gain <= SMALL:
        last = next(done for done in each if done.incumbent == final)
        return [
            Finding(
                "stalled",
                f"The search has stopped improving: its best is trial {last.trial.number}, after {last.cost:.1f} of "
                f"{found.cost:.1f} full trainings.",
                evidence,
                "Consider stopping, or another space or searcher.",
                "note",
            )
        ]
    if gain < GREAT or run.state == "running":
        return []
    return [
        Finding(
            "improving",
            "The search was still improving when it ended.",
            evidence,
            "More of the same may pay: raise num_samples or budget and run the same command again.",
            "note",
        )
    ]


def _best_of_half(run: Recorded, found: Completions) -> tuple[float, str]:
    """The best loss of half of the search, and which half that is.

    Where no suggestion depends on earlier results, every half is as good as the first: the mean over all of them does
    not depend on when the best happened to come.
    """
    if all(done.trial.first_origin in (*COVERING, BASELINE) for done in found.each):
        losses = sorted(done.trial.loss for done in found.each)
        count, size = len(losses), len(losses) // 2
        total = math.comb(count, size)
        chances = [math.comb(count - 1 - rank, size - 1) / total for rank in range(count - size + 1)]
        return sum(p * loss for p, loss in zip(chances, losses, strict=False)), "A random half of the trials"
    first = [done.incumbent for done in found.each if done.cost <= found.cost / 2]
    return (first[-1], "The first half") if first else (found.each[0].incumbent, "The first trial")
