"""The search without any engine: ask, train, tell."""

from __future__ import annotations

import json
import math
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from search.ask_and_tell import AskAndTell
from search.contract import Scheduler, Searcher
from search.history import History, Trial
from search.records import End, Enough, Goal, Report, Retry, Status, Suggestion, Used, resume, start
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.median import Median
from search.schedulers.run_to_end import RunToEnd
from search.searchers.bayes import BayesSearch
from search.searchers.bohb import BohbSearch
from search.searchers.cmaes import CmaEs
from search.searchers.grid import Grid
from search.searchers.multitask import MultitaskSearch
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, choice, loguniform, randint, uniform
from search.task import Task
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
    assert history.count(Status.COMPLETED) in (2, 3)  # 8 / 2 / 2; who comes early may be promoted before better ones
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
    with pytest.raises(ValueError, match="load into a new object"):
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
    assert tuning.over == "Halves: three are plenty"


def test_a_searcher_that_cannot_search_the_space_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"use Tpe\(\)"):
        AskAndTell(Space({"a": choice(["x", "y"])}), CmaEs(), horizon=1)


# The border: what a training loop of somebody else may tell


def under_way(horizon: int = 3) -> tuple[AskAndTell, Trial]:
    tuning = AskAndTell(SPACE, Random(), horizon=horizon)
    trial = tuning.ask()
    assert trial is not None
    return tuning, trial


def test_a_step_told_twice_is_refused_and_the_first_value_stays() -> None:
    tuning, trial = under_way()
    assert tuning.tell(trial, 1, 0.5)
    with pytest.raises(ValueError, match="at step 1 already, and a step is told once; tell its next one"):
        tuning.tell(trial, 1, 0.7)
    assert not tuning.tell(trial, 3, 0.4)
    with pytest.raises(ValueError, match="it is completed at step 3"):
        tuning.tell(trial, 3, 0.4)
    assert (trial.steps, trial.losses, trial.status) == ([1, 3], [0.5, 0.4], Status.COMPLETED)


@pytest.mark.parametrize(
    ("step", "loss", "words"),
    [
        (1, 0.5, "it is at step 2 already"),
        (0, 0.5, "it is at step 2 already"),
        (4, 0.5, "its training has 3 steps"),
        (2.5, 0.5, "a step must be a whole number"),
        (True, 0.5, "a step must be a whole number"),
        (3, "0.5", "the loss at step 3 of trial 0 is '0.5'"),
        (3, None, "the loss is missing; write tell(trial, step, loss)"),
        (3, torch.ones(2), "must be one number"),
        (3, [0.5], "must be one number"),
    ],
)
def test_what_cannot_be_is_refused_and_not_recorded(step: Any, loss: Any, words: str) -> None:
    tuning, trial = under_way()
    tuning.tell(trial, 2, 0.5)
    before = records(tuning.history), len(tuning.records)
    with pytest.raises(ValueError) as caught:
        tuning.tell(trial, step, loss)
    assert words in str(caught.value)
    assert (records(tuning.history), len(tuning.records)) == before


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0, "3"])
def test_a_cost_that_cannot_be_is_refused_and_not_recorded(cost: Any) -> None:
    tuning, trial = under_way()
    with pytest.raises(ValueError, match=r"AskAndTell.tell: cost_seconds is .*it must be"):
        tuning.tell(trial, 1, 0.5, cost_seconds=cost)
    with pytest.raises(ValueError, match=r"metrics is .*a dict of names and numbers"):
        tuning.tell(trial, 1, 0.5, metrics={1: 0.5})  # type: ignore[dict-item]
    assert len(tuning.records) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"horizon": 0}, {"horizon": -2}, {"horizon": 2.5}, {"horizon": "3"}, {"limit": 0}, {"limit": "9"}, {"seed": 0.5},
     {"budget": 0}, {"budget": math.nan}, {"target": math.nan}, {"finalists": -1}, {"confirmations": 0}],
    ids=str,
)  # fmt: skip
def test_a_number_that_cannot_be_is_refused_at_once(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=rf"AskAndTell\({name}={value!r}\): must be"):
        AskAndTell(SPACE, Random(), **({"horizon": 3} | wrong))


