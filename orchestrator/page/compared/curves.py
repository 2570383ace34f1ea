"""The incumbent of a group against cost: the median of its runs, and their range."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.page.compared.groups import Group
from orchestrator.page.recorded import Recorded

POINTS = 120  # of a curve


@dataclass(frozen=True)
class Curve:
    """The incumbent against cost over the runs of a group: median and range, where all runs have one and go on."""

    costs: tuple[float, ...]
    median: tuple[float, ...]  # loss
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, cost: float) -> float | None:
        """The median at a cost; None outside the curve."""
        if not self.costs or not self.costs[0] <= cost <= self.costs[-1]:
            return None
        return [loss for start, loss in zip(self.costs, self.median, strict=True) if start <= cost][-1]


def curve(group: Group, cost_of: Callable[[Recorded, float, float], float]) -> Curve:
    """`cost_of(run, full trainings, seconds)`: the place on the axis."""
    traces, ends = [], []
    for run, found in zip(group.runs, group.completions, strict=True):
        if found.each:
            traces.append([(cost_of(run, done.cost, done.seconds), done.incumbent) for done in found.each])
            ends.append(cost_of(run, found.cost, found.seconds))
    if not traces:
        return Curve((), (), (), ())
    begin, end = max(trace[0][0] for trace in traces), min(ends)
    if end < begin:
        return Curve((), (), (), ())
    changes = sorted({cost for trace in traces for cost, _ in trace if begin <= cost <= end} | {begin, end})
    if len(changes) > POINTS:
        changes = [*(begin + (end - begin) * index / (POINTS - 1) for index in range(POINTS - 1)), end]
    columns = [[_held(trace, cost) for trace in traces] for cost in changes]
    return Curve(
        tuple(changes), tuple(statistics.median(each) for each in columns), tuple(map(min, columns)),
        tuple(map(max, columns)),
    )  # fmt: skip


def _held(trace: list[tuple[float, float]], cost: float) -> float:
    return [loss for when, loss in trace if when <= cost][-1]


def in_full_trainings(run: Recorded, cost: float, seconds: float) -> float:
    return cost


def in_device_hours(run: Recorded, cost: float, seconds: float) -> float:
    """The run's device time, spread over its training: waiting and losses are shared out evenly."""
    trained = sum(trial.cost_seconds for trial in run.history)
    return float(run.accounts["cost"]["device_seconds"]) / 3600 * (seconds / trained if trained else 0.0)


def in_dollars(run: Recorded, cost: float, seconds: float) -> float:
    """As `in_device_hours`, for a run whose bill is known."""
    trained = sum(trial.cost_seconds for trial in run.history)
    return float(run.accounts["cost"]["usd"]) * (seconds / trained if trained else 0.0)
