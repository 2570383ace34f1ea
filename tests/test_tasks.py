"""Tasks, and thinking ahead, through the driver and the simulated engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.driver import Driver
from orchestrator.driving.time_spent import WAITED
from orchestrator.errors import ResumeRefused
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.contract import Searcher
from search.history import History, key_of
from search.records import Status, Suggestion
from search.schedulers.asha import Asha
from search.searchers.random import Random
from search.task import FULL, Task
from tests.climbing import Climbing
from tests.support import interrupted_after, recorded, sequence, simulated, small_sweep
from tests.tasked import tasked
from trainables.contract import Policy
from trainables.training.loop import train
from trainables.values import NOTHING, Action, Signals
from trainables.workloads.quadratic import Quadratic


@dataclass(frozen=True)
class Decaying(Policy[None]):
    """The learning rate falls to zero at the end of the training, however long it is."""

    resumable = False
    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        if signals.train_loss is None:
            return None, NOTHING
        share = signals.step / signals.horizon
        return None, Action(replace(signals.knobs, learning_rate=signals.knobs.learning_rate * (1 - share)))


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


# Waiting, and thinking ahead.


@dataclass(frozen=True)
class Thinking(Searcher):
    """Counts how often it is asked, and when."""

    calls: list[tuple[str, int]] = field(default_factory=list, repr=False)

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
