"""Does a curve fitted to the beginning of a training rank configurations better than the last value does?

    python experiments/benchmarks/beginnings.py --families late,noisy              # seconds; nothing else is needed
    python experiments/benchmarks/beginnings.py --data FOLDER --harness FOLDER     # all families of fleet.py

Forecasts  from the first tenth, fifth and two fifths of the steps of random configurations:
           "last"   the last value;
           "best"   the lowest so far;
           "trend"  the last value, and the fall over the second half once more;
           "power"  a mixture of 20 power laws with a plateau, a + b (t + c)^-k with b >= 0, weighted by likelihood;
           "change" the same from the middle on, so that a change before it does not count.
Measure    Spearman's rank correlation with the last value of the whole training, without noise where that is known:
           over all configurations / among the best third of them. A search has to choose among the good ones.
Source     power laws: Domhan et al., IJCAI 2015. That the last value is hard to beat: Mohr and van Rijn, "Learning
           curves for decision making", 2022.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import fleet
import numpy as np
from curves import Problem
from numpy.typing import NDArray

from search.models.fits import rank_correlation

Array = NDArray[np.float64]
Forecast = Callable[[Array, int], float]
"""Losses of the first steps, (n,), n >= 2, and the number of steps of a whole training → its last loss."""

SHARES = (0.1, 0.2, 0.4)
OFFSETS = (0.0, 1.0, 4.0, 16.0)
EXPONENTS = (0.1, 0.25, 0.5, 1.0, 2.0)


def trend(losses: Array, horizon: int) -> float:
    return float(2 * losses[-1] - losses[len(losses) // 2])


def power(losses: Array, horizon: int, skipped: int = 0) -> float:
    """The forecast of the mixture; `skipped` steps came before the first of `losses`."""
    offsets, exponents = (grid.reshape(-1, 1) for grid in np.meshgrid(OFFSETS, EXPONENTS))
    falling = (np.arange(1, len(losses) + 1) + offsets) ** -exponents  # (20, n): a least-squares line for each row
    centred = falling - falling.mean(axis=1, keepdims=True)
    sizes = np.maximum(centred @ losses / (centred * centred).sum(axis=1), 0.0)[:, None]
    errors = ((losses - losses.mean() - sizes * centred) ** 2).sum(axis=1)
    ends = losses.mean() + sizes * ((horizon - skipped + offsets) ** -exponents - falling.mean(axis=1, keepdims=True))
    noise = max(errors.min() / max(1, len(losses) - 3), 1e-12)
    weights = np.exp((errors.min() - errors) / (2 * noise))
    return float(weights @ ends[:, 0] / weights.sum())


def change(losses: Array, horizon: int) -> float:
    skipped = len(losses) // 2 if len(losses) >= 6 else 0
    return power(losses[skipped:], horizon, skipped)


FORECASTS: dict[str, Forecast] = {
    "last": lambda losses, horizon: float(losses[-1]),
    "best": lambda losses, horizon: float(losses.min()),
    "trend": trend,
    "power": power,
    "change": change,
}


def correlations(problem: Problem, share: float, count: int) -> dict[str, tuple[float, float]]:
    """For each forecast its rank correlation with the end: over all, and among the best third. Empty: too few steps."""
    seen = max(2, round(share * problem.horizon))
    if seen >= problem.horizon:
        return {}
    rng, beginnings, ends = np.random.default_rng(0), [], []
    for _ in range(count):
        curve = problem.curve(problem.space.sample(rng))
        losses = np.array([float(curve.losses[step]) for step in range(problem.horizon)])
        if np.isfinite(losses).all():
            beginnings.append(losses[:seen])
            ends.append(float((curve.losses if curve.truth is None else curve.truth)[problem.horizon - 1]))
    last = np.array(ends)
    good = np.argsort(last, kind="stable")[: len(last) // 3]
    found = {}
    for name, forecast in FORECASTS.items():
        expected = np.array([forecast(losses, problem.horizon) for losses in beginnings])
        found[name] = rank_correlation(expected, last), rank_correlation(expected[good], last[good])
    return found


def table(races: dict[str, list[Problem]], count: int) -> str:
    lines = [f"| family | tasks | seen | {' | '.join(FORECASTS)} |", "| --- " * (3 + len(FORECASTS)) + "|"]
    for family, problems in races.items():
        for share in SHARES:
            rows = [row for problem in problems if (row := correlations(problem, share, count))]
            if rows:
                lines.append(f"| {family} | {len(rows)} | {share:.0%} | {' | '.join(_cells(rows))} |")
    return "\n".join(lines)


def _cells(rows: Sequence[dict[str, tuple[float, float]]]) -> list[str]:
    means = {name: np.mean([row[name] for row in rows], axis=0) for name in FORECASTS}
    return [f"{over_all:.2f} / {among_good:.2f}" for over_all, among_good in means.values()]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=lambda text: text.split(","), default=None)
    parser.add_argument("--data", type=Path, help="folder of tables, see fleet.py")
    parser.add_argument("--harness", type=Path, help="folder with the surrogate of LCBench, see fleet.py")
    parser.add_argument("--count", type=int, default=150, help="random configurations of a task")
    given = parser.parse_args(arguments)
    names = given.families or [*fleet.names_of("choosing"), *fleet.names_of("reporting")]
    races, missing = fleet.load(names, fleet.Sources(given.data, given.harness))
    print(table(races, given.count))
    for name, why in missing.items():
        print(f"{name} left out: {why}")


if __name__ == "__main__":
    main()
