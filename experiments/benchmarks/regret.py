"""Regret of searchers and schedulers at equal cost, on recorded or made-up learning curves instead of trainings.

    python experiments/benchmarks/regret.py                        # the made-up family: about two minutes
    python experiments/benchmarks/regret.py --tasks 6 --seeds 5 --methods random,tpe,gp
    python experiments/benchmarks/regret.py --harness FOLDER --bench lcbench --tasks NAME,NAME --methods multitask
    python experiments/benchmarks/regret.py --tables FOLDER --evals 50 --output runs/regret   # recorded curves
    python experiments/benchmarks/regret.py --schedules FOLDER     # a step is a tenth of a run's own schedule

Protocol   `--workers` workers; a step takes its recorded seconds, a decision none (its processor time is shown).
           A trial may pause and be resumed, for `--resume-charge` steps' cost each time. The budget of a run, over
           all workers, is `--evals` times the mean cost of the full training of a random configuration.
Regret     (loss of the incumbent − best known) / (median final loss of random configurations − best known), between
           0 and 1; 1 while there is no incumbent. By two rules: "any", the lowest loss at any step of any trial (who
           keeps every checkpoint); "full", the lowest last loss of the trials trained to the horizon.
Errors     mean over tasks for each seed, then mean ± standard error over the seeds: the tasks of one seed share
           their first draws.
Output     regret.csv: one row for each run (rows that are there are not run again), regret.png: the curves and
           their bands (± one standard error). Tables: the format is that of `Table` in curves.py.
To add     a method: one line in METHODS. Not a population: recorded curves have no state that a fork could take over.

The runs are driven by `AskAndTell`, not by the simulated engine, whose ledger makes every report durable: that costs
6 ms a report here, a hundred times the rest. A test checks that both make the same decisions.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from curves import Curve, Problem, borrowed, made_up, schedules, tables

from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.hyperband import Hyperband
from search.schedulers.median import Median
from search.schedulers.run_to_end import RunToEnd
from search.searchers.bayes import BayesSearch
from search.searchers.bohb import BohbSearch
from search.searchers.cmaes import CmaEs
from search.searchers.grid import Grid
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import GaussianProcess, Tpe
from search.searchers.random import Random
from search.searchers.sigopt import SigOptSearch
from search.searchers.sobol import Sobol
from search.task import Task

COARSE = Task.epochs(0.1, 0.5, 1.0)


@dataclass(frozen=True)
class Method:
    """What decides in a run."""

    searcher: Searcher
    scheduler: Scheduler = field(default_factory=RunToEnd)
    tasks: tuple[Task, ...] = ()


METHODS = {
    "random": Method(Random()),
    "sobol": Method(Sobol()),
    "grid": Method(Grid(resolution=3)),
    "median": Method(Random(), Median()),
    "asha": Method(Random(), Asha()),
    "asha-promote": Method(Random(), AshaPromote()),
    "hyperband": Method(Random(), Hyperband()),
    "bohb": Method(BohbSearch(), Hyperband()),
    "tpe": Method(Tpe()),
    "tpe-asha": Method(Tpe(), Asha()),
    "tpe-asha-promote": Method(Tpe(), AshaPromote()),
    "cmaes": Method(CmaEs()),
    "gp": Method(GaussianProcess()),
    "bayes": Method(BayesSearch()),
    "multitask": Method(MultitaskSearch()),
    "multitask-coarse": Method(MultitaskSearch(), tasks=COARSE),
    "sigopt": Method(SigOptSearch(), tasks=COARSE),
}
DEFAULT = "random,asha,asha-promote,tpe,tpe-asha"
RULES = {"any": "any step of any trial", "full": "full trainings only"}
SHARES = (0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.25, 0.35, 0.50, 0.70, 1.00)  # of the budget
PRINTED = (0.05, 0.10, 0.25, 0.50, 1.00)


@dataclass
class Outcome:
    """What one run came to: by each rule, when (in seconds) the incumbent fell to which loss."""

    any: list[tuple[float, float]] = field(default_factory=list)
    full: list[tuple[float, float]] = field(default_factory=list)
    trials: int = 0
    complete: int = 0
    resumes: int = 0
    decisions: int = 0
    decision_seconds: float = 0.0  # of the processor, in all

    def record(self, now: float, loss: float, is_full: bool) -> None:
        for trace in (self.any, self.full) if is_full else (self.any,):
            if math.isfinite(loss) and (not trace or loss < trace[-1][1]):
                trace.append((now, loss))


def race(problem: Problem, tuning: AskAndTell, *, workers: int, seconds: float, resume_charge: float = 0.0) -> Outcome:
    """Run `tuning` on `problem` for `seconds` of simulated time."""
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
    while under_way and under_way[0][0] <= seconds:
        now, worker, number, cost = heapq.heappop(under_way)
        trial = tuning.history.trials[number]
        step = trial.step + 1
        loss = float(curves[number].losses[step - 1])
        outcome.record(now, loss, is_full=step == problem.horizon)
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


def run(problem: Problem, method: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One run, as a row of the CSV."""
    how = METHODS[method]
    seconds = given.evals * problem.full_cost / given.workers
    tuning = AskAndTell(problem.space, how.searcher, how.scheduler, horizon=problem.horizon, seed=seed, tasks=how.tasks)
    outcome = race(problem, tuning, workers=given.workers, seconds=seconds, resume_charge=given.resume_charge)
    key = dict(zip(KEY, _key(problem.name, method, seed, given), strict=True))
    regrets = {
        _column(rule, share): round(regret(problem, getattr(outcome, rule), share * seconds), 6)
        for rule in RULES
        for share in SHARES
    }
    milliseconds = 1e3 * outcome.decision_seconds / max(1, outcome.decisions)
    counts = {"trials": outcome.trials, "complete": outcome.complete, "resumes": outcome.resumes}
    traces = {f"{rule}_trace": _trace(problem, getattr(outcome, rule), seconds) for rule in RULES}
    return key | regrets | counts | {"cpu_ms_per_suggestion": round(milliseconds, 3)} | traces


