"""The cost at which one method reaches another's final value, from the rows of `regret.py`.

    python experiments/benchmarks/reaching.py runs/regret --method multitask --level random
    python experiments/benchmarks/reaching.py runs/20 --method multitask --level-rows runs/1 --share 0.25

The level is, for each task, the median over seeds of the other method's regret at `--share` of its budget. A cost is
in full trainings; a run that never reaches the level counts as infinite, so the table shows medians, the worst run and
the number of runs that reached it.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RULES = {"any": "any step of any trial", "full": "full trainings only"}


def rows_of(folder: Path, method: str) -> list[dict[str, Any]]:
    file = folder / "regret.csv"
    with file.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["method"] == method]
    if not rows:
        raise SystemExit(f"{file} has no row of the method {method!r}; run regret.py with --methods {method}.")
    return rows


def regret_at(row: dict[str, Any], rule: str, share: float) -> float:
    """Of the incumbent after `share` of the row's budget."""
    found = [regret for when, regret in _trace(row, rule) if when <= share]
    return found[-1] if found else 1.0


def cost_to_reach(row: dict[str, Any], rule: str, level: float) -> float:
    """In full trainings; infinite if it never does."""
    share = next((when for when, regret in _trace(row, rule) if regret <= level), math.inf)
    return share * float(row["evals"])


def _trace(row: dict[str, Any], rule: str) -> list[tuple[float, float]]:
    pairs = (pair.split(":") for pair in row[f"{rule}_trace"].split())
    return [(float(when), float(regret)) for when, regret in pairs]


def levels(rows: Sequence[dict[str, Any]], rule: str, share: float) -> dict[str, float]:
    """Task → median regret after `share` of the budget."""
    of: dict[str, list[float]] = {}
    for row in rows:
        of.setdefault(row["task"], []).append(regret_at(row, rule, share))
    return {task: statistics.median(values) for task, values in of.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="output folder of regret.py")
    parser.add_argument("--method", default="multitask")
    parser.add_argument("--level", help="the other method; default: the same")
    parser.add_argument("--level-rows", type=Path, help="output folder that has the other's rows; default: the same")
    parser.add_argument("--share", type=float, default=1.0, help="of the other's budget")
    given = parser.parse_args()
    ours = rows_of(given.rows, given.method)
    others = rows_of(given.level_rows or given.rows, given.level or given.method)
    for rule, words in RULES.items():
        level = levels(others, rule, given.share)
        spent = given.share * float(others[0]["evals"])
        missing = sorted({row["task"] for row in ours} - set(level))
        if missing:
            raise SystemExit(f"The other method has no rows for the task {missing[0]}.")
        print(f"\nCost to reach the median regret of {others[0]['method']} after {spent:g} full trainings, {words}")
        print(f"{'task':<28}{'level':>8}{'median':>8}{'worst':>8}{'reached':>10}{'of its cost':>13}")
        everywhere = []
        for task in sorted(level):
            costs = [cost_to_reach(row, rule, level[task]) for row in ours if row["task"] == task]
            everywhere += costs
            if costs:
                print(_line(task, f"{level[task]:.3f}", costs, spent))
        print(_line("all", "", everywhere, spent))


def _line(name: str, level: str, costs: Sequence[float], spent: float) -> str:
    reached = sum(map(math.isfinite, costs))
    median = statistics.median(costs)
    return f"{name:<28}{level:>8}{median:>8.2f}{max(costs):>8.2f}{f'{reached}/{len(costs)}':>10}{median / spent:>12.1%}"


if __name__ == "__main__":
    main()
