"""Tasks, budgets, finalists and transfer, through the driver and the simulated engine."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.driver import Driver
from orchestrator.errors import BadInput, ResumeRefused
from orchestrator.ledger import Ledger
from orchestrator.plan import print_plan
from orchestrator.progress import Display
from orchestrator.simulate import SimulatedClock, simulate
from orchestrator.summary import print_summary, records, summary
from orchestrator.sweep import Sweep
from orchestrator.time_spent import WAITED
from search.base import Searcher, Verdict
from search.history import History, Trial, key_of
from search.records import FINALIST, End, Report, Status, Suggestion, resume, start
from search.schedulers.asha import Asha, AshaPromote
from search.searchers.points import Points
from search.searchers.random import Random
from search.space import Space, uniform
from search.task import FULL, Task
from tests.climbing import Climbing
from tests.support import SPACE, interrupted_after, recorded, sequence, simulated, small_sweep
from trainables.base import NOTHING, Action, Policy, Signals
from trainables.loop import train
from trainables.workloads.quadratic import Quadratic

POINT = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}


@dataclass(frozen=True)
class Decaying(Policy[None]):
    """The learning rate falls to zero at the end of the training, however long it is."""

    resumable = False

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        if signals.train_loss is None:
            return None, NOTHING
        share = signals.step / signals.horizon
        return None, Action(replace(signals.knobs, learning_rate=signals.knobs.learning_rate * (1 - share)))


def tasked(**changes: Any) -> Sweep:
    """Eight steps, tasks of a quarter, a half and all of them."""
    fields = {
        "workload": Quadratic(horizon=8, declared_cost=1.0), "tasks": Task.epochs(0.25, 0.5, 1.0),
        "searcher": Climbing(), "num_samples": 8,
    }  # fmt: skip
    return small_sweep(**(fields | changes))


# Tasks.


def test_a_promotion_on_the_way_to_the_full_training_pays_only_the_difference(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked())
    trials = driver.history.trials
    assert {trial.task for trial in trials} == {FULL}
    assert sorted(trial.step for trial in trials) == [2] * 6 + [4] * 2
    assert all(trial.steps == list(range(1, trial.step + 1)) for trial in trials)  # nothing was trained twice
    assert driver.history.spent == pytest.approx((6 * 2 + 2 * 4) / 8)
    assert driver.best is not None
    assert driver.best.step == 4  # nothing completed: the best of those that got furthest
    simulated(tmp_path, tasked(num_samples=16))
    resumed = [row for row in recorded(tmp_path, "suggestion") if row["kind"] == "resume"]
    assert {row["until"] for row in resumed} == {4, 8}


def test_a_resumed_trial_equals_one_that_ran_through(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked(num_samples=16))
    trial = next(trial for trial in driver.history if trial.status is Status.COMPLETED)
    seed = next(row["seed"] for row in recorded(tmp_path, "suggestion") if row["trial"] == trial.number)
    whole = [report.metrics["loss"] for report in train(Quadratic(horizon=8), None, trial.config, seed=seed)]
    assert trial.losses == whole


def test_where_the_schedule_depends_on_the_length_a_promotion_starts_over(tmp_path: Path) -> None:
    sweep = tasked(policy=Decaying(), num_samples=20)
    assert [task.resumes for task in sweep.tasks] == [False, False, True]
    driver = simulated(tmp_path, sweep)
    short = [trial for trial in driver.history if trial.task == "0.25 of the epochs"]
    assert {(trial.step, trial.status) for trial in short} == {(2, Status.COMPLETED)}
    whole = [trial for trial in driver.history if trial.task == "0.5 of the epochs"]
    assert whole
    assert all(driver.history.known(trial.config, short[0].task) in short for trial in whole)
    assert all(trial.steps == [1, 2, 3, 4] for trial in whole)  # from scratch, and paid in full
    row = next(row for row in recorded(tmp_path, "suggestion") if row["trial"] == whole[0].number)
    direct = train(Quadratic(horizon=4), Decaying(), whole[0].config, seed=row["seed"])
    assert whole[0].losses == [report.metrics["loss"] for report in direct]  # its rate reaches zero at step 4


def test_a_policy_that_depends_on_the_configuration_is_looked_at_for_some() -> None:
    def policy(config: Mapping[str, Any]) -> Policy[Any] | None:
        return Decaying() if config["batch_size"] == 4 else None

    assert [task.resumes for task in tasked(policy=policy).tasks] == [False, False, True]
    assert all(task.resumes for task in tasked(policy=lambda config: None).tasks)


def test_a_task_on_less_data_trains_the_changed_workload(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked(tasks=Task.data(0.25, 1.0), num_samples=6))
    small = next(trial for trial in driver.history if trial.task == "0.25 of the data")
    seed = next(row["seed"] for row in recorded(tmp_path, "suggestion") if row["trial"] == small.number)
    direct = train(Quadratic(horizon=8, data_share=0.25), None, small.config, seed=seed)
    assert small.losses == [report.metrics["loss"] for report in direct]
    assert {trial.task for trial in driver.history} == {"0.25 of the data", FULL}


def test_a_cheap_task_is_never_the_best_whatever_its_loss(tmp_path: Path) -> None:
    """The cheap task has no noise, so its losses are far lower than those of the real one."""
    tasks = [Task.changed("easy", 0.3, noise=0.0), *Task.epochs(1.0)]
    driver = simulated(tmp_path, tasked(tasks=tasks, num_samples=8, searcher=Climbing(many=2), keep_checkpoints=1))
    easy = [trial for trial in driver.history if trial.task == "easy"]
    assert {trial.status for trial in easy} == {Status.COMPLETED}
    best = driver.best
    assert best is not None
    assert best.task == FULL
    assert min(trial.loss for trial in easy) < best.loss
    assert best.loss == min(trial.loss for trial in driver.history if trial.task == FULL)
    assert [row["trial"] for row in recorded(tmp_path, "test")] == [best.number]
    kept = {path.parent.parent.name for path in tmp_path.glob("trials/*/checkpoints/*")}
    assert kept == {f"{best.number:05d}"}


def test_schedulers_compare_within_a_task_only(tmp_path: Path) -> None:
    tasks = [Task.changed("easy", 0.3, noise=0.0), *Task.epochs(1.0)]
    sweep = tasked(tasks=tasks, num_samples=12, searcher=Climbing(many=2), scheduler=Asha(reduction_factor=2))
    driver = simulated(tmp_path, sweep)
    stopped = driver.history.having(Status.STOPPED)
    assert stopped
    for trial in stopped:
        rung = [t.losses[trial.step - 1] for t in driver.history if t.task == trial.task and t.step >= trial.step]
        assert trial.loss > min(rung)
    first = next(trial for trial in driver.history if trial.task == FULL)
    assert first.status is Status.COMPLETED


def test_a_recorded_task_may_go_or_stay_but_not_change(tmp_path: Path) -> None:
    tasks = Task.data(0.25, 1.0)
    simulated(tmp_path, tasked(tasks=tasks, num_samples=4))
    for other in (
        [Task("0.25 of the data", 0.25, share=0.5, changes={"data_share": 0.25}), tasks[1]],
        [Task("0.25 of the data", 0.25, changes={"data_share": 0.5}), tasks[1]],
        [Task("0.25 of the data", 0.25, share=0.25), tasks[1]],
    ):
        with pytest.raises(ResumeRefused, match=r"task '0.25 of the data' was recorded with (share|changes) = .*, now"):
            simulated(tmp_path, tasked(tasks=other, num_samples=4))
    more = [*Task.data(0.5), *tasks]
    driver = simulated(tmp_path, tasked(tasks=more, num_samples=6))
    assert len({key_of(trial.config) for trial in driver.history}) == 6
    assert "tasks: " in recorded(tmp_path, "sweep")[-1]["change"]
    without = simulated(tmp_path, tasked(tasks=(), searcher=Random(), num_samples=8))
    assert without.history.trials[-1].task == FULL
    with pytest.raises(ResumeRefused, match="changes"):  # also after an invocation without it
        simulated(tmp_path, tasked(tasks=[Task.changed("0.25 of the data", 0.25, data_share=0.1), tasks[1]]))


def test_an_interrupted_trial_of_a_task_that_is_gone_is_left(tmp_path: Path) -> None:
    interrupted_after(tmp_path, tasked(tasks=Task.data(0.25, 1.0)), 3)
    driver = simulated(tmp_path, tasked(tasks=(), searcher=Random()))
    gone = [trial for trial in driver.history if trial.task != FULL]
    assert gone
    assert {trial.reason for trial in gone if trial.status is Status.STOPPED} == {
        "the sweep has no task '0.25 of the data' any more"
    }
    assert not driver.history.having(Status.RUNNING)


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
    assert history.trained(FULL) >= 10 * 4
    assert 0.4 < history.cost_of("half") < 0.5
    assert history.cost_of(FULL) == 1.0
    assert history.spent == pytest.approx(
        (history.trained(FULL) + history.trained("half") * history.cost_of("half")) / 4
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


@dataclass(frozen=True)
class Confused(Searcher):
    """Resumes what cannot be resumed, or names a task that is not there."""

    task: str = ""
    until: int | None = None
    continues = True

    def suggest(self, history: History) -> Suggestion | None:
        if self.task:
            return start(POINT, task=self.task)
        return resume(history.trials[0], until=self.until) if history.trials else start(POINT, until=self.until)


@pytest.mark.parametrize(
    ("searcher", "words"),
    [
        (Confused(), "trial 0 cannot be resumed: it is completed"),
        (Confused("tiny"), "no task 'tiny'"),
        (Confused(until=2), "trial 0 is at step 2 already, and cannot be taken to step 2"),
    ],
)
def test_a_suggestion_that_makes_no_sense_is_replaced_and_told(tmp_path: Path, searcher: Any, words: str) -> None:
    driver = simulated(tmp_path, small_sweep(searcher=searcher, num_samples=3))
    assert len(driver.history.trials) == 3
    assert driver.over  # without room nothing random can be started instead: the search is over
    told = [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == "fallback"]
    assert told
    assert all(words in text for text in told)


# Finalists.


def runs_of(driver: Driver) -> list[Trial]:
    return [trial for trial in driver.history if trial.first_origin == FINALIST]


def test_the_best_are_trained_again_on_fresh_seeds_and_name_the_winner(tmp_path: Path) -> None:
    noisy = Quadratic(horizon=4, noise=3.0, declared_cost=1.0)  # who is before whom at a rung is no accident
    sweep = small_sweep(workload=noisy, num_samples=8, finalists=3, confirmations=2, scheduler=Asha(), baseline=POINT)
    driver = simulated(tmp_path, sweep, workers=2)
    found, again = driver.history.trials[:8], runs_of(driver)
    assert len(driver.history.trials) == 8 + 3 * 2
    completed = sorted((t for t in found if t.status is Status.COMPLETED), key=lambda trial: trial.loss)
    best = completed[:3]
    assert [dict(trial.config) for trial in again] == [dict(trial.config) for trial in best] * 2
    assert {trial.status for trial in again} == {Status.COMPLETED}  # never judged
    seeds = [row["seed"] for row in recorded(tmp_path, "suggestion")]
    assert len(set(seeds)) == len(seeds)
    evidence = [row["evidence"] for row in recorded(tmp_path, "suggestion") if row["origin"] == FINALIST]
    assert evidence[0] == f"repeats trial {best[0].number}"
    means = {t.number: (again[i].loss + again[i + 3].loss) / 2 for i, t in enumerate(best)}
    assert driver.best is not None
    assert driver.best.number == min(means, key=lambda number: means[number])
    assert {row["trial"] for row in recorded(tmp_path, "test")} == {driver.best.number, 0}
    before = sequence(tmp_path)
    simulated(tmp_path, sweep)
    assert sequence(tmp_path) == before


@pytest.mark.parametrize("scheduler", [None, AshaPromote(reduction_factor=2)])
def test_cut_off_among_the_finalists_the_same_command_goes_on(tmp_path: Path, scheduler: Any) -> None:
    changes: dict[str, Any] = {"num_samples": 4, "finalists": 2, "confirmations": 2}
    changes |= {} if scheduler is None else {"scheduler": scheduler}
    whole = simulated(tmp_path / "whole", small_sweep(**changes))
    answers = len(recorded(tmp_path / "whole", "report"))
    for cut in range(answers - 14, answers, 3):
        folder = tmp_path / str(cut)
        interrupted_after(folder, small_sweep(**changes), cut, workers=1)
        before = sequence(folder)
        driver = simulated(folder, small_sweep(**changes))
        assert sequence(folder)[: len(before)] == before
        assert sequence(folder) == sequence(tmp_path / "whole")
        assert driver.best is not None
        assert whole.best is not None
        assert driver.best.number == whole.best.number


def test_where_all_trials_rest_the_best_are_taken_to_the_end_first(tmp_path: Path) -> None:
    driver = simulated(tmp_path, tasked(num_samples=8, finalists=2, baseline=POINT), workers=3)
    rows = recorded(tmp_path, "suggestion")
    taken = [row for row in rows if row["origin"] == FINALIST and row["kind"] == "resume"]
    assert len(taken) == 2
    assert all(driver.history.trials[row["trial"]].status is Status.COMPLETED for row in taken)
    assert all(driver.history.trials[row["trial"]].steps == list(range(1, 9)) for row in taken)
    assert len(runs_of(driver)) == 2
    assert max(row["seq"] for row in taken) < min(
        row["seq"] for row in rows if row["origin"] == FINALIST and row["kind"] == "start"
    )


def test_finalists_are_paid_from_the_budget_and_need_no_room(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(num_samples=None, budget=6.0, finalists=2))
    assert len(driver.history.trials) == 6
    assert len(runs_of(driver)) == 2
    assert driver.history.spent == pytest.approx(6.0)
    fewer = simulated(tmp_path / "fewer", small_sweep(num_samples=2, finalists=5))
    assert len(fewer.history.trials) == 2 + 2


@dataclass(frozen=True)
class Careful(Searcher):
    """Wants its best two confirmed."""

    finalists = 2

    def suggest(self, history: History) -> Suggestion | None:
        return Random().suggest(history)


def test_a_searcher_may_ask_for_finalists_and_the_sweep_has_the_last_word(tmp_path: Path) -> None:
    assert small_sweep(searcher=Careful()).finalist_count == 2
    assert small_sweep(searcher=Careful(), finalists=0).finalist_count == 0
    assert small_sweep(searcher=Points([POINT], then=Careful())).finalist_count == 2
    assert len(runs_of(simulated(tmp_path, small_sweep(searcher=Careful(), num_samples=3)))) == 2


def test_the_winners_checkpoint_is_there_even_if_few_are_kept(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(workload=Quadratic(horizon=4, noise=3.0), finalists=4, keep_checkpoints=1))
    assert driver.best is not None
    assert [row["trial"] for row in recorded(tmp_path, "test")] == [driver.best.number]


# Waiting, and thinking ahead.


class Thinking(Searcher):
    """Counts how often it is asked, and when."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def prepare(self, history: History) -> None:
        self.calls.append(("prepare", len(history)))
        raise RuntimeError("what goes wrong here is told when it matters")

    def suggest(self, history: History) -> Suggestion | None:
        self.calls.append(("suggest", len(history)))
        return Random().suggest(history)


