"""How good is the best of the first random configurations, drawn evenly or from the middle of the logarithmic ranges?

    python experiments/benchmarks/starts.py --families resnet,mlp                         # nothing else is needed
    python experiments/benchmarks/starts.py --fleet all --data FOLDER --harness FOLDER    # half an hour

Draws      evenly, as `Random()`; bracketed, as the first configurations of `MultitaskSearch()` and `BayesSearch()`: three
           in four from the middle of the logarithmic ranges (`Space.sample(bracketed=True)`), one in four evenly.
Measure    the regret of the best of k full trainings, as in regret.py, mean over the tasks of a family. Each is estimated
           from `--draws` configurations of each kind, of which k are taken 3,000 times; "better" counts the tasks on
           which the best of eight is better or worse by more than 0.01.
Search     none: it tells what the first configurations are worth, before any rule for the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import fleet
import numpy as np
from curves import Problem
from numpy.typing import NDArray

from search.rules.proposals import EVENLY

COUNTS = (4, 8, 16, 32)
TIMES = 3000


def regrets(problem: Problem, draws: int, *, bracketed: bool) -> NDArray[np.float64]:
    """(draws,): the regret of random configurations trained to the end."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(draws):
        config = problem.space.sample(rng, bracketed=bracketed and number % EVENLY != EVENLY - 1)
        curve = problem.curve(config)
        losses = curve.losses if curve.truth is None else curve.truth
        found.append(float(losses[problem.horizon - 1]))
    share = (np.array(found) - problem.best) / (problem.typical - problem.best)
    return np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0)


def best_of(regrets: NDArray[np.float64]) -> list[float]:
    """The expected lowest of k of them, for each k of COUNTS."""
    rng = np.random.default_rng(0)
    return [float(rng.choice(regrets, (TIMES, count)).min(axis=1).mean()) for count in COUNTS]


def measured(problems: Sequence[Problem], draws: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(tasks, k): the regret of the best of k, evenly and bracketed."""
    evenly = [best_of(regrets(problem, draws, bracketed=False)) for problem in problems]
    bracketed = [best_of(regrets(problem, draws, bracketed=True)) for problem in problems]
    return np.array(evenly), np.array(bracketed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleet", choices=("choosing", "reporting", "all"))
    parser.add_argument("--families", default="resnet,mlp,lstm,bert", help=f"of {', '.join(fleet.FAMILIES)}")
    parser.add_argument("--data", type=Path, help="folder that has lcbench_surrogate, taskset_rnn and opda")
    parser.add_argument("--harness", type=Path, help="folder of the harness that reads the surrogate of LCBench")
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    names = fleet.names_of(given.fleet) if given.fleet else given.families.split(",")
    families, missing = fleet.load(names, fleet.Sources(given.data, given.harness))
    for name, why in missing.items():
        print(f"{name}: left out, {why}")
    print("| family | tasks | " + " | ".join(f"best of {count}" for count in COUNTS) + " | better, worse |")
    print("| --- | --- |" + " --- |" * (len(COUNTS) + 1))
    for name, problems in families.items():
        evenly, bracketed = measured(problems, given.draws)
        cells = [f"{a:.3f} → {b:.3f}" for a, b in zip(evenly.mean(axis=0), bracketed.mean(axis=0), strict=True)]
        change = (bracketed - evenly)[:, COUNTS.index(8)]
        better = f"{(change < -0.01).sum()}, {(change > 0.01).sum()}"
        print(f"| {name} | {len(problems)} | {' | '.join(cells)} | {better} |", flush=True)


if __name__ == "__main__":
    main()
