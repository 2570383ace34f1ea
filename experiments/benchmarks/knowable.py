"""How much of a training's end can a model know from its configuration, on recorded tables?

    python experiments/benchmarks/knowable.py --families resnet,lstm,bert,mlp            # nothing else is needed
    python experiments/benchmarks/knowable.py --data FOLDER                              # with opda: five minutes

Model      a Gaussian process (Matern-5/2, a width for each parameter) on the ranks of losses.
It knows   "others"   the ends of all rows but those it forecasts (ten parts, each forecast from the other nine): more than
                      any search can know;
           "told"     what `--trainings` full trainings buy if they are spent on two steps of each of many random
                      configurations. As in the race, the nearest row answers, and the model is not told which;
           "true"     the same, but the model is told the row's own configuration, as in a training of one's own.
Measure    Spearman's rank correlation of forecast and end: of "others" over all rows / among the best third of them, of the
           rest over 400 random configurations; and how many of the 20 that the model ranks first are among the best 5 %
           (by chance one in twenty), mean of `--seeds`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import fleet
import numpy as np
from curves import Table
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from search.models.fits import rank_correlation

Array = NDArray[np.float64]

STEPS = 2  # of each random configuration
MOST = 120  # of them: enough for the model, and cubic cost
ASKED = 400
FAMILIES = ("opda", "resnet", "mlp", "lstm", "bert")  # TaskSet's tables have 1,000 rows each: an hour


def forecast(places: Array, losses: Array, asked: Array) -> Array:
    """(n, p), (n,), (m, p) → (m,): the expected rank at the places asked."""
    kernel = ConstantKernel() * Matern(np.ones(places.shape[1]), (0.05, 20), nu=2.5) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, normalize_y=True).fit(places, losses.argsort().argsort() / len(losses))
    return np.asarray(model.predict(asked))


def others(table: Table) -> tuple[float, float]:
    """The rank correlations over all rows and among the best third, each row forecast from the other parts' ends."""
    ends, expected = ends_of(table), np.zeros(len(table.units))
    for known, asked in KFold(10, shuffle=True, random_state=0).split(table.units):
        expected[asked] = forecast(table.units[known], ends[known], table.units[asked])
    good = ends.argsort(kind="stable")[: len(ends) // 3]
    return rank_correlation(expected, ends), rank_correlation(expected[good], ends[good])


def bought(table: Table, trainings: int, seed: int) -> list[float]:
    """Rank correlation and share of the best, of a model that is told the proposals' places, then the rows' own."""
    rng = np.random.default_rng(seed)
    count = min(trainings * table.horizon // STEPS, MOST)
    drawn, asked = (np.array([_random(table, rng) for _ in range(n)]) for n in (count, ASKED))
    rows, ends = nearest(table, drawn), ends_of(table)[nearest(table, asked)]
    best = np.quantile(ends_of(table), 0.05)
    seen = _finite(table.losses[:, STEPS - 1])[rows]
    found = []
    for places, questions in ((drawn, asked), (table.units[rows], table.units[nearest(table, asked)])):
        expected = forecast(places, seen, questions)
        found += [rank_correlation(expected, ends), float((ends[expected.argsort()[:20]] <= best).mean())]
    return found


def ends_of(table: Table) -> Array:
    return _finite(table.losses[:, -1])


def nearest(table: Table, units: Array) -> NDArray[np.int64]:
    return np.asarray(((table.units[None] - units[:, None]) ** 2).sum(axis=2).argmin(axis=1))


def _random(table: Table, rng: np.random.Generator) -> Array:
    return table.space.to_unit(table.space.sample(rng))


def _finite(losses: Array) -> Array:
    """What diverged is as bad as the worst."""
    return np.where(np.isfinite(losses), losses, np.nanmax(losses))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=lambda text: text.split(","), default=list(FAMILIES))
    parser.add_argument("--data", type=Path, help="folder of tables, see fleet.py")
    parser.add_argument("--trainings", type=lambda text: [int(word) for word in text.split(",")], default=[5, 12])
    parser.add_argument("--seeds", type=int, default=6)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # a width at its bound
    races, missing = fleet.load(given.families, fleet.Sources(given.data))
    print("| family | others | trainings | told | true |\n| --- | --- | --- | --- | --- |")
    for family, problems in races.items():
        tables = cast(list[Table], problems)
        over_all, among_good = np.mean([others(table) for table in tables], axis=0)
        for trainings in given.trainings:
            rows = [bought(table, trainings, seed) for table in tables for seed in range(given.seeds)]
            told, told_best, true, true_best = np.mean(rows, axis=0)
            print(
                f"| {family} | {over_all:.2f} / {among_good:.2f} | {trainings} | {told:.2f}, {20 * told_best:.1f} of 20 "
                f"| {true:.2f}, {20 * true_best:.1f} of 20 |",
                flush=True,
            )
    for name, why in missing.items():
        print(f"{name} left out: {why}")


if __name__ == "__main__":
    main()