def test_thinking_ahead_happens_once_a_record_while_all_are_busy_and_changes_nothing(tmp_path: Path) -> None:
    workload = Quadratic(horizon=4, declared_cost=1.0)
    simulated(tmp_path / "plain", small_sweep(searcher=Thinking(), workload=workload), workers=2)
    ledger = Ledger.write(tmp_path / "ahead")
    clock, searcher = SimulatedClock(), Thinking()
    driver = Driver(small_sweep(searcher=searcher, workload=workload), ledger, clock=clock)
    busy = []

    def think() -> None:
        before = len(searcher.calls)
        driver.think()
        driver.think()
        assert len(searcher.calls) - before <= 1
        if len(searcher.calls) > before:
            busy.append(len(driver.running))

    simulate(driver, clock, workers=2, refresh=think)
    driver.close()
    ledger.close()
    assert set(busy) == {2}
    prepared = [length for kind, length in searcher.calls if kind == "prepare"]
    assert len(prepared) == len(set(prepared)) > 3
    assert searcher.calls[-1][0] == "suggest"  # with nothing left to decide there is nothing to think about
    assert sequence(tmp_path / "ahead") == sequence(tmp_path / "plain")


def test_thinking_ahead_takes_a_tenth_of_the_time_at_most(tmp_path: Path) -> None:
    """While the searcher thinks, results wait; a report a second would make it think all the time."""
    ledger, clock, thought = Ledger.write(tmp_path), SimulatedClock(), 0.0

    class Deep(Searcher):
        def prepare(self, history: History) -> None:
            nonlocal thought
            thought += 3.0
            clock.seconds += 3.0

        def suggest(self, history: History) -> Suggestion | None:
            return Random().suggest(history)

    workload = Quadratic(horizon=40, declared_cost=1.0)
    driver = Driver(small_sweep(searcher=Deep(), workload=workload, num_samples=3), ledger, clock=clock)
    simulate(driver, clock, workers=1, refresh=driver.think)
    ledger.close()
    assert 0.05 * clock.seconds < thought < 0.11 * clock.seconds


