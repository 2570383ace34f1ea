"""A parameter has hardly any influence on the result: searching it costs trials and gains nothing.

"Not found" is not "none": the forest behind the importance must explain the results well, and the upper end of the
parameter's interval must be small.
"""

from __future__ import annotations

from orchestrator.page.analysis.columns import columns_of
from orchestrator.page.analysis.influence import Bar
from orchestrator.page.analysis.influence import influence as influence_of
from orchestrator.page.analysis.stages import stages
from orchestrator.page.analysis.words import percent
from orchestrator.page.health.finding import Finding
from orchestrator.page.recorded import Recorded

LEAST = 40  # trials; with fewer a forest misses weak influences
EXPLAINED = 0.45  # share of the variance of unseen trials' ranks that the forest must predict
SMALL = 0.035  # share of that variance: the upper end of the interval of a parameter without influence


def influence(run: Recorded) -> list[Finding]:
    """A finding for each parameter that the results of full trainings do not depend on."""
    if len(run.full) < LEAST:
        return []
    columns = columns_of(run.about)
    found = influence_of(run.history, stages(run.history)[-1], columns)
    if found.explained is None or found.explained < EXPLAINED:
        return []
    return [_finding(run, bar, found.explained, found.trials) for bar in found.bars if bar.high < SMALL]


def _finding(run: Recorded, bar: Bar, explained: float, trials: int) -> Finding:
    best = run.best
    value = best.config.get(bar.name) if best is not None else None
    shown = f"{value:.4g}" if isinstance(value, float) else repr(value)
    return Finding(
        "influence",
        f"{bar.name} hardly influences the result of full trainings.",
        f"It explains {percent(max(0.0, bar.share))} of the variance between {trials} trials, at most {percent(bar.high)} (90 % "
        f"interval); all parameters together explain {percent(explained)}.",
        f"Fix it{'' if value is None else f' at {shown}'}, and search the others.",
        "advice",
        bar.name,
    )
