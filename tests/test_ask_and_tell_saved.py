"""A saved search under other settings than those that it was saved with."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from search.ask_and_tell import AskAndTell
from search.contract import Searcher
from search.records import Began, Goal
from search.schedulers.asha import Asha
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, uniform
from search.task import Task

SPACE = Space({"x": uniform(0.0, 1.0)})


def tuning(searcher: Searcher | None = None, **changes: Any) -> AskAndTell:
    return AskAndTell(SPACE, searcher or Random(), **({"horizon": 3, "limit": 4} | changes))


def finished(search: AskAndTell) -> AskAndTell:
    while (trial := search.ask()) is not None:
        for step in search.steps(trial):
            if not search.tell(trial, step, trial.config["x"] + 1 / step):
                break
    return search


def without_settings(text: str) -> str:
    """As an earlier release has saved it."""
    return json.dumps([row for row in json.loads(text) if row["record"] != "Settings"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"limit": 7}),
        ({}, {"limit": None, "budget": 7}),
        ({"limit": None, "budget": 4}, {"limit": None, "budget": 7}),
    ],
)
@pytest.mark.parametrize("change", [str, without_settings])
def test_a_search_that_was_over_goes_on_under_a_larger_limit(before: Any, after: Any, change: Any) -> None:
    old = finished(tuning(**before))
    assert old.over
    new = tuning(**after)
    new.load(change(old.save()))
    assert finished(new).over
    assert len(new.history.trials) == 7
    same = tuning(**before)
    same.load(change(old.save()))
    assert same.ask() is None
    assert same.over == old.over


@pytest.mark.parametrize("change", [str, without_settings])
def test_a_target_that_was_reached_stays_reached(change: Any) -> None:
    old = finished(tuning(target=2.0))
    new = tuning(target=2.0)
    new.load(change(old.save()))
    assert new.ask() is None
    assert new.over == old.over != ""


def test_under_the_same_settings_nothing_is_added() -> None:
    old = finished(tuning(Tpe(), finalists=1, baseline={"x": 0.5}, points=[{"x": 0.25}]))
    new = tuning(Tpe(), finalists=1, baseline={"x": 0.5}, points=[{"x": 0.25}])
    new.load(old.save())
    assert new.records == old.records
    assert new.over


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 9}, "horizon was 3 and is 9"),
        ({"goal": Goal("accuracy", "max")}, "goal was {'metric': 'loss', 'mode': 'min'} and is"),
        (
            {"tasks": [Task.changed("short", 0.2, size=64), Task("full", 1.0)]},
            "the task 'short' was [1.0, {'size': 32}, False] and is [1.0, {'size': 64}, False]",
        ),
    ],
)
def test_settings_that_give_old_losses_another_meaning_are_refused(changes: dict[str, Any], words: str) -> None:
    old = finished(tuning(tasks=[Task.changed("short", 0.2, size=32), Task("full", 1.0)]))
    new = tuning(**changes)
    with pytest.raises(ValueError, match="do not mean the same any more") as caught:
        new.load(old.save())
    assert words in str(caught.value)
    assert not new.records


class Own(Searcher):
    """Its repr has an address."""

    def suggest(self, history: Any) -> Any:
        return Random().suggest(history)


def test_another_searcher_scheduler_or_seed_is_told_and_the_search_goes_on() -> None:
    old = finished(tuning())
    new = AskAndTell(SPACE, Tpe(), Asha(), horizon=3, limit=6, seed=1)
    with pytest.warns(
        UserWarning, match=r"searcher was Random\(\) and is Tpe\(\); scheduler was .*; seed was 0 and is 1"
    ):
        new.load(old.save())
    assert isinstance(new.records[-1], Began)
    assert len(finished(new).history.trials) == 6
    own = tuning(Own())
    own.load(finished(tuning(Own())).save())
    assert own.over
    assert math.isfinite(own.history.trials[0].loss)