def test_worker_seconds_that_wait_for_a_decision_are_recorded(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    clock = SimulatedClock()

    class Slow(Searcher):
        def suggest(self, history: History) -> Suggestion | None:
            clock.seconds += 5.0
            return Random().suggest(history)

    driver = Driver(small_sweep(searcher=Slow(), num_samples=3, first_alone=False), ledger, clock=clock)
    driver.workers = 3
    order = driver.next()
    assert order is not None
    driver.finish_job(order)
    for waiting in (3, 2, 1):  # while the first decision is made, three workers wait; then two; then one
        before = driver.waited_seconds
        assert driver.next() is not None
        assert driver.waited_seconds - before == 5.0 * waiting
    assert driver.next() is None
    driver.close()
    ledger.close()
    assert [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == WAITED] == ["30.000"]


def test_a_searcher_with_nothing_to_add_is_asked_again_only_after_something_happened(tmp_path: Path) -> None:
    searcher = Thinking()
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(searcher=searcher, num_samples=1), ledger)
    driver.finish_job(driver.next())  # type: ignore[arg-type]
    driver.next()
    asked = len(searcher.calls)
    for _ in range(5):
        assert driver.next() is None
    assert len(searcher.calls) == asked
    ledger.close()


# Transfer.


@dataclass(frozen=True)
class Taught(Searcher):
    """Starts with the best of the earlier runs."""

    def suggest(self, history: History) -> Suggestion | None:
        past = [t for earlier in history.earlier for t in earlier if t.in_space and t.status is Status.COMPLETED]
        best = min(past, key=lambda trial: trial.loss)
        if history.known(best.config) is None:
            return start(best.config, evidence=f"best of {len(past)} earlier trials")
        return Random().suggest(history)


