"""The cost at which one method reaches another's final value, from the rows of `regret.py`.

    python experiments/benchmarks/reaching.py runs/regret --method multitask --level random
    python experiments/benchmarks/reaching.py runs/20 --method multitask --level-rows runs/1 --share 0.25

The level is, for each task, the median over seeds of the other method's regret at `--share` of its budget. A cost is
in full trainings; a run that never reaches the level counts as infinite, so the table shows medians, the worst run and
the number of runs that reached it; then the same by family, and the last columns as shares of the other's cost.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from standing import RULES, Rule


def rows_of(folder: Path, method: str) -> list[dict[str, Any]]:
    """The method's rows; of one run, the row that goes furthest."""
    file = folder / "regret.csv"
    with file.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["method"] == method]
    if not rows:
        raise SystemExit(f"{file} has no row of the method {method!r}; run regret.py with --methods {method}.")
    rows.sort(key=lambda row: float(row["until"]))
    return list({(row["task"], row["settings"], row["seed"], row["resume_charge"]): row for row in rows}.values())


def regret_at(row: dict[str, Any], rule: Rule, share: float) -> float:
    """Of the incumbent after `share` of the row's budget."""
    found = [regret for when, regret in _trace(row, rule) if when <= share]
    return found[-1] if found else 1.0


def cost_to_reach(row: dict[str, Any], rule: Rule, level: float) -> float:
    """In full trainings; infinite if it never does."""
    share = next((when for when, regret in _trace(row, rule) if regret <= level), math.inf)
    return share * float(row["evals"])


def _trace(row: dict[str, Any], rule: Rule) -> list[tuple[float, float]]:
    pairs = (pair.split(":") for pair in row[f"{rule.trace}_trace"].split())
    return [(float(when), float(regret)) for when, regret in pairs]


def levels(rows: Sequence[dict[str, Any]], rule: Rule, share: float) -> dict[str, float]:
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
    for rule in RULES.values():
        of_rule = [
            [row for row in rows if float(row["resume_charge"]) == rule.resume_charge] for rows in (ours, others)
        ]
        if all(of_rule):
            _table(*of_rule, rule, given.share)


def _table(ours: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], rule: Rule, share: float) -> None:
    level = levels(others, rule, share)
    spent = {row["task"]: share * float(row["evals"]) for row in others}
    missing = sorted({row["task"] for row in ours} - set(level))
    if missing:
        raise SystemExit(f"The other method has no rows for the task {missing[0]}.")
    print(f"\nCost to reach the median regret of {others[0]['method']} after {share:.0%} of its budget, {rule.words}")
    print(f"{'':<28}{'level':>8}{'median':>8}{'worst':>8}{'reached':>10}{'of its cost':>13}{'worst':>8}")
    found = [(row, cost_to_reach(row, rule, level[row["task"]])) for row in ours]
    tasks = {row["task"]: row["family"] for row in ours}
    for task in sorted(tasks, key=lambda task: (tasks[task], task)):
        costs = [cost for row, cost in found if row["task"] == task]
        print(_line(task, f"{level[task]:.3f}", costs, [cost / spent[task] for cost in costs]))
    print()
    families = sorted(set(tasks.values()))
    for family in families if len(families) > 1 else []:
        inside = [(cost, cost / spent[row["task"]]) for row, cost in found if row["family"] == family]
        print(_line(family, "", *zip(*inside, strict=True)))
    print(_line("all", "", [cost for _, cost in found], [cost / spent[row["task"]] for row, cost in found]))


def _line(name: str, level: str, costs: Sequence[float], shares: Sequence[float]) -> str:
    reached = f"{sum(map(math.isfinite, costs))}/{len(costs)}"
    cells = f"{level:>8}{statistics.median(costs):>8.2f}{max(costs):>8.2f}{reached:>10}"
    return f"{name:<28}{cells}{statistics.median(shares):>12.1%}{max(shares):>8.0%}"


if __name__ == "__main__":
    main()
