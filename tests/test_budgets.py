"""Budgets, and searchers that have had enough or go on without room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from search.contract import Searcher
from search.history import History
from search.records import End, Report, Status, Suggestion, start
from search.schedulers.asha import Asha
from search.searchers.points import Points
from search.searchers.random import Random
from search.space import Space, uniform
from search.task import FULL, Task
from tests.climbing import Climbing
from tests.support import recorded, sequence, simulated, small_sweep
from tests.tasked import POINT, Confused, tasked
from trainables.workloads.quadratic import Quadratic

# Budgets.


@pytest.mark.parametrize("workers", [1, 3])
def test_a_budget_ends_the_search_when_it_is_reached(tmp_path: Path, workers: int) -> None:
    driver = simulated(tmp_path, tasked(budget=3.0, num_samples=None), workers=workers)
    assert driver.sweep.limit is None
    assert 3.0 <= driver.history.spent < 3.0 + 1.0
    assert driver.over == "the budget of 3 full trainings is used up"
    assert [row["reason"] for row in recorded(tmp_path, "search_end")] == [driver.over]
    before = sequence(tmp_path)
    assert simulated(tmp_path, tasked(budget=3.0, num_samples=None)).over == driver.over
    assert sequence(tmp_path) == before
    more = simulated(tmp_path, tasked(budget=5.0, num_samples=None), workers=workers)
    assert 5.0 <= more.history.spent < 6.0
    assert len(recorded(tmp_path, "search_end")) == 2


def test_running_trials_are_committed(tmp_path: Path) -> None:
    """Four workers, a budget of two: the third training is not started although nothing is spent yet."""
    driver = simulated(tmp_path, small_sweep(budget=2.0, num_samples=None), workers=4)
    assert [trial.status for trial in driver.history] == [Status.COMPLETED] * 2


def test_what_a_scheduler_saves_goes_to_more_configurations(tmp_path: Path) -> None:
    sweep = tasked(searcher=Random(), tasks=(), num_samples=None, budget=6.0, scheduler=Asha(reduction_factor=2))
    driver = simulated(tmp_path, sweep)
    assert len(driver.history.trials) > 6
    assert 6.0 <= driver.history.spent < 7.0


def test_a_task_that_costs_more_than_declared_is_charged_so(tmp_path: Path) -> None:
    """The task says a tenth; it trains on half of the data, and the clock says a half."""
    tasks = [Task.changed("half", 0.1, data_share=0.5), *Task.epochs(1.0)]
    workload = Quadratic(horizon=4, declared_cost=10.0)
    driver = simulated(tmp_path, tasked(tasks=tasks, workload=workload, num_samples=30, searcher=Climbing(many=2)))
    history = driver.history
    assert history.costs.trained(FULL) >= 10 * 4
    assert 0.4 < history.cost_of("half") < 0.5
    assert history.cost_of(FULL) == 1.0
    assert history.spent == pytest.approx(
        (history.costs.trained(FULL) + history.costs.trained("half") * history.cost_of("half")) / 4
    )


def test_a_training_that_was_held_up_is_no_measurement_of_its_task() -> None:
    """A process was stopped for a quarter of an hour; the search's budget was used up by that."""
    tasks = Task.data(0.25, 1.0)
    history = History(Space({"x": uniform(0, 1)}), horizon=4, seed=0, tasks=tasks)
    for number in range(12):
        task = tasks[number % 2].name
        history.append(replace(start({"x": 0.1}, task=task), trial=number))
        for step in range(1, 5):
            seconds = 824.0 if (number, step) == (6, 3) else (0.05 if number % 2 == 0 else 0.2) * (1 + number % 3)
            history.append(Report(number, step, 1.0, seconds))
        history.append(End(number, Status.COMPLETED))
    assert history.cost_of(tasks[0]) == pytest.approx(0.25, rel=0.2)
    assert history.spent == pytest.approx(6 * 0.25 + 6, rel=0.1)


# Enough, and searchers that go on without room.


def test_enough_ends_the_search_and_running_trials_finish(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked(searcher=Climbing(enough=5), num_samples=50), workers=2)
    assert driver.over == "Climbing: 5 trials are enough for anybody"
    assert not driver.history.having(Status.RUNNING)
    assert len(driver.history.trials) == 5
    before = sequence(tmp_path)
    assert simulated(tmp_path, tasked(searcher=Climbing(enough=5), num_samples=50)).finished
    assert sequence(tmp_path) == before
    more = simulated(tmp_path, tasked(searcher=Climbing(enough=7), num_samples=50))
    assert len(more.history.trials) == 7


@dataclass(frozen=True)
class Insisting(Searcher):
    """Starts something whenever it is asked."""

    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        return Random().suggest(history)


def test_a_start_without_room_is_no_suggestion(tmp_path: Path) -> None:
    assert len(simulated(tmp_path / "a", small_sweep(searcher=Insisting(), num_samples=3)).history.trials) == 3
    points = Points([POINT, POINT | {"batch_size": 4}], then=Insisting())
    assert points.continues
    assert len(simulated(tmp_path / "b", small_sweep(searcher=points, num_samples=1)).history.trials) == 1


@pytest.mark.parametrize(
    ("searcher", "words"),
    [
        (Confused(), "a resume of trial 0, which is completed"),
        (Confused("tiny"), "task='tiny': the sweep has no task of this name"),
        (Confused(until=2), "until=2: must be a whole number of steps, counted from the trial's start, from 3 to"),
    ],
)
def test_a_suggestion_that_makes_no_sense_is_replaced_and_told(tmp_path: Path, searcher: Any, words: str) -> None:
    driver = simulated(tmp_path, small_sweep(searcher=searcher, num_samples=3))
    assert len(driver.history.trials) == 3
    assert driver.over  # without room nothing random can be started instead: the search is over
    told = [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == "fallback"]
    assert told
    assert all(words in text for text in told)