def test_with_a_goal_that_maximises_a_higher_value_is_better() -> None:
    goal = Goal("accuracy", "max")
    tuning = AskAndTell(SPACE, Random(), horizon=2, limit=6, goal=goal, target=0.9)
    for accuracy in (0.2, 0.6, 0.4):
        trial = tuning.ask()
        assert trial is not None
        tuning.tell(trial, 1, 0.5)
        tuning.tell(trial, 2, accuracy)
    assert tuning.best is tuning.history.trials[1]
    assert tuning.best.loss == -0.6
    again = AskAndTell(SPACE, Random(), horizon=2, limit=6, goal=goal, target=0.9)
    again.load(tuning.save())
    for each in (tuning, again):
        trial = each.ask()
        assert trial is not None
        assert not each.over
        each.tell(trial, 1, loss=-0.95)  # a loss as such stays possible
        assert each.over == "the target is reached: trial 3 at step 1, accuracy 0.95"
        assert each.best is trial
        with pytest.raises(ValueError, match="value and loss are the same thing"):
            each.tell(trial, 2, 0.5, loss=-0.5)


@pytest.mark.parametrize("goal", ["max", None, Goal, "maximize"])
def test_what_is_no_goal_is_refused_at_once(goal: Any) -> None:
    with pytest.raises(ValueError, match=r'must be a Goal, such as Goal\("accuracy", "max"\)'):
        AskAndTell(SPACE, Random(), horizon=3, goal=goal)
    with pytest.raises(ValueError, match=r"Goal\(mode='maximize'\): must be one of 'min', 'max'"):
        AskAndTell(SPACE, Random(), horizon=3, goal=Goal("accuracy", "maximize"))


def test_several_threads_may_ask_and_tell(request: pytest.FixtureRequest) -> None:
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-6)
    tuning = AskAndTell(SPACE, Grid(resolution=60), AshaPromote(reduction_factor=2), horizon=4)

    def work(_: int) -> int:
        count = 0
        while not tuning.over:
            if (trial := tuning.ask()) is None:
                time.sleep(0.001)
                continue
            count += 1
            for step in tuning.steps(trial):
                if not tuning.tell(trial, step, parabola(trial, step)):
                    break
        return count

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == tuning.history.asked
    assert len({trial.config["x"] for trial in tuning.history}) == len(tuning.history.trials) == 60
    assert tuning.history.count(Status.RUNNING) == 0
    again = pickle.loads(pickle.dumps(tuning))
    assert again.records == tuning.records
    assert again.ask() is None


def test_an_exception_is_a_reason_and_whatever_is_recorded_can_be_saved() -> None:
    tuning, trial = under_way()
    trials = [trial, *filter(None, (tuning.ask() for _ in range(3)))]
    ways: list[Callable[[Trial, Any], None]] = [tuning.fail, tuning.leave, tuning.end, tuning.fail]
    for each, way, error in zip(
        trials, ways, (RuntimeError("CUDA\nout of memory"), KeyError("x"), "done", ValueError()), strict=True
    ):
        for wrong in (None, 3, ["out of memory"], RuntimeError):
            with pytest.raises(ValueError, match=r"the reason is .*; give a text, or the exception"):
                way(each, wrong)
        way(each, error)
    tuning.retry(trials[1], OSError("disk full"))
    with pytest.raises(ValueError, match=r"'Retry' is no record; build one from search\.records"):
        tuning.append("Retry")  # type: ignore[arg-type]
    tuning.append(Retry(0))
    tuning.append(Used(1, 2.0, "lost"))
    again = AskAndTell(SPACE, Random(), horizon=3)
    again.load(tuning.save())
    assert again.records == tuning.records
    assert [each.reason for each in again.history][::3] == ["RuntimeError: CUDA; out of memory", "ValueError"]
    assert again.history.trials[1].suggestion.evidence == "OSError: disk full"


def test_what_is_no_trial_of_this_search_is_refused_with_a_remedy() -> None:
    tuning, trial = under_way()
    other = under_way()[1]
    with pytest.raises(ValueError, match=r"AskAndTell.tell: trial is 0; pass the trial that `ask` returned"):
        tuning.tell(0, 1, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"tell\(trial 0, 0.5\): the loss is missing; write tell\(trial, step, loss\)"):
        tuning.tell(trial, 0.5)  # type: ignore[arg-type]
    calls: list[Callable[[Any], object]] = [
        tuning.steps, tuning.goal, lambda it: tuning.tell(it, 1, 0.5), lambda it: tuning.fail(it, "broken"),
        lambda it: tuning.leave(it, "slow"), lambda it: tuning.end(it, "done"), lambda it: tuning.retry(it, "again"),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match="trial 0 belongs to another search"):
            call(other)
    assert len(tuning.records) == 1


