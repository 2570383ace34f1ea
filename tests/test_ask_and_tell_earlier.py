"""What an ask-and-tell search does with earlier ones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from search.ask_and_tell import AskAndTell
from search.contract import Searcher
from search.records import Config
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, choice, loguniform

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
