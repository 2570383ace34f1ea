"""Regret of searchers and schedulers at equal cost, on learning curves instead of trainings, family by family.

    python experiments/benchmarks/regret.py                        # the made-up family: about two minutes
    python experiments/benchmarks/regret.py --families late,needle --methods asha,multitask --seeds 5 --until 0.25
    python experiments/benchmarks/regret.py --fleet reporting --data FOLDER --harness FOLDER --rules any,full,charged
    python experiments/benchmarks/regret.py --fleet choosing --methods asha,few --method "few=MultitaskSearch(first=3)"
    python experiments/benchmarks/regret.py --tables FOLDER --evals 50 --output runs/regret   # recorded curves

Families   those of fleet.py, or a folder of tables (the format is that of `Table` in curves.py).
Protocol   `--workers` workers; a step takes its recorded seconds, a decision none (its processor time is shown).
           A trial may pause and be resumed. The budget of a run, over all workers, is `--evals` times the mean cost
           of the full training of a random configuration, and `--until` of it is run.
Regret     (loss of the incumbent − best known) / (median final loss of random configurations − best known), between
           0 and 1; 1 while there is no incumbent. By three rules: "any", the lowest loss at any step of any trial (who
           keeps every checkpoint); "full", the lowest last loss of the trials trained to the horizon; "charged", as
           "any", but each resume costs two steps more. An incumbent is chosen by reported losses, and judged by
           losses without noise where they are known.
Errors     mean over tasks for each seed, then mean ± standard error over the seeds: the tasks of one seed share
           their first draws.
Output     regret.csv: one row for each run (rows that are there are not run again), regret.png: the curves and
           their bands (± one standard error).
To add     a method: one line in METHODS, or --method "name=Searcher(…)|Scheduler(…)" with the public names of
           `orchestrator`. Not a population: recorded curves have no state that a fork could take over.
Processes  --jobs; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fleet
import standing
from curves import Problem, made_up, tables
from race import race, regret, regrets_of
from standing import RULES

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
    "asha-bracketed": Method(Random(bracketed=True), Asha()),
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


class Names(dict[str, Any]):
    """The public names of `orchestrator`."""

    def __missing__(self, name: str) -> Any:
        import orchestrator

        try:
            return getattr(orchestrator, name)
        except AttributeError as error:
            raise KeyError(name) from error


def method_of(text: str) -> tuple[str, Method]:
    """The method of "name=Searcher(…)|Scheduler(…)|tasks"; raises ValueError if it is none."""
    name, _, expression = text.partition("=")
    try:
        parts = [eval(part.strip(), {"__builtins__": {}}, Names()) for part in expression.split("|")]
        return name, Method(*parts)
    except Exception as error:
        raise ValueError(f"{text!r} is no method ({error}); write it as name=Searcher()|Scheduler().") from error


@dataclass(frozen=True)
class Run:
    """One run to be made; `until` is the share of its budget that is run."""

    family: str
    problem: Problem = field(repr=False)
    method: str
    how: Method = field(repr=False)
    seed: int
    workers: int
    evals: float
    resume_charge: float
    until: float

    @property
    def key(self) -> tuple[str, ...]:
        """What its row is known by; a method whose settings have changed is another one."""
        numbers = (str(self.seed), str(self.workers), str(self.evals), str(self.resume_charge))
        tasks = " ".join(task.name for task in self.how.tasks)
        settings = f"{self.how.searcher!r} {self.how.scheduler!r} {tasks}".strip()
        return (self.problem.name, self.method, settings, *numbers)

    def row(self) -> dict[str, Any]:
        """Make the run; its row of the CSV. Raises ValueError if the searcher refuses the space."""
        began, problem = time.perf_counter(), self.problem
        seconds = self.evals * problem.full_cost / self.workers
        tuning = AskAndTell(
            problem.space, self.how.searcher, self.how.scheduler, horizon=problem.horizon, seed=self.seed,
            tasks=self.how.tasks,
        )  # fmt: skip
        outcome = race(
            problem, tuning, workers=self.workers, seconds=self.until * seconds, resume_charge=self.resume_charge
        )
        traces = {"any": outcome.any, "full": outcome.full}
        regrets = regrets_of(problem, outcome, seconds, self.until)
        texts = {
            f"{rule}_trace": " ".join(f"{when / seconds:.5f}:{regret(problem, trace, when):.6f}" for when, _ in trace)
            for rule, trace in traces.items()
        }
        counts = {"trials": outcome.trials, "complete": outcome.complete, "resumes": outcome.resumes}
        times = {
            "cpu_ms_per_suggestion": round(1e3 * outcome.decision_seconds / max(1, outcome.decisions), 3),
            "wall_s": round(time.perf_counter() - began, 2),
        }
        head = {"family": self.family} | dict(zip(KEY, self.key, strict=True)) | {"until": self.until}
        return head | regrets | counts | times | texts


KEY = ("task", "method", "settings", "seed", "workers", "evals", "resume_charge")


def runs(races: Mapping[str, Sequence[Problem]], given: argparse.Namespace) -> list[Run]:
    """All runs asked for, seed by seed; those without a charge for resumes first."""
    charges = sorted({RULES[rule].resume_charge for rule in given.rules})
    return [
        Run(name, problem, method, METHODS[method], seed, given.workers, _evals(name, given), charge, given.until)
        for seed in range(given.first_seed, given.first_seed + given.seeds)
        for charge in charges
        for name, problems in races.items()
        for problem in problems
        for method in given.methods
    ]


def _evals(family: str, given: argparse.Namespace) -> float:
    known = fleet.FAMILIES.get(family)
    return float(given.evals * (1.0 if known is None else known.budget))


def run_missing(asked: Sequence[Run], file: Path, jobs: int = 1) -> list[dict[str, Any]]:
    """The rows of all runs asked for; those that the file has are taken from it, the others appended."""
    file.parent.mkdir(parents=True, exist_ok=True)
    there = {tuple(row[name] for name in KEY): row for row in sorted(_rows(file), key=_until)}
    missing = [run for run in asked if run.key not in there or _until(there[run.key]) < run.until]
    refused: set[str] = set()
    began = time.perf_counter()
    for charge in sorted({run.resume_charge for run in missing}):
        todo = []
        for run in (run for run in missing if run.resume_charge == charge):
            free = there.get((*run.key[:-1], "0.0"))
            if charge and free is not None and int(free["resumes"]) == 0 and _until(free) >= run.until:
                there[run.key] = dict(free) | {"resume_charge": run.key[-1]}  # nothing would be charged
                standing.append(file, there[run.key])
            else:
                todo.append(run)
        for number, (run, row) in enumerate(_made(todo, jobs), 1):
            if isinstance(row, str):
                refused.add(f"{run.method} cannot search {run.family}: {row}")
            else:
                there[run.key] = row
                standing.append(file, row)
            if number % max(1, len(todo) // 20) == 0:
                took = time.perf_counter() - began
                print(f"{number} of {len(todo)} runs, {took:.0f} s on the clock", file=sys.stderr, flush=True)
    for line in sorted(refused):
        print(line, file=sys.stderr)
    return [there[run.key] for run in asked if run.key in there]


_asked: Sequence[Run] = ()  # in a process of the pool: its runs


def _made(todo: Sequence[Run], jobs: int) -> Iterator[tuple[Run, dict[str, Any] | str]]:
    """Each run with its row, or with the reason why its method refuses its space, as they come."""
    if jobs == 1:
        for run in todo:
            yield run, _row(run)
        return
    fork = multiprocessing.get_context("fork")  # the children have the problems already
    with fork.Pool(jobs, initializer=_enter, initargs=(todo,)) as pool:
        for index, row in pool.imap_unordered(_numbered, range(len(todo))):
            yield todo[index], row


def _enter(todo: Sequence[Run]) -> None:
    global _asked
    _asked = todo


def _numbered(index: int) -> tuple[int, dict[str, Any] | str]:
    return index, _row(_asked[index])


def _row(run: Run) -> dict[str, Any] | str:
    try:
        run.how.searcher.check(run.problem.space)
    except ValueError as error:
        return str(error)
    return run.row()


def _until(row: Mapping[str, Any]) -> float:
    return float(row["until"])


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        with file.open(newline="") as handle:
            rows = csv.DictReader(handle)
            if "until" not in (rows.fieldnames or ()):
                raise SystemExit(f"{file} was written by an earlier version of this script; give another --output.")
            yield from rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", choices=("choosing", "reporting", "all"), help="all families of this part")
    parser.add_argument("--families", help=f"of {', '.join(fleet.FAMILIES)}")
    parser.add_argument("--data", type=Path, help="folder that has lcbench_surrogate, taskset_rnn and opda")
    parser.add_argument("--harness", type=Path, help="folder of the harness that reads the surrogate of LCBench")
    parser.add_argument("--tables", type=Path, help="folder of recorded curves of your own")
    parser.add_argument("--tasks", help="only these, by name")
    parser.add_argument("--max-tasks", type=int, help="only the first so many of each family")
    parser.add_argument("--methods", default=DEFAULT, help=f"of {', '.join(METHODS)}")
    parser.add_argument("--method", action="append", default=[], help='another: "name=Searcher()|Scheduler()"')
    parser.add_argument("--rules", default="any,full", help=f"of {', '.join(RULES)}")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--evals", type=float, default=50.0, help="budget, in full trainings")
    parser.add_argument("--until", type=float, default=1.0, help="share of the budget that is run")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--baselines", type=Path, help="output folder that has the rows of asha and asha-promote")
    parser.add_argument("--output", type=Path, default=Path("runs/regret"))
    given = parser.parse_args()
    began = time.perf_counter()
    try:
        more = dict(method_of(text) for text in given.method)
        races = _races(given)
    except ValueError as error:
        parser.error(str(error))
    METHODS.update(more)
    given.methods = list(dict.fromkeys([*filter(None, given.methods.split(",")), *more]))
    given.rules = given.rules.split(",")
    for option, names, known in (("--methods", given.methods, METHODS), ("--rules", given.rules, RULES)):
        for name in names:
            if name not in known:
                parser.error(f"{option}: there is no {name!r}; there are {', '.join(known)}.")
    asked = runs(races, given)
    rows = run_missing(asked, given.output / "regret.csv", given.jobs)
    rows += _references(races, given)
    shares = [share for share in standing.PRINTED if share <= given.until]
    splits = {name: fleet.FAMILIES[name].split for name in races if name in fleet.FAMILIES}
    standing.show(rows, given.methods, given.rules, shares, splits)
    title = f"{len(races)} families, {given.seeds} seeds, {given.workers} workers, {given.evals:g} full trainings"
    picture = standing.draw(rows, given.methods, given.rules, given.output / "regret.png", title, given.until)
    print(f"\n{title}: {picture}; {time.perf_counter() - began:.0f} s on the clock")


def _references(races: Mapping[str, Sequence[Problem]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of the methods that others are compared with, where they have been run and were not asked for."""
    wanted = argparse.Namespace(**vars(given) | {"methods": [m for m in standing.REFERENCES if m not in given.methods]})
    keys = {run.key: run.until for run in runs(races, wanted)}
    there = list(_rows((given.baselines or given.output) / "regret.csv"))
    found = {key: row for row in there if _until(row) >= keys.get(key := tuple(row[name] for name in KEY), 2.0)}
    return list(found.values())