def test_what_a_training_takes_out_of_its_configuration_stays_in_the_history() -> None:
    space = Space({"x": uniform(0.0, 1.0), "opt": choice(["a", "b"])})
    baseline, point = {"x": 0.25, "opt": "b"}, {"x": 0.5, "opt": "a"}
    tuning = AskAndTell(space, Tpe(n_startup_trials=3), horizon=1, baseline=baseline, points=[point], limit=6)
    for given in (baseline, point):
        trial = tuning.ask()
        assert trial is not None
        given.pop("opt")
        config = trial.config
        assert config.pop("opt") in ("a", "b")
        tuning.tell(trial, 1, config["x"])
        tuning.history.trials[-1].config.clear()
    while (trial := tuning.ask()) is not None:
        trial.config.pop("opt")
        tuning.tell(trial, 1, trial.config["x"])
    assert [set(trial.config) for trial in tuning.history] == [{"x", "opt"}] * 6
    assert tuning.history.trials[0].config == {"x": 0.25, "opt": "b"}


def test_a_dict_for_a_space_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"must be a Space; write Space\(\{…\}\) around the dict"):
        AskAndTell({"x": uniform(0, 1)}, Random(), horizon=1)  # type: ignore[arg-type]


def test_a_trial_without_a_finite_loss_is_never_the_best() -> None:
    tuning = AskAndTell(SPACE, Random(), horizon=2)
    assert tuning.best is None
    diverged, failed, first, resting, second = filter(None, (tuning.ask() for _ in range(5)))
    tuning.tell(diverged, 1, math.nan)
    tuning.fail(failed, "out of memory")
    assert tuning.best is None
    tuning.tell(resting, 1, 0.1)
    assert tuning.best is resting  # nothing is completed
    for trial, loss in ((first, 0.5), (second, 0.4)):
        tuning.tell(trial, 1, 0.2)
        tuning.tell(trial, 2, loss)
    assert tuning.best is second


def saved() -> str:
    tuning, trial = under_way()
    tuning.tell(trial, 1, 0.5)
    return tuning.save()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space({"y": uniform(0.0, 1.0)}), "'x' is not in this one; 'y' is new in this one"),
        (Space({"x": uniform(0.0, 2.0)}), "'x' was {'kind': 'float', 'low': 0.0, 'high': 1.0"),
        (
            Space({"x": uniform(0.0, 1.0)}, {"small": lambda c: c["x"] < 0.9}),
            "the constraints were [] and are ['small']",
        ),
    ],
)
def test_a_search_saved_with_another_space_is_not_loaded(space: Space, words: str) -> None:
    tuning = AskAndTell(space, Random(), horizon=3)
    with pytest.raises(ValueError, match="saved with another space") as caught:
        tuning.load(saved())
    assert words in str(caught.value)
    assert not tuning.records


def test_a_saved_search_loads_with_other_priors_and_from_an_earlier_release() -> None:
    tuning = AskAndTell(Space({"x": uniform(0.0, 1.0).prior(0.3)}), Random(), horizon=3)
    tuning.load(saved())
    assert tuning.history.trials[0].losses == [0.5]
    without_space = json.dumps(json.loads(saved())[1:])
    tuning = AskAndTell(SPACE, Random(), horizon=3)
    tuning.load(without_space)
    assert tuning.history.trials[0].losses == [0.5]


@pytest.mark.parametrize(
    "text", ["junk", "", "{}", "3", "[1]", '{"a": 1}', '[{"record": "Unknown"}]', saved()[:-9], None]
)
def test_what_save_did_not_write_is_not_loaded(text: Any) -> None:
    tuning = AskAndTell(SPACE, Random(), horizon=3)
    with pytest.raises(ValueError, match="is not what `save` returned"):
        tuning.load(text)
    assert not tuning.records


def test_a_trial_at_rest_has_nothing_more_to_tell() -> None:
    tuning, trial = under_way()
    tuning.tell(trial, 1, 0.5)
    tuning.end(trial, "nothing more to gain")
    with pytest.raises(ValueError, match="it is completed at step 1; stop the training when `tell` returns False"):
        tuning.tell(trial, 2, 0.4)


@pytest.mark.parametrize("way", ["fail", "leave", "end"])
def test_a_trial_that_has_ended_keeps_its_result_whatever_its_worker_does_then(way: str) -> None:
    """A crash in the clean-up of the best trial made another one the best."""
    tuning, best = under_way(horizon=1)
    tuning.tell(best, 1, 0.1)
    other = tuning.ask()
    assert other is not None
    tuning.tell(other, 1, 0.9)
    before = len(tuning.records)
    with pytest.warns(UserWarning, match=rf"{way}: trial 0 is completed at step 1 and keeps its result; .*clean-up"):
        getattr(tuning, way)(best, RuntimeError("crash in clean-up"))
    assert (tuning.best, best.status, len(tuning.records)) == (best, Status.COMPLETED, before)


