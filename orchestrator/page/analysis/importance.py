"""Importance of parameters: how much worse a forest predicts unseen trials when it is told a wrong value of one.

Use when   a searched parameter's influence on the result is asked for, with what the record can say and no more.
Costs      `REFITS` small forests; at most `MOST` trials are used.
Not for    two parameters that always move together: the forest cannot tell which of them acts.
Source     Breiman, Random Forests, Machine Learning 2001 (permutation on held-out cases); Geurts et al., Extremely
           Randomized Trees, Machine Learning 2006. The increase of the error, halved, estimates the total Sobol index
           of a parameter (Gregorutti et al., Statistics and Computing 2017).
Differs    results are replaced by their ranks, so neither units nor a few enormous losses count; diverged trainings
           share the worst rank. The interval is the middle 90 % over refits on random parts of the trials.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.reading.influence_needs import needed_for

Array = NDArray[np.float64]

REFITS = 20  # forests, each fitted to a random part of the trials …
PART = 0.632  # … of this share, the distinct part of a bootstrap sample; the others test it
TREES = 10  # of a forest
SHUFFLES = 3  # of each parameter in the trials that test a forest
MOST = 300  # trials; more change the figures less than the interval is wide
ENDS = (0.05, 0.95)  # quantiles: the ends of an interval


@dataclass(frozen=True)
class Importance:
    """What the results of `trials` trials say about each parameter. `share`: of the variance of their ranks."""

    names: tuple[str, ...]
    share: tuple[float, ...]  # near 0, perhaps a little below, without influence
    low: tuple[float, ...]
    high: tuple[float, ...]
    explained: float  # share of the variance of unseen trials' ranks that the forest predicts; below 0: nothing
    trials: int
    used: int  # trials after subsampling

    def shows(self, name: str) -> bool:
        """Whether the interval lies above zero."""
        return self.low[self.names.index(name)] > 0

    @property
    def order(self) -> list[str]:
        """The names, the most important first."""
        return [self.names[i] for i in np.argsort(-np.array(self.share), kind="stable")]


@dataclass(frozen=True)
class TooFew:
    """There are too few trials, or nothing differs between them."""

    trials: int
    needed: int

    def __str__(self) -> str:
        if self.trials < self.needed:
            return f"{self.trials} of the {self.needed} trials needed"
        return "all results are equal"


def importance(names: Sequence[str], places: Array, losses: Array) -> Importance | TooFew:
    """`places`: (trials, parameters), on the unit interval; `losses`: (trials,), infinite for a diverged training.

    The same data give the same answer. A parameter with one value in all trials has importance 0.
    """
    from scipy.stats import rankdata

    trials = len(losses)
    if trials < needed_for(len(names)) or not len(names):
        return TooFew(trials, needed_for(len(names)))
    ranks = (rankdata(losses) - 0.5) / trials
    if np.ptp(ranks) == 0:
        return TooFew(trials, 0)
    rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(places).tobytes() + ranks.tobytes()))
    if trials > MOST:
        some = np.sort(rng.permutation(trials)[:MOST])
        places, ranks = places[some], ranks[some]
    found = np.array([_refit(places, ranks, rng) for _ in range(REFITS)])
    shares, explained = found[:, :-1], found[:, -1]
    shares = np.minimum(shares, 1.0)  # the estimate of one refit may lie above
    low, high = np.quantile(shares, ENDS, axis=0)
    return Importance(
        tuple(names), tuple(shares.mean(0).tolist()), tuple(low.tolist()), tuple(high.tolist()),
        float(explained.mean()), trials, len(ranks),
    )  # fmt: skip


def forest(places: Array, values: Array, rng: np.random.Generator) -> Forest:
    """Fit a forest of extremely randomised trees."""
    from sklearn.tree import ExtraTreeRegressor

    seeds = rng.integers(2**31, size=TREES)
    rows, told = np.ascontiguousarray(places, dtype=np.float32), np.ascontiguousarray(values, dtype=np.float64)
    trees = [ExtraTreeRegressor(min_samples_leaf=2, random_state=int(seed)) for seed in seeds]
    return Forest([tree.fit(rows, told, check_input=False) for tree in trees])  # checks take half the time


class Forest:
    """The mean of some trees."""

    def __init__(self, trees: Sequence[object]) -> None:
        self._trees = [tree.tree_ for tree in trees]  # type: ignore[attr-defined]

    def predict(self, places: Array) -> Array:
        rows = places.astype(np.float32)
        return np.asarray(np.mean([tree.predict(rows)[:, 0] for tree in self._trees], axis=0))


def _refit(places: Array, ranks: Array, rng: np.random.Generator) -> list[float]:
    """The importance of each parameter and the explained share, from one part of the trials and the rest."""
    count, parameters = places.shape
    order = rng.permutation(count)
    fitted, held = order[: round(PART * count)], order[round(PART * count) :]
    model, unseen, truth = forest(places[fitted], ranks[fitted], rng), places[held], ranks[held]
    blocks = [unseen]
    for index in range(parameters):
        for _ in range(SHUFFLES):
            wrong = unseen.copy()
            wrong[:, index] = unseen[rng.permutation(len(held)), index]
            blocks.append(wrong)
    predicted = model.predict(np.concatenate(blocks)).reshape(len(blocks), len(held))
    errors = np.mean((predicted - truth) ** 2, axis=1)
    increase = errors[1:].reshape(parameters, SHUFFLES).mean(1) - errors[0]
    variance = float(np.var(ranks))
    return [*(increase / (2 * variance)).tolist(), 1 - float(errors[0]) / variance]