def test_an_earlier_run_is_used_as_it_was_when_it_was_named(tmp_path: Path) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=4))
    old = simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=4)).history
    sweep = small_sweep(searcher=Taught(), transfer=["old"], num_samples=2)
    driver = simulated(tmp_path / "new", sweep)
    assert recorded(tmp_path / "new", "suggestion")[0]["evidence"] == "best of 4 earlier trials"
    assert dict(driver.history.trials[0].config) == dict(min(old, key=lambda trial: trial.loss).config)
    assert [trial.losses for trial in driver.history.earlier[0]] == [trial.losses for trial in old]  # its own sign
    simulated(tmp_path / "old", small_sweep(name="old", mode="max", num_samples=9))
    again = simulated(tmp_path / "new", replace(sweep, num_samples=4))
    assert len(again.history.earlier[0].trials) == 4
    assert len([row for row in recorded(tmp_path / "new", "event") if row["kind"] == "transfer"]) == 1
    fresh = simulated(tmp_path / "newer", replace(sweep, transfer=(str(tmp_path / "old"),)))
    assert len(fresh.history.earlier[0].trials) == 9


def test_another_run_under_the_name_of_an_earlier_one_is_refused(tmp_path: Path) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=3))
    simulated(tmp_path / "new", small_sweep(transfer=["old"], num_samples=1))
    shutil.rmtree(tmp_path / "old")
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=3, seed=7))
    with pytest.raises(ResumeRefused, match="transfer='old' does not hold the records"):
        simulated(tmp_path / "new", small_sweep(transfer=["old"], num_samples=1))


