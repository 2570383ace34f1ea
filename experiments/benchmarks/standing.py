"""The report of the race: each family by itself, and how each method stands against successive halving of random draws.

By each family, rule and share of the budget, a method is to be no worse than the better of `REFERENCES`: the
difference is taken seed by seed, and one that exceeds its standard error is marked with "!".
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REFERENCES = ("asha", "asha-promote")
SHARES = (0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.25, 0.35, 0.50, 0.70, 1.00)  # of the budget
PRINTED = (0.02, 0.05, 0.10, 0.25, 0.50, 1.00)


@dataclass(frozen=True)
class Rule:
    """Which losses count, and what a resume costs."""

    words: str
    trace: str  # the part of the row's columns
    resume_charge: float = 0.0  # in steps

    def column(self, share: float) -> str:
        return f"{self.trace}_{share:.2f}"


RULES = {
    "any": Rule("any step of any trial", "any"),
    "full": Rule("full trainings only", "full"),
    "charged": Rule("any step, each resume charged two steps", "any", 2.0),
}
Rows = Sequence[Mapping[str, Any]]


def append(file: Path, row: Mapping[str, Any]) -> None:
    """Add a row to the table of all runs, with a head if it is the first."""
    is_new = not file.exists()
    with file.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def by_seed(rows: Rows, method: str, column: str) -> dict[int, float]:
    """Seed → the mean over its tasks; without the seeds that lack a task, such as the last one before an interruption."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(int(row["seed"]), {})[str(row["task"])] = float(row[column])
    every = {str(row["task"]) for row in rows}
    return {seed: statistics.fmean(of.values()) for seed, of in found.items() if len(of) == len(every)}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error; the error of one value is NaN, and so is the mean of none."""
    if not values:
        return math.nan, math.nan
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def over_seeds(rows: Rows, method: str, column: str) -> tuple[float, float]:
    """Mean and standard error over the seeds of the mean over the tasks."""
    return spread(list(by_seed(rows, method, column).values()))


def behind(rows: Rows, method: str, column: str) -> tuple[float, float]:
    """How much more regret a method has than the better of the references, seed by seed: mean and standard error."""
    ours = by_seed(rows, method, column)
    others = [{s: v for s, v in by_seed(rows, name, column).items() if s in ours} for name in REFERENCES]
    others = [other for other in others if other]
    if not others:
        return math.nan, math.nan
    better = min(others, key=lambda other: statistics.fmean(other.values()))
    return spread([ours[seed] - better[seed] for seed in better])


def show(
    rows: Rows, methods: Sequence[str], rules: Sequence[str], shares: Sequence[float], splits: Mapping[str, str]
) -> None:
    """Print a block for each family, and the summary if there are several or there is something to compare with."""
    families = list(dict.fromkeys(str(row["family"]) for row in rows))
    grouped = {(family, rule): _of(rows, family, RULES[rule]) for family in families for rule in rules}
    for family in families:
        part = f" ({splits[family]})" if family in splits else ""
        print(f"\n=== {family}{part}: {len({row['task'] for row in rows if row['family'] == family})} tasks")
        for rule in rules:
            _block(grouped[family, rule], methods, RULES[rule], shares)
    for rule in rules:
        of = {family: grouped[family, rule] for family in families}
        for method in [name for name in methods if name not in REFERENCES]:
            _against(of, method, RULES[rule], shares)
        _means(of, methods, RULES[rule], shares)


def _of(rows: Rows, family: str, rule: Rule) -> Rows:
    return [row for row in rows if row["family"] == family and float(row["resume_charge"]) == rule.resume_charge]


def _block(rows: Rows, methods: Sequence[str], rule: Rule, shares: Sequence[float]) -> None:
    width = max(map(len, methods))
    print(f"\nRegret, {rule.words} (mean ± standard error over seeds) after a share of the budget")
    print(
        f"{'':<{width}}{_titles(shares)}{'trials':>8}{'full':>6}{'resumes':>9}{'ms/suggestion':>15}{'s/run':>8}{'n':>4}"
    )
    for method in sorted(methods, key=lambda name: _last(rows, name, rule, shares)):
        cells = "".join(f"{_cell(*over_seeds(rows, method, rule.column(share))):>15}" for share in shares)
        trials, full, resumes, cpu, wall = (
            over_seeds(rows, method, column)[0]
            for column in ("trials", "complete", "resumes", "cpu_ms_per_suggestion", "wall_s")
        )
        n = len(by_seed(rows, method, "trials"))
        print(f"{method:<{width}}{cells}{trials:>8.0f}{full:>6.0f}{resumes:>9.0f}{cpu:>15.2f}{wall:>8.1f}{n:>4}")


def _against(of: Mapping[str, Rows], method: str, rule: Rule, shares: Sequence[float]) -> None:
    found = {
        family: [behind(rows, method, rule.column(share)) for share in shares]
        for family, rows in of.items()
        if by_seed(rows, method, "trials")
    }
    found = {family: cells for family, cells in found.items() if not math.isnan(cells[0][0])}
    if not found:
        return
    width = max(map(len, [*found, "families behind"]))
    print(f"\n{method} less the better of {' and '.join(REFERENCES)}, {rule.words} (! behind by more than its error)")
    print(f"{'':<{width}}{_titles(shares)}")
    for family, cells in found.items():
        marks = (f"{_cell(mean, error, '+')}{'!' if mean > error else ' '}" for mean, error in cells)
        print(f"{family:<{width}}{''.join(f'{mark:>15}' for mark in marks)}")
    print(f"{'mean':<{width}}" + "".join(f"{f'{mean:+.3f} ':>15}" for mean in _columns(found, statistics.fmean)))
    worst = [max(found, key=lambda family: found[family][index][0]) for index in range(len(shares))]
    print(f"{'worst':<{width}}" + "".join(f"{f'{mean:+.3f} ':>15}" for mean in _columns(found, max)))
    print(f"{'worst family':<{width}}" + "".join(f"{family[:14]:>15}" for family in worst))
    counts = [sum(cells[index][0] > cells[index][1] for cells in found.values()) for index in range(len(shares))]
    print(f"{'families behind':<{width}}" + "".join(f"{f'{count} of {len(found)}':>15}" for count in counts))


def _means(of: Mapping[str, Rows], methods: Sequence[str], rule: Rule, shares: Sequence[float]) -> None:
    width = max(map(len, methods))
    print(f"\nMean over {len(of)} families, {rule.words}; below, the family where the method's regret is highest")
    print(f"{'':<{width}}{_titles(shares)}")
    raced = [name for name in methods if any(by_seed(rows, name, "trials") for rows in of.values())]
    for method in sorted(raced, key=lambda name: _mean_over(of, name, rule.column(shares[-1]))[0]):
        cells = "".join(f"{_cell(*_mean_over(of, method, rule.column(share))):>15}" for share in shares)
        print(f"{method:<{width}}{cells}")
        found = {
            family: [over_seeds(rows, method, rule.column(share))[0] for share in shares] for family, rows in of.items()
        }
        worst = [
            max(found, key=lambda family: np.nan_to_num(found[family][index], nan=-1)) for index in range(len(shares))
        ]
        print(f"{'':<{width}}" + "".join(f"{family[:14]:>15}" for family in worst))


def _mean_over(of: Mapping[str, Rows], method: str, column: str) -> tuple[float, float]:
    """Over the families in which the method has been run; their errors are independent."""
    found = [over_seeds(rows, method, column) for rows in of.values() if by_seed(rows, method, column)]
    if not found:
        return math.nan, math.nan
    means, errors = zip(*found, strict=True)
    return statistics.fmean(means), math.sqrt(math.fsum(error**2 for error in errors)) / len(errors)


def _columns(found: Mapping[str, Sequence[tuple[float, float]]], summarise: Any) -> list[float]:
    return [float(summarise([cell[0] for cell in cells])) for cells in zip(*found.values(), strict=True)]


def _last(rows: Rows, method: str, rule: Rule, shares: Sequence[float]) -> float:
    return float(np.nan_to_num(over_seeds(rows, method, rule.column(shares[-1]))[0], nan=math.inf))


def _titles(shares: Sequence[float]) -> str:
    return "".join(f"{share:>15.0%}" for share in shares)


def _cell(mean: float, error: float, sign: str = "") -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:{sign}.3f}" if math.isnan(error) else f"{mean:{sign}.3f} ±{error:.3f}"


def draw(rows: Rows, methods: Sequence[str], rules: Sequence[str], file: Path, title: str, until: float) -> Path:
    """A row of panels for each family, one for each rule: mean regret against the share, ± one standard error."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(str(row["family"]) for row in rows))
    shares = [share for share in SHARES if share <= until]
    figure = Figure(figsize=(5.5 * len(rules), 1.2 + 3.4 * len(families)), layout="constrained")
    panels = figure.subplots(len(families), len(rules), sharey="row", squeeze=False)
    for family, line_of_panels in zip(families, panels, strict=True):
        for panel, rule in zip(line_of_panels, (RULES[name] for name in rules), strict=True):
            of = _of(rows, family, rule)
            for method in [name for name in methods if by_seed(of, name, "trials")]:
                means, errors = np.array([over_seeds(of, method, rule.column(share)) for share in shares]).T
                (line,) = panel.plot(shares, means, label=method, linewidth=1.6)
                panel.fill_between(
                    shares, means - errors, means + errors, color=line.get_color(), alpha=0.15, linewidth=0
                )
            panel.set(xscale="log", yscale="log", title=f"{family}: {rule.words}")
            printed = [share for share in PRINTED if share <= until]
            panel.set_xticks(printed, [f"{share:.0%}" for share in printed])
            panel.minorticks_off()
            panel.set_yticks(*_ticks(panel.get_ylim()))
            panel.grid(alpha=0.3)
    panels[0, 0].set_ylabel("regret")
    panels[0, -1].legend(fontsize="small")
    figure.suptitle(title)
    figure.savefig(file, dpi=150 if len(families) < 5 else 70)
    return file


def _ticks(limits: tuple[float, float]) -> tuple[list[float], list[str]]:
    wanted = [scale * digit for scale in (0.0001, 0.001, 0.01, 0.1, 1) for digit in (1, 2, 5)]
    ticks = [tick for tick in wanted if limits[0] <= tick <= limits[1] * 1.001]
    return ticks, [f"{tick:g}" for tick in ticks]
