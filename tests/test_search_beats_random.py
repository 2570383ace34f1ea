"""The clever searchers beat the plain one: seeds, n and a threshold."""

from __future__ import annotations

import math
from importlib.util import find_spec
from statistics import mean

import pytest

from search.contract import Searcher, Verdict
from search.history import History, Trial
from search.records import Config, End, Report, Status, Suggestion
from search.schedulers.hyperband import Hyperband
from search.searchers.bayes import BayesSearch
from search.searchers.bohb import BohbSearch
from search.searchers.cmaes import CmaEs
from search.searchers.optuna import GaussianProcess, Tpe
from search.searchers.pb2 import Pb2
from search.searchers.pbt import PopulationBasedTraining
from search.searchers.random import Random
from search.space import Space, loguniform, randint, uniform
from tests.populations import run

needs_botorch = pytest.mark.skipif(find_spec("botorch") is None, reason="Python 3.10 has no botorch")
SPACE = Space(
    {"lr": loguniform(1e-5, 1), "momentum": uniform(0, 1), "decay": loguniform(1e-6, 1e-1), "layers": randint(1, 16)}
)
SMOOTH = Space({"lr": loguniform(1e-5, 1), "momentum": uniform(0, 1), "decay": loguniform(1e-6, 1e-1)})


def valley(config: Config) -> float:
    """A bent bowl over all parameters; its lowest value is 0."""
    lr, decay = math.log10(config["lr"]) + 2, math.log10(config["decay"]) + 4
    depth = (config.get("layers", 6) - 6) / 8
    return lr**2 + 4 * (config["momentum"] - 0.7 + 0.1 * lr) ** 2 + 0.5 * decay**2 + depth**2


def best_losses(searcher: Searcher, space: Space, *, trials: int, seeds: int) -> list[float]:
    best = []
    for seed in range(seeds):
        history = History(space, horizon=1, seed=seed)
        for _ in range(trials):
            suggestion = searcher.suggest(history)
            assert suggestion is not None
            trial = history.append(suggestion)
            history.append(Report(trial.number, 1, valley(trial.config)))
            history.append(End(trial.number, Status.COMPLETED))
        best.append(min(trial.loss for trial in history))
    return best


@pytest.mark.parametrize(
    ("searcher", "space", "trials", "seeds"),
    [
        (Tpe(), SPACE, 60, 10),
        (CmaEs(), SPACE, 80, 10),
        pytest.param(GaussianProcess(n_startup_trials=4), SMOOTH, 13, 10, marks=pytest.mark.slow),
        pytest.param(BayesSearch(n_initial=4), SMOOTH, 13, 10, marks=[needs_botorch, pytest.mark.slow]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Searcher) else None,
)
def test_the_model_beats_random_search_with_as_many_trials(
    searcher: Searcher, space: Space, trials: int, seeds: int
) -> None:
    """At most half of random search's mean best loss, and better for at least 3 seeds of 4."""
    model = best_losses(searcher, space, trials=trials, seeds=seeds)
    plain = best_losses(Random(), space, trials=trials, seeds=seeds)
    wins = sum(a < b for a, b in zip(model, plain, strict=True))
    assert mean(model) <= 0.5 * mean(plain), (mean(model), mean(plain))
    assert wins >= 0.75 * seeds, wins


def best_in_hyperband(searcher: Searcher, *, steps: int, seed: int) -> float:
    """The best loss of a full training after so many steps in all; curves fall towards the valley's floor."""
    scheduler, history = Hyperband(), History(SPACE, horizon=27, seed=seed)
    while steps > 0:
        suggestion = scheduler.promote(history) or searcher.suggest(history)
        assert isinstance(suggestion, Suggestion)
        trial = history.append(suggestion)
        while trial.status is Status.RUNNING:
            steps -= 1
            step = trial.step + 1
            history.append(Report(trial.number, step, valley(trial.config) + trial.config["momentum"] / step))
            if step == 27:
                history.append(End(trial.number, Status.COMPLETED))
            elif scheduler.judge(trial, history) is Verdict.STOP:
                history.append(End(trial.number, Status.STOPPED))
    return min(trial.loss for trial in history.having(Status.COMPLETED))


@pytest.mark.slow
def test_bohb_beats_hyperband_with_random_configurations() -> None:
    """At the cost of 60 full trainings: at most 0.7 of the mean best loss, better for at least 3 seeds of 4."""
    model = [best_in_hyperband(BohbSearch(), steps=60 * 27, seed=seed) for seed in range(12)]
    plain = [best_in_hyperband(Random(), steps=60 * 27, seed=seed) for seed in range(12)]
    wins = sum(a < b for a, b in zip(model, plain, strict=True))
    assert mean(model) <= 0.7 * mean(plain), (mean(model), mean(plain))
    assert wins >= 9, wins


def drifting_progress(searcher: Searcher, seed: int, steps: int = 120) -> float:
    """What the best of a population reaches where a step gains less the further x is from an optimum that wanders."""
    gained: dict[tuple[int, int], float] = {}

    def loss(trial: Trial, step: int) -> float:
        before = (trial.number, step - 1) if step - 1 > trial.began else (trial.parent, step - 1)
        gain = drifting_gain(trial.config["x"], step / steps)
        gained[trial.number, step] = gained.get(before, 0.0) + gain  # type: ignore[call-overload]
        return -gained[trial.number, step]

    history = History(Space({"x": uniform(0, 1)}), horizon=steps, seed=seed, limit=4)
    run(searcher, history, loss, workers=4, seed=seed)
    return max(gained[trial.number, steps] for trial in history.having(Status.COMPLETED)) / steps


def drifting_gain(x: float, share: float) -> float:
    return math.exp(-((x - 0.75 + 0.5 * share) ** 2) / (2 * 0.15**2))


@pytest.mark.slow
def test_a_population_beats_the_best_fixed_setting_where_the_optimum_drifts() -> None:
    """Means of 8 seeds, population 4: PBT beats the best of 201 fixed settings, and PB2 beats PBT."""
    grid = max(mean(drifting_gain(x / 200, step / 120) for step in range(1, 121)) for x in range(201))
    pbt = mean(drifting_progress(PopulationBasedTraining(4, quantile=0.25), seed) for seed in range(8))
    pb2 = mean(drifting_progress(Pb2(4), seed) for seed in range(8))
    assert grid < pbt < pb2, (grid, pbt, pb2)
