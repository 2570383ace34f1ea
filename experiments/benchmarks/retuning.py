"""Re-tuning: what an earlier sweep on other data saves the next one (`transfer`).

    python experiments/benchmarks/retuning.py --data FOLDER --harness FOLDER
    python experiments/benchmarks/retuning.py --families lcbench-choosing --seeds 2 --data FOLDER --harness FOLDER

In each family the tasks follow each other. The earlier sweep, `MultitaskSearch()` with a quarter of the budget, ran on
the task before; the next one runs on the task itself, alone or with that sweep's history. Protocol, budget and regret
are those of regret.py. Runs with the same task and seed have the same earlier sweep, and make a pair.

Output   retuning.csv: one row for each run; rows that are there are not run again. The table: mean regret, and with an
         earlier sweep the change in pairs ± its standard error over tasks and seeds.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fleet
from curves import Problem
from race import race, regrets_of

from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import History
from search.rules.earlier import best_apart
from search.schedulers.asha import Asha
from search.schedulers.run_to_end import RunToEnd
from search.searchers.multitask import MultitaskSearch
from search.searchers.random import Random

WORKERS, EVALS, UNTIL = 4, 50, 0.25
COLUMNS = [f"{rule}_{share}" for rule in ("any", "full") for share in ("0.02", "0.05", "0.10", "0.25")]
KEY = ("family", "task", "seed", "method")


@dataclass(frozen=True)
class Method:
    """A search; `tries`: the best configurations of the earlier sweep start first; `learns`: its model uses the results."""

    searcher: Searcher
    scheduler: Scheduler
    tries: bool = False
    learns: bool = False


METHODS = {
    "asha": Method(Random(), Asha()),
    "asha, transfer": Method(Random(), Asha(), tries=True),
    "multitask": Method(MultitaskSearch(), RunToEnd()),
    "multitask, learns only": Method(MultitaskSearch(), RunToEnd(), learns=True),
    "multitask, transfer": Method(MultitaskSearch(), RunToEnd(), tries=True, learns=True),
}
ALONE = {"asha, transfer": "asha", "multitask, learns only": "multitask", "multitask, transfer": "multitask"}


def run(problem: Problem, method: Method, seed: int, earlier: History | None) -> tuple[dict[str, float | str], History]:
    """The regrets of one sweep, and its history."""
    seconds = EVALS * problem.full_cost / WORKERS
    points = [trial.config for trial in best_apart(earlier, problem.space)] if earlier and method.tries else []
    if earlier is not None:
        earlier.is_avoided = earlier.is_tried_first = False  # the methods differ in that: see `points`
    tuning = AskAndTell(
        problem.space, method.searcher, method.scheduler, horizon=problem.horizon, seed=seed, points=points,
        earlier=[earlier] if earlier and method.learns else [],
    )  # fmt: skip
    outcome = race(problem, tuning, workers=WORKERS, seconds=UNTIL * seconds)
    return regrets_of(problem, outcome, seconds, UNTIL), tuning.history


def run_missing(family: str, problems: Sequence[Problem], seeds: Sequence[int], file: Path) -> None:
    """Run what the file lacks, and append it."""
    there = {tuple(row[name] for name in KEY) for row in rows(file)}
    for seed in seeds:
        for at, problem in enumerate(problems):
            missing = [name for name in METHODS if (family, problem.name, str(seed), name) not in there]
            if not missing:
                continue
            _, earlier = run(problems[at - 1], METHODS["multitask"], seed + 1000, None)
            for name in missing:
                told, _ = run(problem, METHODS[name], seed, earlier)
                with open(file, "a", newline="") as opened:
                    csv.writer(opened).writerow([family, problem.name, seed, name, *(told[each] for each in COLUMNS)])


def rows(file: Path) -> list[dict[str, str]]:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(",".join([*KEY, *COLUMNS]) + "\n")
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def table(found: Sequence[dict[str, str]]) -> str:
    """The lines of a Markdown table for the runs of one family."""
    regret = {(row["task"], row["seed"], row["method"]): row for row in found}
    lines = []
    for name in METHODS:
        pairs = [
            (row, regret.get((*key[:2], ALONE[name])))
            for key, row in regret.items()
            if key[2] == name and name in ALONE
        ]
        cells = []
        for column in COLUMNS:
            values = [float(row[column]) for key, row in regret.items() if key[2] == name]
            changes = [float(row[column]) - float(alone[column]) for row, alone in pairs if alone is not None]
            error = statistics.stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else 0.0
            change = f", {statistics.mean(changes):+.3f} ±{error:.3f}" if changes else ""
            cells.append(f"{statistics.mean(values):.3f}{change}" if values else "")
        lines.append(f"| {name} | {len(values)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="lcbench,taskset-reporting")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--harness", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/retuning"))
    given = parser.parse_args()
    file = given.output / "retuning.csv"
    families, missing = fleet.load(given.families.split(","), fleet.Sources(given.data, given.harness))
    for family, problems in families.items():
        run_missing(family, problems, range(given.seeds), file)
        print(f"\n{family}: regret at {', '.join(COLUMNS)}\n")
        print(table([row for row in rows(file) if row["family"] == family]))
    for family, why in missing.items():
        print(f"{family} is left out: {why}")


if __name__ == "__main__":
    main()