def test_an_earlier_run_keeps_its_own_tasks_and_steps(tmp_path: Path) -> None:
    simulated(tmp_path / "old", tasked(name="old", tasks=Task.data(0.25, 1.0)))
    narrow = Space(SPACE | {"momentum": uniform(0.0, 0.3)})
    driver = simulated(tmp_path / "new", small_sweep(transfer="old", space=narrow, num_samples=1))
    earlier = driver.history.earlier[0]
    assert (earlier.horizon, [task.name for task in earlier.tasks]) == (8, ["0.25 of the data", FULL])
    assert {trial.in_space for trial in earlier} == {True, False}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transfer": ["oldd"]}, "'oldd' is no run: no ledger.db in"),
        ({"transfer": ["new"]}, "is no run|is this run itself"),
        ({"space": Space({k: v for k, v in SPACE.items() if k != "momentum"})}, "'old' has a parameter 'momentum', and this"),
        ({"space": Space(SPACE | {"depth": 3})}, "'old' has no parameter 'depth', and this sweep has one"),
    ],
)  # fmt: skip
def test_an_earlier_run_that_says_nothing_about_this_one_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    simulated(tmp_path / "old", small_sweep(name="old", num_samples=1))
    with pytest.raises(BadInput, match=words):
        simulated(tmp_path / "new", small_sweep(**({"transfer": ["old"]} | changes)))


