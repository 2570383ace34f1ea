"""How right the report's importances and intervals are, on functions where the truth is known.

    python experiments/benchmarks/report_numbers.py  # five minutes on one core

Importance: six parameters, 20 seeds for each function and number of trials; the mean share of each parameter, how often
it is said to have an influence, and how often that is a false alarm. Rank correlation: how often the 90 % interval holds
the truth, over 200 pairs of normal rows. `docs/report_methods.md` quotes the figures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.page.analysis.importance import Importance, importance
from orchestrator.page.analysis.rank_correlation import spearman

Array = NDArray[np.float64]

NAMES = "abcdef"  # f is a choice of three options
SEEDS, FIRST = 20, 1000
TRIALS = (30, 60, 200)
OPTIONS = np.array([0.0, 2.0, 0.5])


@dataclass(frozen=True)
class Truth:
    """A function of six parameters in [0, 1], the deviation of its noise as a share of its own, and what acts in it."""

    name: str
    function: Callable[[Array], Array]
    noise: float
    active: str


TRUTHS = (
    Truth("noise", lambda x: 0 * x[:, 0], 1.0, ""),
    Truth("3a + b", lambda x: 3 * x[:, 0] + x[:, 1], 0.1, "ab"),
    Truth("3a + b, as much noise", lambda x: 3 * x[:, 0] + x[:, 1], 1.0, "ab"),
    Truth("interaction", lambda x: (x[:, 0] - 0.5) * (x[:, 1] - 0.5), 0.1, "ab"),
    Truth("choice + a", lambda x: OPTIONS[(x[:, 5] * 3).astype(int)] + x[:, 0], 0.1, "af"),
    Truth("bowl", lambda x: 4 * (x[:, 0] - 0.3) ** 2 + (x[:, 1] - 0.6) ** 2, 0.1, "ab"),
)


def answer(truth: Truth, trials: int, seed: int) -> Importance:
    rng = np.random.default_rng(seed)
    x = rng.random((trials, len(NAMES)))
    x[:, 5] = (rng.integers(0, 3, trials) + 0.5) / 3
    values = truth.function(x)
    values = values + truth.noise * (values.std() or 1.0) * rng.normal(size=trials)
    found = importance(list(NAMES), x, values)
    assert isinstance(found, Importance)
    return found


def importances() -> None:
    alarms: list[bool] = []
    for truth in TRUTHS:
        for trials in TRIALS:
            found = [answer(truth, trials, FIRST + seed) for seed in range(SEEDS)]
            shares = np.mean([each.share for each in found], axis=0)
            shows = np.mean([[each.shows(name) for name in NAMES] for each in found], axis=0)
            alarms += [each.shows(name) for each in found for name in NAMES if name not in truth.active]
            print(f"{truth.name:22} {trials:3} trials  share {shares.round(2)}  shows {shows.round(2)}", flush=True)
    print(f"false alarms: {sum(alarms)} of {len(alarms)}")


def intervals() -> None:
    for count in (15, 40, 200):
        for rho in (0.3, 0.7, 0.95):
            truth, holds = 6 / math.pi * math.asin(rho / 2), []
            for seed in range(200):
                early, noise = np.random.default_rng(seed).normal(size=(2, count))
                found = spearman(early, rho * early + math.sqrt(1 - rho**2) * noise)
                assert found is not None
                holds.append(found.low <= truth <= found.high)
            print(f"{count:3} configurations, correlation {rho}: the interval holds the truth in {np.mean(holds):.0%}")


if __name__ == "__main__":
    importances()
    intervals()
