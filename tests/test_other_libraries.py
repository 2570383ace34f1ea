"""What a user of Optuna or Ray Tune writes first, and what we answer."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import BadInput
from orchestrator.sweep import Sweep
from search.space import Space, loguniform

SPACE = Space({"lr": loguniform(1e-5, 1)})


def objective(trial: Any) -> Any:
    return abs(trial.suggest_float("rate", 1e-5, 1, log=True))


def asks(t: Any) -> Any:
    return t.suggest_int(name="layers", low=1, high=4)


def hands_on(trial: Any) -> Any:
    return objective(trial)


def is_a_dict(trial: Any) -> Any:
    return trial["lr"]


@pytest.mark.parametrize(
    ("train", "remedy"),
    [
        (objective, r"config\['rate'\] in place of trial.suggest_float\('rate', …\)"),
        (asks, r"config\['layers'\] in place of t.suggest_int\('layers', …\)"),
        (hands_on, r"config\['lr'\]"),
    ],
)
def test_an_objective_of_optuna_is_refused(train: Any, remedy: str) -> None:
    with pytest.raises(BadInput, match=rf"takes an Optuna trial.*{remedy}.*declare the ranges in Space"):
        Sweep("mine", train, SPACE, minimize="loss", steps=1)


def test_a_configuration_may_be_named_trial() -> None:
    assert Sweep("mine", is_a_dict, SPACE, minimize="loss", steps=1).workload.train is is_a_dict
