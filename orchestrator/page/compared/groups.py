"""The groups of a comparison: runs of the same sweep on several seeds, or one run each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.errors import BadInput
from orchestrator.page.completions import Completions, completions
from orchestrator.page.differences import Difference, differences
from orchestrator.page.recorded import Recorded
from search.history import Trial
from search.records import Goal, Status
from search.rules.finalists import independent


@dataclass(frozen=True)
class Group:
    """Runs of the same sweep on several seeds, or one run."""

    label: str
    runs: tuple[Recorded, ...]

    @cached_property
    def completions(self) -> tuple[Completions, ...]:
        return tuple(completions(run) for run in self.runs)

    @property
    def best(self) -> list[float]:
        """The first loss of each run's winner; runs without a completed full training are left out."""
        return [best.loss for _, best in self._winners]

    @property
    def confirmed(self) -> list[float]:
        """The winner's mean loss on fresh seeds, for each run that trained it again and got no copies."""
        means = [
            next((each.mean for each in independent(run.history) if each.trial is best), math.nan)
            for run, best in self._winners
        ]
        return [mean for mean in means if math.isfinite(mean)]

    @property
    def is_confirmed(self) -> bool:
        """Whether each run with a result has a mean on fresh seeds."""
        return len(self.confirmed) == len(self.best) > 0

    @property
    def ends(self) -> list[float]:
        """What the search of each run with a result has cost, in full trainings; repetitions are left out."""
        return [found.cost for found in self.completions if found.each]

    def at(self, cost: float) -> list[float]:
        """The first loss that each run with a result had reached at this cost; infinite before its first result."""
        return [
            min((done.incumbent for done in found.each if done.cost <= cost), default=math.inf)
            for found in self.completions if found.each
        ]  # fmt: skip

    @property
    def _winners(self) -> list[tuple[Recorded, Trial]]:
        full = [(run, run.best) for run, found in zip(self.runs, self.completions, strict=True) if found.each]
        return [(run, best) for run, best in full if best is not None]

    @property
    def spent(self) -> list[float]:
        return [run.history.spent for run in self.runs]

    @property
    def device_hours(self) -> list[float]:
        return [run.accounts["cost"]["device_seconds"] / 3600 for run in self.runs]

    @property
    def usd(self) -> list[float]:
        """The bill of each run; empty if the price of a device of one of them is not known."""
        bills = [run.accounts["cost"]["usd"] for run in self.runs]
        return [] if None in bills else bills

    def count(self, *statuses: Status) -> int:
        return sum(run.history.count(status) for run in self.runs for status in statuses)

    def cost_to_reach(self, loss: float) -> list[float]:
        """The cost of each run's search, in full trainings, until its incumbent is at least so good; infinite if never."""
        return [
            next((done.cost for done in each.each if done.incumbent <= loss), math.inf) for each in self.completions
        ]


@dataclass(frozen=True)
class Comparison:
    """Groups with one metric; `warnings` say what makes the comparison weaker."""

    groups: tuple[Group, ...]
    goal: Goal
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def value(self, loss: float) -> float:
        return self.goal.value(loss)


def compare(groups: Sequence[Group]) -> Comparison:
    """Raises BadInput for fewer than two groups, or if a metric or its direction differs."""
    if len(groups) < 2:
        raise BadInput(
            f"compare: {len(groups)} group of runs is given; name at least two runs, or two groups: a=RUN,RUN b=RUN,RUN."
        )
    first = groups[0].runs[0]
    for group in groups:
        for run in group.runs:
            if run.goal != first.goal:
                raise BadInput(
                    f"compare: {first.name} has the metric {first.metric!r} ({first.goal.mode}), {run.name} has "
                    f"{run.metric!r} ({run.goal.mode}); only runs with the same metric and direction can be compared."
                )
    found = differences([[run.about for run in group.runs] for group in groups])
    return Comparison(tuple(groups), first.goal, tuple(found), tuple(_warnings(groups)))


def _warnings(groups: Sequence[Group]) -> list[str]:
    runs = [run for group in groups for run in group.runs]
    found = []
    horizons = sorted({run.history.horizon for run in runs})
    if len(horizons) > 1:
        found.append(
            f"The horizons differ ({', '.join(map(str, horizons))} steps), so full trainings do not cost the same; "
            "compare device hours."
        )
    if len({str(run.about["space"]) for run in runs}) > 1:
        found.append("The spaces differ, so the best possible values may differ, too.")
    if len({tuple(run.accounts["cost"]["devices"]) for run in runs}) > 1:
        found.append("The runs used different devices, so their device hours are not the same.")
    workloads = {str(run.about["workload"]) for run in runs}
    if len(workloads) > 1:
        found.append("The workloads differ, so the metric may not mean the same.")
    known = sum(len(group.best) for group in groups)
    again = sum(len(group.confirmed) for group in groups)
    if again == known > 0:
        found.append("Values are first scores, which are too optimistic, except where fresh seeds are named.")
    elif again:
        found.append(
            f"Only {again} of {known} runs have a winner confirmed on fresh seeds. So first scores, which are too optimistic, "
            "are compared where one of the two groups lacks fresh seeds."
        )
    if copied := [run.name for run in runs if run.accounts["depends_on_seed"] is False]:
        found.append(f"Not confirmed: {', '.join(copied)}; the repetitions are copies of earlier runs.")
    if active := [run.name for run in runs if run.state == "running"]:
        found.append(f"Still running: {', '.join(active)}.")
    if empty := [run.name for run in runs if not run.full]:
        found.append(f"Without a completed full training: {', '.join(empty)}.")
    if single := [group.label for group in groups if len(group.runs) == 1]:
        found.append(
            f"One run each ({', '.join(single)}): with another seed the order may be different; compare groups of seeds to see "
            "the spread."
        )
    return found
