"""The race of one method on one problem, in simulated time, and the regret of what it found.

The runs are driven by `AskAndTell`, not by the simulated engine, whose ledger makes every report durable: that costs
6 ms a report here, a hundred times the rest. A test checks that both make the same decisions.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from curves import Curve, Problem
from standing import SHARES

from search.ask_and_tell import AskAndTell

Trace = list[tuple[float, float]]
"""When (in seconds) the incumbent changed, and its loss; without noise where that is known."""


@dataclass
class Outcome:
    """What one run came to: by each rule, when the incumbent changed to which loss."""

    any: Trace = field(default_factory=list)
    full: Trace = field(default_factory=list)
    trials: int = 0
    complete: int = 0
    resumes: int = 0
    decisions: int = 0
    decision_seconds: float = 0.0  # of the processor, in all
    _lowest: dict[str, float] = field(default_factory=dict)

    def record(self, now: float, loss: float, truth: float, *, is_full: bool) -> None:
        for rule, trace in (("any", self.any), ("full", self.full)) if is_full else (("any", self.any),):
            if math.isfinite(loss) and loss < self._lowest.get(rule, math.inf):
                self._lowest[rule] = loss
                trace.append((now, truth))


def race(
    problem: Problem,
    tuning: AskAndTell,
    *,
    workers: int,
    seconds: float,
    resume_charge: float = 0.0,
    enough: float = -math.inf,
) -> Outcome:
    """Run `tuning` on `problem` for `seconds` of simulated time, or until the incumbent's loss is `enough`."""
    outcome, now = Outcome(), 0.0
    free = list(range(workers))
    curves: dict[int, Curve] = {}  # trial → its curve
    under_way: list[tuple[float, int, int, float]] = []  # heap: end of the step, worker, trial, its cost

    def launch(worker: int, number: int, step: int, extra_steps: float = 0.0) -> None:
        cost = float(curves[number].cost_seconds[step - 1]) * (1 + extra_steps)
        heapq.heappush(under_way, (now + cost, worker, number, cost))

    def feed() -> None:
        while free:
            began = time.process_time()
            trial = tuning.ask()
            outcome.decision_seconds += time.process_time() - began
            if trial is None:
                return
            outcome.decisions += 1
            resumes = trial.suggestion.kind == "resume"
            outcome.resumes += resumes
            outcome.trials += not resumes
            if not resumes:
                curves[trial.number] = problem.curve(trial.config)
            launch(free.pop(0), trial.number, trial.step + 1, resume_charge if resumes else 0.0)

    feed()
    while under_way and under_way[0][0] <= seconds and not (outcome.any and outcome.any[-1][1] <= enough):
        now, worker, number, cost = heapq.heappop(under_way)
        trial, curve = tuning.history.trials[number], curves[number]
        step = trial.step + 1
        loss = float(curve.losses[step - 1])
        truth = loss if curve.truth is None else float(curve.truth[step - 1])
        outcome.record(now, loss, truth, is_full=step == problem.horizon)
        outcome.complete += step == problem.horizon
        began = time.process_time()
        goes_on = tuning.tell(trial, step, loss, cost_seconds=cost)
        outcome.decision_seconds += time.process_time() - began
        if goes_on:
            launch(worker, number, step + 1)
        else:
            free.append(worker)
            free.sort()
            feed()
    return outcome


def regret(problem: Problem, trace: Sequence[tuple[float, float]], until: float) -> float:
    """Of the incumbent at the time `until`."""
    losses = [loss for when, loss in trace if when <= until]
    if not losses:
        return 1.0
    return min(max((losses[-1] - problem.best) / (problem.typical - problem.best), 0.0), 1.0)


def regrets_of(problem: Problem, outcome: Outcome, seconds: float, until: float) -> dict[str, float | str]:
    """A row's columns: regret by each rule after each share of a budget of `seconds`; "" beyond the share that was run."""
    return {
        f"{rule}_{share:.2f}": round(regret(problem, trace, share * seconds), 6) if share <= until else ""
        for rule, trace in (("any", outcome.any), ("full", outcome.full))
        for share in SHARES
    }
