"""Does the forecast's interval of 80 % hold what sweeps then cost, and when they end?

    python experiments/benchmarks/forecast.py                  # 50 sweeps: about two minutes on one core
    python experiments/benchmarks/forecast.py --sweeps 20 --first 0

Sweeps     on made-up learning curves (curves.py), whose steps take up to a hundred times longer for one configuration
           than for another, with 5 % of noise; ten searchers and schedulers in turn; 1 to 8 workers; 20 to 60
           configurations, or a budget of 8 to 24 full trainings; two finalists in a third of the sweeps.
Forecasts  when 10, 25 and 50 % of the configurations have ended, or as much of the budget is spent.
Truth      the device-seconds and the seconds on the clock from there to the end of the same sweep.
Constants  those of orchestrator/money/forecast.py were set on sweeps 100 to 179; the page shows 200 to 249.
"""

from __future__ import annotations

import argparse
import heapq
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from curves import Curve, MadeUp
from regret import METHODS, Method

from orchestrator.money.forecast import Forecast, Range, forecast
from search.history import History, Trial
from search.records import Began, Over, Report, Status, Suggestion
from search.rules.conduct import Instead, Rules, after_report, next_move, rest

NAMES = ("random", "sobol", "tpe", "median", "asha", "tpe-asha", "asha-promote", "hyperband", "bohb", "cmaes")
MARKS = (0.1, 0.25, 0.5)
NOISE = 0.05  # standard deviation of the log of a step's seconds


@dataclass(frozen=True)
class Plan:
    """One sweep."""

    name: str
    problem: MadeUp
    method: Method
    rules: Rules
    workers: int
    limit: int | None
    seed: int


@dataclass
class Outcome:
    """A sweep that has ended: its totals, and what was foreseen at each mark."""

    seconds: float = 0.0
    device_seconds: float = 0.0
    foreseen: dict[float, tuple[float, float, Forecast]] = field(
        default_factory=dict
    )  # mark → seconds so far, forecast


def plan(number: int) -> Plan:
    rng = np.random.default_rng(1000 + number)
    name = NAMES[number % len(NAMES)]
    workers, limit = int(rng.choice([1, 2, 4, 8])), int(rng.integers(20, 61))
    budget = limit * 0.4 if rng.random() < 0.3 else None
    rules = Rules(budget=budget, finalists=2 if rng.random() < 0.3 else 0)
    return Plan(name, MadeUp(number), METHODS[name], rules, workers, None if budget else limit, number)


class Race:
    """Carries out a sweep on simulated workers."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.now = plan, 0.0
        self.history = History(plan.problem.space, horizon=plan.problem.horizon, seed=plan.seed, limit=plan.limit)
        self.history.append(Began())
        self._rng = np.random.default_rng(plan.seed)
        self._curves: dict[int, Curve] = {}
        self._due: list[tuple[float, int, float]] = []  # heap: time, trial, seconds of the step

    def run(self) -> Outcome:
        outcome, plan = Outcome(), self.plan
        for share in self._reports():
            for mark in MARKS:
                if share >= mark and mark not in outcome.foreseen:
                    method, rules = plan.method, plan.rules
                    seen = forecast(self.history, method.searcher, method.scheduler, rules, workers=plan.workers)
                    assert seen is not None
                    outcome.foreseen[mark] = (self.now, seen.spent_device_seconds, seen)
        outcome.seconds, outcome.device_seconds = self.now, sum(self.history.device_time.by_device.values())
        return outcome

    def _reports(self) -> Iterator[float]:
        """After every report the share of the sweep that is done."""
        history, budget = self.history, self.plan.rules.budget
        while True:
            self._start()
            if not self._due:
                return
            self._report()
            ended = len(history.trials) - history.count(Status.RUNNING)
            yield history.spent / budget if budget else ended / (history.limit or 1)

    def _start(self) -> None:
        history, method = self.history, self.plan.method
        while len(self._due) < self.plan.workers:
            move = next_move(history, method.searcher, method.scheduler, self.plan.rules)
            move = move.move if isinstance(move, Instead) else move
            if isinstance(move, Over) and not history.run.over:
                history.append(move)
            elif isinstance(move, Suggestion):
                self._step(history.append(move))
            else:
                return

    def _step(self, trial: Trial) -> None:
        curve = self._curves.setdefault(trial.number, self.plan.problem.curve(trial.config))
        seconds = float(curve.cost_seconds[trial.step] * math.exp(NOISE * self._rng.standard_normal()))
        heapq.heappush(self._due, (self.now + seconds, trial.number, seconds))

    def _report(self) -> None:
        history, plan = self.history, self.plan
        self.now, number, seconds = heapq.heappop(self._due)
        trial = history.trials[number]
        step = trial.step + 1
        history.append(Report(number, step, float(self._curves[number].losses[step - 1]), seconds))
        for record in after_report(trial, history, plan.method.scheduler, plan.rules):
            history.append(record)
        if (end := rest(trial)) is not None:
            history.append(end)
        if trial.status is Status.RUNNING:
            self._step(trial)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The interval of 95 % for a share of `hits` in `n`."""
    z, share = 1.96, hits / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def row(label: str, cases: list[tuple[Range, float]]) -> str:
    """A line of the table: how often the interval held the truth, how wide it was, how far its median was off."""
    hits = sum(seen.low <= truth <= seen.high for seen, truth in cases)
    low, high = wilson(hits, len(cases))
    below = sum(truth < seen.low for seen, truth in cases)
    width = statistics.median((seen.high - seen.low) / truth for seen, truth in cases)
    off = statistics.median(seen.middle / truth for seen, truth in cases)
    return (
        f"| {label} | {len(cases)} | {hits / len(cases):.0%} ({low:.0%} to {high:.0%}) | {below} | "
        f"{len(cases) - hits - below} | {off:.2f} | {width:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=50)
    parser.add_argument("--first", type=int, default=200, help="number of the first sweep: its seed and its task")
    options = parser.parse_args()
    cost: dict[str, list[tuple[Range, float]]] = {}
    clock: dict[str, list[tuple[Range, float]]] = {}
    for number in range(options.first, options.first + options.sweeps):
        this = plan(number)
        outcome = Race(this).run()
        for mark, (seconds, device_seconds, seen) in sorted(outcome.foreseen.items()):
            for label in (f"at {mark:.0%}", this.name):
                cost.setdefault(label, []).append((seen.device_seconds, outcome.device_seconds - device_seconds))
                clock.setdefault(label, []).append((seen.wall_seconds, outcome.seconds - seconds))
    for title, found in (("Cost", cost), ("End", clock)):
        print(
            f"\n| {title} | n | held by the interval (Wilson, 95 %) | below | above | median ÷ truth | width ÷ truth |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for label in sorted(found, key=lambda label: (label in NAMES, NAMES.index(label) if label in NAMES else 0)):
            print(row(label, found[label]))


if __name__ == "__main__":
    main()
