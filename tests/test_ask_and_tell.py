"""The search without any engine: ask, train, tell."""

from __future__ import annotations

import math

import pytest

from search.ask_and_tell import AskAndTell
from search.base import Searcher
from search.schedulers.asha import AshaPromote
from search.searchers.cmaes import CmaEs
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, choice, loguniform, randint, uniform
from search.task import Task
from search.trial import End, Enough, History, Report, Status, Suggestion, Trial, resume, start
from tests.histories import records

SPACE = Space({"x": uniform(0.0, 1.0)})


def test_ten_lines_of_ask_and_tell_find_a_good_configuration() -> None:
    history = History(Space({"lr": loguniform(1e-4, 1), "layers": randint(1, 5)}), horizon=3, seed=0)
    for _ in range(40):
        suggestion = Tpe().suggest(history)
        assert suggestion is not None
        trial = history.append(suggestion)
        for step in range(1, history.horizon + 1):
            loss = abs(trial.config["lr"] - 0.01) + abs(trial.config["layers"] - 3) + 1 / step
            history.append(Report(trial.number, step, loss))
        history.append(End(trial.number, Status.COMPLETED))
    best = min(history, key=lambda trial: trial.loss)
    assert best.config["layers"] == 3
    assert best.config["lr"] < 0.05


def parabola(trial: Trial, step: int) -> float:
    return float((trial.config["x"] - 0.3) ** 2 + 1 / step)


def test_a_scheduler_and_a_limit_end_the_loop_by_themselves() -> None:
    tuning = AskAndTell(SPACE, Random(), AshaPromote(reduction_factor=2), horizon=4, limit=8)
    while (trial := tuning.ask()) is not None:
        assert tuning.steps(trial)[0] == trial.step + 1
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, parabola(trial, step)):
                break
    history = tuning.history
    assert len(history.trials) == 8
    assert history.count(Status.RUNNING) == 0
    assert history.count(Status.COMPLETED) == 2
    for trial in history:
        assert trial.steps == list(range(1, trial.step + 1))


def test_a_saved_search_goes_on_as_if_nothing_had_happened() -> None:
    def fresh() -> AskAndTell:
        return AskAndTell(SPACE, Tpe(n_startup_trials=2), AshaPromote(), horizon=4, seed=5)

    one = fresh()
    for number in range(12):
        trial = one.ask()
        assert trial is not None
        if number == 3:
            one.fail(trial, "out of memory")
            continue
        for step in one.steps(trial):
            if not one.tell(trial, step, math.nan if number == 5 else parabola(trial, step), cost_seconds=1.5):
                break
    two = fresh()
    two.load(one.save())
    assert records(two.history) == records(one.history)
    assert two.history.count(Status.DIVERGED) == two.history.count(Status.FAILED) == 1
    for _ in range(5):
        again, trial = two.ask(), one.ask()
        assert again is not None
        assert trial is not None
        assert again.suggestion == trial.suggestion
    with pytest.raises(ValueError, match="load into a new one"):
        two.load(one.save())


class Halves(Searcher):
    """Starts two trials for half of the way, takes the first on, trains a changed task, and has had enough."""

    continues = True

    def suggest(self, history: History) -> Suggestion | Enough | None:
        if len(history.trials) < 2:
            return start({"x": len(history.trials) / 2}, until=2) if history.room else None
        if history.trials[0].status is Status.STOPPED:
            return resume(history.trials[0])
        if len(history.trials) < 3:
            return start({"x": 0.9}, task="short")
        return Enough("three are plenty")


def test_until_resume_tasks_and_enough() -> None:
    tasks = (Task("short", 0.1, share=0.5, resumes=False), Task("full", 1.0))
    tuning = AskAndTell(SPACE, Halves(), horizon=4, tasks=tasks)
    goals = []
    while (trial := tuning.ask()) is not None:
        goals.append((trial.number, trial.step, tuning.goal(trial)))
        for step in tuning.steps(trial):
            going = tuning.tell(trial, step, parabola(trial, step))
            assert going == (step < tuning.goal(trial))
    assert goals == [(0, 0, 2), (1, 0, 2), (0, 2, 4), (2, 0, 2)]
    assert [trial.status.value for trial in tuning.history] == ["completed", "stopped", "completed"]
    assert tuning.enough == "three are plenty"


def test_a_searcher_that_cannot_search_the_space_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"use Tpe\(\)"):
        AskAndTell(Space({"a": choice(["x", "y"])}), CmaEs(), horizon=1)
