"""What an ask-and-tell search does with earlier ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pandas
import pytest

from search.ask_and_tell import AskAndTell
from search.contract import Searcher
from search.history import History
from search.records import Config, Goal, Status
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, choice, loguniform, uniform, when

SPACE = Space({"lr": loguniform(1e-4, 1), "opt": choice(["a", "b"])})


def loss(config: Config) -> float:
    return float((math.log10(config["lr"]) + 2) ** 2 + (config["opt"] == "a"))


def searched(tuning: AskAndTell) -> AskAndTell:
    while (trial := tuning.ask()) is not None:
        tuning.tell(trial, 1, loss(trial.config))
    return tuning


@pytest.mark.parametrize("searcher", [Random(), Tpe(), MultitaskSearch()], ids=lambda each: type(each).__name__)
def test_the_best_of_an_earlier_search_start_first_and_no_other_is_drawn_again(searcher: Searcher) -> None:
    old = searched(AskAndTell(SPACE, Random(), horizon=1, limit=20)).history
    new = searched(AskAndTell(SPACE, searcher, horizon=1, limit=9, earlier=[old])).history
    again = [old.known(trial.config) is not None for trial in new]
    assert again == [True] * 3 + [False] * 6
    assert new.trials[0].loss == min(trial.loss for trial in old)


def test_what_is_no_list_of_histories_is_refused_with_a_remedy() -> None:
    old = searched(AskAndTell(SPACE, Random(), horizon=1, limit=3))
    wrong: list[tuple[Any, str]] = [
        (old.history, r"must be a list of histories, such as \[old.history\]"),
        (old, r"must be a list of histories, such as \[old.history\]"),
        (old.save(), r"must be a list of histories"),
        (None, r"earlier=None\): must be a list of histories"),
        ([old], r"must hold histories; write \[old.history\]"),
        ([old.save()], r"load what `save` returned into an AskAndTell, old, and write \[old.history\]"),
    ]
    for given, words in wrong:
        with pytest.raises(ValueError, match=words):
            AskAndTell(SPACE, Random(), horizon=1, earlier=given)
    other = Space({"lr": loguniform(1e-4, 1), "depth": choice([1, 2])})
    with pytest.raises(ValueError, match="this one has a parameter 'depth', and the earlier one has none"):
        AskAndTell(other, Random(), horizon=1, earlier=[old.history])


def test_an_earlier_search_that_teaches_nothing_says_so() -> None:
    old = searched(AskAndTell(SPACE, Random(), horizon=1, limit=3))
    elsewhere = Space({"lr": loguniform(10, 100), "opt": choice(["a", "b"])})
    with pytest.warns(UserWarning, match="a history of 3 trials teaches nothing: no full training of it has a result"):
        AskAndTell(elsewhere, Tpe(), horizon=1, earlier=[old.history])


CONDITIONAL = Space(
    {"lr": loguniform(1e-4, 1), "opt": choice(["a", "b"]), "momentum": when(uniform(0.0, 1.0), opt="a")}
)


def study() -> optuna.Study:
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(12):
        trial = made.ask()
        config: Config = {
            "lr": trial.suggest_float("lr", 1e-4, 1, log=True), "opt": trial.suggest_categorical("opt", ["a", "b"])
        }  # fmt: skip
        if config["opt"] == "a":
            trial.suggest_float("momentum", 0, 1)
        made.tell(trial, loss(config))
    return made


def test_a_study_of_optuna_or_its_table_is_an_earlier_search() -> None:
    made = study()
    rows = made.trials_dataframe().to_dict("records")
    names = CONDITIONAL.names
    table = [({name: row[f"params_{name}"] for name in names}, row["value"]) for row in rows]
    by_trials = History.of(CONDITIONAL, [(trial.params, trial.value or 0.0) for trial in made.trials])
    by_table = History.of(CONDITIONAL, table)
    assert any(pandas.isna(config["momentum"]) for config, _ in table)
    for old in (by_trials, by_table):
        assert [trial.config for trial in old] == [trial.params for trial in made.trials]
        assert [trial.loss for trial in old] == [trial.value for trial in made.trials]
        first = AskAndTell(CONDITIONAL, MultitaskSearch(), horizon=9, earlier=[old]).ask()
        assert first is not None
        assert first.config == made.best_params


@pytest.mark.parametrize("empty", [math.nan, np.nan, np.float32("nan"), None])
def test_an_empty_cell_of_an_inactive_parameter_counts_as_left_out(empty: Any) -> None:
    point = {"lr": 0.1, "opt": "b", "momentum": empty}
    tuning = AskAndTell(CONDITIONAL, Random(), horizon=1, points=[point])
    first = tuning.ask()
    assert first is not None
    assert first.config == {"lr": 0.1, "opt": "b"}
    with pytest.raises(ValueError, match=r'"momentum" = (nan|None) is not allowed'):
        AskAndTell(CONDITIONAL, Random(), horizon=1, points=[point | {"opt": "a"}])


def test_results_from_elsewhere_have_the_sign_of_their_goal_and_what_is_none_is_refused() -> None:
    space = Space({"x": uniform(0.0, 1.0)})
    old = History.of(
        space, [({"x": 0.1}, 0.5), ({"x": 0.2}, 0.9), ({"x": 0.3}, math.nan)], goal=Goal("accuracy", "max")
    )
    assert [trial.loss for trial in old][:2] == [-0.5, -0.9]
    assert [trial.status for trial in old][1:] == [Status.COMPLETED, Status.DIVERGED]
    for wrong, words in ((({"x": 2.0}, 0.5), "not allowed"), (({"x": 0.5}, None), "result 0 of .* is None")):
        with pytest.raises(ValueError, match=words):
            History.of(space, [wrong])  # type: ignore[list-item]