def _races(given: argparse.Namespace) -> dict[str, list[Problem]]:
    """Family → its problems; raises ValueError if there is no such family, table or task."""
    if given.tables:
        found: dict[str, list[Problem]] = {given.tables.resolve().name: list(tables(given.tables))}
    elif given.fleet or given.families:
        names = given.families.split(",") if given.families else fleet.names_of(given.fleet)
        for name in names:
            if name not in fleet.FAMILIES:
                raise ValueError(f"--families: there is no {name!r}; there are {', '.join(fleet.FAMILIES)}.")
        found, missing = fleet.load(names, fleet.Sources(given.data, given.harness))
        for name, why in missing.items():
            print(f"{name} is left out: {why}.", flush=True)
    else:
        found = {"made up": list(made_up(3))}
    if given.tasks:
        names = [problem.name for problems in found.values() for problem in problems]
        for name in given.tasks.split(","):
            if name not in names:
                raise ValueError(f"--tasks: there is no task {name!r}; there are {', '.join(names)}.")
        found = {name: [p for p in problems if p.name in given.tasks.split(",")] for name, problems in found.items()}
    found = {name: problems[: given.max_tasks] for name, problems in found.items() if problems}
    if not found:
        raise ValueError("no family is left; give --data and --harness, or other --families.")
    return found


if __name__ == "__main__":
    main()