@pytest.mark.parametrize(("scheduler", "may_fail"), [(Asha(reduction_factor=2), False), (AshaPromote(), True)])
def test_a_paused_trial_fails_only_where_it_might_be_resumed(scheduler: Scheduler, may_fail: bool) -> None:
    tuning = AskAndTell(SPACE, Random(), scheduler, horizon=4)
    for loss in (0.1, 0.9):
        trial = tuning.ask()
        assert trial is not None
        tuning.tell(trial, 1, loss)
    assert trial.status is Status.STOPPED
    for way in (tuning.leave, tuning.end) if may_fail else (tuning.leave, tuning.end, tuning.fail):
        with pytest.warns(UserWarning, match="trial 1 is stopped at step 1 and keeps its result"):
            way(trial, "no checkpoint")
    if may_fail:
        tuning.fail(trial, "no checkpoint")
    assert (trial.status, trial.losses) == (Status.FAILED if may_fail else Status.STOPPED, [0.9])


def test_numbers_of_other_libraries_are_plain_numbers_in_what_is_saved() -> None:
    tuning, trial = under_way(horizon=4)
    for step, loss in enumerate((np.float32(0.5), torch.tensor([0.25]), np.int64(1), 2), start=1):
        tuning.tell(trial, np.int64(step), loss, cost_seconds=np.float64(1), metrics={"loss": loss})  # type: ignore[arg-type, dict-item]
    again = AskAndTell(SPACE, Random(), horizon=4)
    again.load(tuning.save())
    assert again.history.trials[0].losses == [0.5, 0.25, 1.0, 2.0]
    assert {type(loss) for loss in trial.losses} == {float}
    assert {type(step) for step in trial.steps} == {int}


def test_what_is_asked_beyond_the_limit_is_not_started() -> None:
    class Eager(Random):
        continues: ClassVar[bool] = True

    tuning = AskAndTell(SPACE, Eager(), horizon=1, limit=2)
    assert [tuning.ask() is None for _ in range(3)] == [False, False, True]


# Trainings that come to an end of their own


def test_after_an_end_of_its_own_the_last_loss_holds_to_the_horizon() -> None:
    history = History(SPACE, horizon=9)
    for x, steps in ((0.1, 4), (0.2, 9)):
        trial = history.append(start({"x": x}))
        for step in range(1, steps + 1):
            history.append(Report(trial.number, step, x + 1 / step))
        assert history.reached(6) == ({} if x == 0.1 else {0: 0.35, 1: 0.2 + 1 / 6})
        history.append(End(trial.number, Status.COMPLETED))
    assert history.reached(6) == {0: 0.35, 1: 0.2 + 1 / 6} == {**history.at(6)}
    assert history.results(Task("full", 1.0)) == {0: 0.35, 1: 0.2 + 1 / 9}
    assert [trial.reach for trial in history] == [9, 9]
    assert [trial.loss_at(7) for trial in history] == [0.35, 0.2 + 1 / 7]
    history.append(resume(history.trials[0]))  # it goes on after all
    assert history.reached(6) == {1: 0.2 + 1 / 6}
    assert history.trials[0].loss_at(7) is None
    history.append(Report(0, 6, 0.3))
    assert history.reached(6) == {0: 0.3, 1: 0.2 + 1 / 6}


def converging(tuning: AskAndTell, trials: int) -> None:
    """Good settings, x <= 0.5, converge after 5 of 12 steps."""
    for _ in range(trials):
        trial = tuning.ask()
        if trial is None:
            break
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, trial.config["x"] + 1 / min(step, 5)):
                break
            if step == 5 and trial.config["x"] <= 0.5:
                tuning.end(trial, "nothing more to gain")
                break


@pytest.mark.parametrize(
    ("searcher", "scheduler"),
    [
        (Tpe(), RunToEnd()),
        (CmaEs(), RunToEnd()),
        (BohbSearch(random_share=0.0), RunToEnd()),
        (BayesSearch(n_initial=5), RunToEnd()),
        (BohbSearch(random_share=0.0), Median()),
        (MultitaskSearch(n_initial=5), RunToEnd()),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_model_goes_where_trainings_converge_early(searcher: Searcher, scheduler: Scheduler) -> None:
    tuning = AskAndTell(SPACE, searcher, scheduler, horizon=12, seed=3)
    converging(tuning, 30)
    modelled = [trial.config["x"] for trial in tuning.history if trial.first_origin == "model"]
    assert sum(modelled) / len(modelled) < 0.3  # 0.5 at random; who flees from early ends is beyond it
    converged = [trial for trial in tuning.history if trial.config["x"] <= 0.5 and trial.step == 5]
    assert converged
    assert {trial.status for trial in converged} == {Status.COMPLETED}
