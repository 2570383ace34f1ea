"""Copies: configurations that train the same as another one teach a search nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("botorch")

from search.ask_and_tell import AskAndTell
from search.history import History, key_of
from search.models.candidates import Encoding
from search.models.copies import distance_of_copies, twins_of
from search.models.fidelities import Configuration, configurations_of, fidelities_of
from search.models.outcome_transform import OutcomeTransforms
from search.models.training_data import training_data
from search.records import Config, End, Report, Status, start
from search.searchers.multitask import MultitaskSearch
from search.space import Space, uniform
from search.task import FULL

SPACE = Space({"x": uniform(0.0, 1.0), "y": uniform(0.0, 1.0), "z": uniform(0.0, 1.0)})
Trained = tuple[float, list[float], str]
"""The place x, the losses, and the origin."""


def history_of(trainings: Sequence[Trained]) -> History:
    history = History(SPACE, horizon=9, seed=0)
    for number, (x, losses, origin) in enumerate(trainings):
        history.append(start({"x": x, "y": 0.5, "z": 0.5}, origin=origin))
        for step, loss in enumerate(losses, 1):
            history.append(Report(number, step, loss))
        broke = not math.isfinite(losses[-1])
        history.append(End(number, Status.FAILED if broke else Status.STOPPED))
    return history


def known_of(trainings: Sequence[Trained]) -> list[Configuration]:
    history = history_of(trainings)
    return configurations_of(history, fidelities_of(history))


RANDOM: list[Trained] = [(0.1 * number, [1.0 + 0.1 * number, 0.9 + 0.01 * number], "random") for number in range(6)]


def test_the_one_that_trained_longest_is_no_copy() -> None:
    known = known_of([*RANDOM, (0.21, [1.2, 0.92, 0.5], "model"), (0.22, [1.2], "model"), (0.23, [1.2, 0.7], "model")])
    assert twins_of(known) == {2: 6, 7: 6}  # the last one differs at its second step


def test_a_broken_training_has_no_copies() -> None:
    assert twins_of(known_of([*RANDOM, (0.21, [1.2, math.nan], "model")])) == {}


def test_a_metric_that_ties_by_chance_makes_no_copies() -> None:
    coarse: list[Trained] = [(0.1 * number, [0.9 if number % 3 else 0.8], "random") for number in range(9)]
    assert twins_of(known_of(coarse)) == {}
    assert distance_of_copies(known_of(coarse)) == 0.0


def test_new_ones_keep_the_distance_up_to_which_half_were_copies() -> None:
    near: list[Trained] = [(0.22, [1.2], "model"), (0.24, [1.2], "model"), (0.43, [1.43], "model")]
    far: list[Trained] = [(0.85, [2.0], "model"), (0.97, [1.2], "model")]  # a copy, but farther away than others are
    assert distance_of_copies(known_of(RANDOM)) == 0.0
    assert distance_of_copies(known_of([*RANDOM, near[0]])) == 0.0  # one copy alone tells of no distance
    assert distance_of_copies(known_of([*RANDOM, *near])) == pytest.approx(0.02)
    assert distance_of_copies(known_of([*RANDOM, *near, *far])) == pytest.approx(0.02)


def test_a_forecast_of_a_copy_is_made_without_its_twin() -> None:
    history = history_of([*RANDOM, (0.22, [1.2, 0.92], "model")])
    fidelities = fidelities_of(history)
    known = configurations_of(history, fidelities)
    data = training_data(history, known, fidelities, OutcomeTransforms(history.trials, [FULL]), Encoding(SPACE))
    of_copy = data.groups[np.isclose(data.places[:, 0], 0.22)]
    assert set(of_copy.tolist()) == {2}


def cells(config: Config, step: int) -> float:
    """A bowl that the user's code rounds to tenths."""
    x, y, z = (round(config[name], 1) for name in ("x", "y", "z"))
    return float(
        (x - 0.31) ** 2 + 2 * (y - 0.61) ** 2 + 0.5 * (z - 0.52) ** 2 + 0.3 / step * (1 + x / 7 + y / 5 + z / 3)
    )


@pytest.mark.slow
def test_the_search_trains_no_copy_further_and_starts_few() -> None:
    tuning = AskAndTell(SPACE, MultitaskSearch(), horizon=9, seed=1)
    running = []
    for _ in range(120):
        trial = tuning.ask()
        assert trial is not None
        running.append(trial)
        running = [t for t in running if tuning.tell(t, t.step + 1, cells(t.config, t.step + 1), cost_seconds=1.0)]
        while running:
            running = [t for t in running if tuning.tell(t, t.step + 1, cells(t.config, t.step + 1), cost_seconds=1.0)]
    seen: dict[str, int] = {}
    further = copies = 0
    for trial in tuning.history.trials:
        cell = key_of({name: round(value, 1) for name, value in trial.config.items()})
        if cell in seen:
            copies += trial.first_origin == "model"
            further += trial.step > 1 and seen[cell] > 1
        seen[cell] = max(seen.get(cell, 0), trial.step)
    models = sum(trial.first_origin == "model" for trial in tuning.history.trials)
    assert models >= 10
    assert further == 0
    assert copies <= models / 3