def test_an_earlier_run_of_another_metric_is_refused(tmp_path: Path) -> None:
    class Renamed(Quadratic):
        metric, metrics = "error", ("error", "loss")  # type: ignore[misc]

        def evaluate(self, model: Any, part: str) -> Mapping[str, float]:
            found = super().evaluate(model, part)
            return {**found, "error": found["loss"]}

    simulated(tmp_path / "old", small_sweep(name="old", num_samples=1, workload=Renamed(horizon=4)))
    with pytest.raises(BadInput, match="'old' was measured by 'error', this sweep by 'loss'"):
        simulated(tmp_path / "new", small_sweep(transfer=["old"]))


def test_the_description_of_a_sweep_with_everything_is_json() -> None:
    sweep = tasked(tasks=Task.data(0.1, 1.0), budget=9.0, finalists=2, transfer=("a",))
    about = json.loads(json.dumps(sweep.describe()))
    assert about["tasks"][0]["changes"] == {"data_share": 0.1}
    assert (about["budget"], about["finalists"], about["confirmations"], about["transfer"]) == (9.0, 2, 1, ["a"])


def test_a_cheap_result_stays_within_its_task() -> None:
    """The verdict on a full training does not depend on cheap ones that did better."""
    history = History(Space(SPACE), horizon=4, tasks=Task.data(0.25, 1.0))
    for _ in range(4):
        cheap = history.append(start(POINT, task="0.25 of the data"))
        history.append(Report(cheap.number, 1, 0.1))
    full = history.append(start(POINT))
    history.append(Report(full.number, 1, 1e6))
    assert Asha().judge(full, history) is Verdict.CONTINUE


# What people see.


def printed(folder: Path) -> tuple[dict[str, Any], str]:
    """The summary as data and as text."""
    ledger, out = Ledger.read(folder), io.StringIO()
    try:
        print_summary(ledger, Console(file=out, width=120))
        return summary(ledger), out.getvalue()
    finally:
        ledger.close()


