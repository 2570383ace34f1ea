"""--smoke: the smallest version of a sweep, to see in seconds whether everything fits together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search.contract import Scheduler, Verdict
from search.history import History, Trial
from search.rules.population import population_of
from search.searchers.random import Random

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

SAMPLES = 4  # of a workload that has a smallest size
REPORTS = 2  # of the user's own training


@dataclass(frozen=True)
class FirstReports(Scheduler):
    """Stops a trial after a number of reports, whatever its steps are: epochs, or every 500th update."""

    reports: int = REPORTS

    def judge(self, trial: Trial, history: History) -> Verdict:
        return Verdict.STOP if len(trial.steps) >= self.reports else Verdict.CONTINUE


def smallest(sweep: Sweep) -> Sweep:
    """The workload's own smallest size and a few trials; for any other training, two reports of the baseline, or of a random one."""
    name, own = f"{sweep.name}-smoke", type(sweep.workload).smallest()
    if own is not None:
        population = population_of(sweep.searcher)  # of which all members start
        most = SAMPLES if population is None else population.population + int(sweep.baseline_config is not None)
        samples = min(sweep.limit or most, most)
        return replace(sweep, workload=own, num_samples=samples, budget=None, name=name)
    baseline = sweep.baseline_config  # as a point, which stops after its reports
    usual = (baseline,) if baseline is not None and sweep.space.contains(baseline) else ()
    return replace(
        sweep, name=name, num_samples=1, budget=None, tasks=(), searcher=Random(), scheduler=FirstReports(),
        baseline=None, points_to_evaluate=usual, finalists=0, target=None, transfer=(),
    )  # fmt: skip
