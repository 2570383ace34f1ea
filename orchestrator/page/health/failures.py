"""Most trials failed, and for one reason."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.failures import signature
from orchestrator.page.health.finding import Finding
from orchestrator.page.health.ranges import numeric, place
from orchestrator.page.recorded import Recorded
from orchestrator.page.words import place as place_of_run
from search.history import Trial
from search.records import Status

LEAST = 3  # failures
MOST = 0.5  # of the trials that have ended
BOTH = 3  # failed and sound trials, of each, before a parameter is blamed
SEPARATED = 0.97  # of the pairs of a failed and a sound trial: the failed one has the larger (or smaller) value


def failures(run: Recorded) -> list[Finding]:
    """A finding if more than half of the ended trials failed or diverged for the same reason."""
    ended = [trial for trial in run.history if trial.status is not Status.RUNNING]
    groups: dict[tuple[Status, str], list[Trial]] = {}
    for trial in ended:
        if trial.status.is_failure:
            groups.setdefault((trial.status, signature(trial.reason)), []).append(trial)
    failed = max(groups.values(), key=len, default=[])
    if len(failed) < LEAST or len(failed) <= MOST * len(ended):
        return []
    blamed = _blamed(run, failed, [trial for trial in ended if trial.status in (Status.COMPLETED, Status.STOPPED)])
    diverged = failed[0].status is Status.DIVERGED
    logs = orchestrator_line("logs", place_of_run(run.folder), "--failed")
    remedy = f"Lower the rates or narrow the ranges ({logs})." if diverged else f"Read the log of the first one: {logs}"
    return [
        Finding(
            "failures",
            f"{len(failed)} of {len(ended)} trials {failed[0].status.value} for one reason: {failed[0].reason.rstrip('.')}.",
            f"The first is trial {failed[0].number}." + (f" {blamed[0]}" if blamed else ""),
            blamed[1] if blamed else remedy,
            "serious",
            f"trial {failed[0].number}",
        )
    ]


def _blamed(run: Recorded, failed: list[Trial], sound: list[Trial]) -> tuple[str, str] | None:
    """The parameter that separates failed trials from sound ones best, and where to end its range."""
    found: list[tuple[float, str, str]] = []
    for name, parameter in numeric(run).items():
        bad = [(spot, trial) for trial in failed if (spot := place(trial, name, parameter)) is not None]
        good = [(spot, trial) for trial in sound if (spot := place(trial, name, parameter)) is not None]
        if min(len(bad), len(good)) < BOTH:
            continue
        above = _above([spot for spot, _ in bad], [spot for spot, _ in good])
        if max(above, 1 - above) < SEPARATED:
            continue
        up = above > 0.5
        bound = (min if up else max)(bad, key=lambda each: each[0])[1].config[name]
        safe = (max if up else min)(good, key=lambda each: each[0])[1].config[name]
        words = (
            f"All of them have {name} of {bound:.4g} or {'more' if up else 'less'}; completed and stopped trials have at "
            f"{'most' if up else 'least'} {safe:.4g}."
        )
        found.append((max(above, 1 - above), words, f"End the range of {name} near {safe:.4g}."))
    best = max(found, default=None)
    return None if best is None or math.isnan(best[0]) else best[1:]


def _above(bad: Sequence[float], good: Sequence[float]) -> float:
    """The share of all pairs in which the bad one is larger; ties count half."""
    ordered = sorted(good)
    return sum(bisect_left(ordered, each) + bisect_right(ordered, each) for each in bad) / (2 * len(bad) * len(good))