def _trace(problem: Problem, trace: Sequence[tuple[float, float]], seconds: float) -> str:
    """Every improvement, as "share of the budget:regret share:regret …"."""
    return " ".join(f"{when / seconds:.5f}:{regret(problem, trace, when):.6f}" for when, _ in trace)


KEY = ("task", "method", "settings", "seed", "workers", "evals", "resume_charge")


def _key(task: str, method: str, seed: int, given: argparse.Namespace) -> tuple[str, ...]:
    """What a row is known by; a method whose settings have changed is another one."""
    how = METHODS[method]
    numbers = (str(seed), str(given.workers), str(given.evals), str(given.resume_charge))
    tasks = " ".join(task.name for task in how.tasks)
    return (task, method, f"{how.searcher!r} {how.scheduler!r} {tasks}".strip(), *numbers)


def _column(rule: str, share: float) -> str:
    return f"{rule}_{share:.2f}"


def run_missing(problems: Sequence[Problem], given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all runs asked for; those that the file has are taken from it, the others appended."""
    file = given.output / "regret.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    there = {tuple(row[name] for name in KEY): row for row in _rows(file)}
    asked = []
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for problem in problems:
            for method in given.methods:
                key = _key(problem.name, method, seed, given)
                if key not in there:
                    there[key] = run(problem, method, seed, given)
                    _append(file, there[key])
                asked.append(there[key])
        print(f"seed {seed}: {len(problems)} tasks, {len(given.methods)} methods", file=sys.stderr, flush=True)
    return asked


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        with file.open(newline="") as handle:
            yield from csv.DictReader(handle)


def _append(file: Path, row: Mapping[str, Any]) -> None:
    is_new = not file.exists()
    with file.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def over_seeds(rows: Sequence[Mapping[str, Any]], method: str, column: str) -> tuple[float, float]:
    """Mean and standard error over the seeds of the mean over the tasks; the error of one seed is NaN."""
    by_seed: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] == method:
            by_seed.setdefault(str(row["seed"]), []).append(float(row[column]))
    means = [statistics.fmean(values) for values in by_seed.values()]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan
    return statistics.fmean(means), error


def show(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    """The table: regret after shares of the budget, by both rules."""
    width = max(map(len, methods))
    for rule, words in RULES.items():
        print(f"\nRegret, {words} (mean ± standard error over seeds) after a share of the budget")
        titles = "".join(f"{share:>15.0%}" for share in PRINTED)
        print(f"{'':<{width}}{titles}{'trials':>8}{'full':>6}{'resumes':>9}{'ms/suggestion':>15}")
        for method in sorted(methods, key=lambda name: over_seeds(rows, name, _column(rule, 1.0))[0]):
            cells = "".join(f"{_cell(*over_seeds(rows, method, _column(rule, share))):>15}" for share in PRINTED)
            trials, full, resumes, cpu = (
                over_seeds(rows, method, column)[0]
                for column in ("trials", "complete", "resumes", "cpu_ms_per_suggestion")
            )
            print(f"{method:<{width}}{cells}{trials:>8.0f}{full:>6.0f}{resumes:>9.0f}{cpu:>15.2f}")


def _cell(mean: float, error: float) -> str:
    return f"{mean:.3f}" if math.isnan(error) else f"{mean:.3f} ±{error:.3f}"


def draw(rows: Sequence[Mapping[str, Any]], given: argparse.Namespace, title: str) -> Path:
    """One panel for each rule: mean regret against the share of the budget, ± one standard error."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(RULES), sharey=True)
    for panel, (rule, words) in zip(panels, RULES.items(), strict=True):
        for method in given.methods:
            points = [over_seeds(rows, method, _column(rule, share)) for share in SHARES]
            means, errors = np.array(points).T
            (line,) = panel.plot(SHARES, means, label=method, linewidth=1.6)
            panel.fill_between(SHARES, means - errors, means + errors, color=line.get_color(), alpha=0.15, linewidth=0)
        panel.set(xscale="log", yscale="log", xlabel="share of the budget", title=words)
        panel.set_xticks(PRINTED, [f"{share:.0%}" for share in PRINTED])
        panel.minorticks_off()
        panel.set_yticks(*_ticks(panel.get_ylim()))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("regret")
    panels[-1].legend(fontsize="small")
    figure.suptitle(title)
    file = Path(given.output) / "regret.png"
    figure.savefig(file, dpi=150)
    return file


def _ticks(limits: tuple[float, float]) -> tuple[list[float], list[str]]:
    wanted = [scale * digit for scale in (0.0001, 0.001, 0.01, 0.1, 1) for digit in (1, 2, 5)]
    ticks = [tick for tick in wanted if limits[0] <= tick <= limits[1] * 1.001]
    return ticks, [f"{tick:g}" for tick in ticks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder of recorded curves; default: the made-up family")
    parser.add_argument("--schedules", type=Path, help="folder of opda's runs, whose length is searched as well")
    parser.add_argument("--harness", type=Path, help="folder of another harness, with its module run_peer")
    parser.add_argument("--bench", default="lcbench", help="which problems of that harness")
    parser.add_argument("--tasks", default="3", help="names of tasks, or how many")
    parser.add_argument("--methods", default=DEFAULT, help=f"of {', '.join(METHODS)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--evals", type=float, default=50.0, help="budget, in full trainings")
    parser.add_argument("--resume-charge", type=float, default=0.0, help="steps that a resume costs")
    parser.add_argument("--output", type=Path, default=Path("runs/regret"))
    given = parser.parse_args()
    given.methods = given.methods.split(",")
    problems = _problems(given, parser)
    for name in given.methods:
        if name not in METHODS:
            parser.error(f"--methods: there is no method {name!r}; there are {', '.join(METHODS)}.")
    rows = run_missing(problems, given)
    show(rows, given.methods)
    title = f"{len(problems)} tasks, {given.seeds} seeds, {given.workers} workers, {given.evals:g} full trainings"
    if given.resume_charge:
        title += f", {given.resume_charge:g} steps for a resume"
    print(f"\n{title}: {draw(rows, given, title)}")


def _problems(given: argparse.Namespace, parser: argparse.ArgumentParser) -> list[Problem]:
    try:
        every: list[Problem] = list(
            tables(given.tables)
            if given.tables
            else schedules(given.schedules)
            if given.schedules
            else borrowed(given.harness, given.bench)
            if given.harness
            else made_up(12)
        )
    except ValueError as error:
        parser.error(str(error))
    if given.tasks.isdigit():
        return every[: int(given.tasks)]
    named = {problem.name: problem for problem in every}
    for name in given.tasks.split(","):
        if name not in named:
            parser.error(f"--tasks: there is no task {name!r}; there are {', '.join(named)}.")
    return [named[name] for name in given.tasks.split(",")]


if __name__ == "__main__":
    main()