def test_the_report_tells_tasks_promotions_finalists_and_the_budget(tmp_path: Path) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    sweep = tasked(tasks=tasks, num_samples=None, budget=9.0, finalists=2, searcher=Climbing(many=2))
    driver = simulated(tmp_path, sweep)
    facts, text = printed(tmp_path)
    assert [task["task"] for task in facts["tasks"]] == ["little data", "0.5 of the epochs", FULL]
    assert sum(task["spent"] for task in facts["tasks"]) == pytest.approx(driver.history.spent, abs=0.01)
    rows = recorded(tmp_path, "suggestion")
    assert facts["promotions"]["went on"] == sum(row["kind"] == "resume" for row in rows)
    assert facts["promotions"]["restarted"] == sum(
        row["origin"] == "promotion" and row["kind"] == "start" for row in rows
    )
    assert f"{facts['promotions']['went on']} went on from their checkpoints" in text
    assert "little data" in text
    assert "of 9 full trainings" in text
    assert "Search       over: the budget of 9 full trainings is used up but for the finalists" in text
    assert [finalist["trial"] for finalist in facts["finalists"] if finalist["winner"]] == [facts["best"]["trial"]]
    assert "The winner" in text
    assert "best, 1 × on fresh seeds" in text


def test_each_observation_says_what_it_built_upon(tmp_path: Path) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    simulated(tmp_path, tasked(tasks=tasks, num_samples=8, searcher=Climbing(many=2)))
    ledger = Ledger.read(tmp_path)
    reports = [record for record in records(ledger) if record["kind"] == "report"]
    ledger.close()
    paid = {(record["task"], record["paid"], record["resumed"]) for record in reports}
    assert paid == {
        ("little data", "from the start", False),
        (FULL, "restarted, paid in full", False),
        (FULL, "went on from step 4", True),
    }
    assert {record["step"] for record in reports if record["resumed"]} == {5, 6, 7, 8}


def test_fallbacks_are_counted_with_their_reasons(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(searcher=Confused("tiny"), num_samples=3))
    facts, text = printed(tmp_path)
    assert facts["fallbacks"] == {"Confused failed: ValueError: no task 'tiny'": 3}
    assert "Fallback     3 × Confused failed" in text


def test_the_report_says_how_long_workers_waited(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(workload=Quadratic(horizon=4, declared_cost=1.0)))
    assert "Waiting" not in printed(tmp_path)[1]
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_event(WAITED, "5.0")
    ledger.close()
    assert "workers waited 5.0 s for decisions, 20.0 % of worker time" in printed(tmp_path)[1]


def test_a_sweep_of_cheap_tasks_only_has_no_best_and_says_so(tmp_path: Path) -> None:
    simulated(tmp_path, tasked(tasks=Task.data(0.25, 1.0), num_samples=2))
    facts, text = printed(tmp_path)
    assert facts["best"] is None
    assert "no full training has reported yet" in text


def test_the_plan_shows_tasks_budget_and_finalists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [*Task.epochs(0.5, 1.0), Task.changed("little data", 0.2, data_share=0.25)]
    print_plan(tasked(tasks=tasks, num_samples=None, budget=9.0, finalists=2), tmp_path)
    text = capsys.readouterr().out
    assert "little data: 8 steps, data_share=0.25, costs 0.2; a promotion starts over" in text
    assert "0.5 of the epochs: 4 steps, costs 0.5; resumed later" in text
    assert "budget     9 full trainings of 8 steps, 7 of them to search with" in text
    assert "finalists  the best 2 are trained again" in text
    assert text.count("learning_rate=") == 5
    assert list(tmp_path.iterdir()) == []


def test_the_display_shows_what_is_spent_of_the_budget(tmp_path: Path) -> None:
    out = io.StringIO()
    ledger, clock = Ledger.write(tmp_path), SimulatedClock()
    display = Display(Console(file=out, force_terminal=True, width=120))
    driver = Driver(small_sweep(num_samples=None, budget=3.0), ledger, clock=clock, listen=display.listen)
    display.watch(driver)
    with display:
        simulate(driver, clock, workers=1, refresh=lambda: setattr(display, "_drawn", 0.0) or display.refresh())
    ledger.close()
    assert "of 3 full trainings" in out.getvalue()
    assert "enough: the budget of 3 full trainings is used up" in out.getvalue()
