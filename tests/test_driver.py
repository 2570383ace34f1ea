"""Whatever a trial does, the sweep goes on and the ledger is right; whatever stops a sweep, the same command goes on."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import failures
from orchestrator.driver import Driver
from orchestrator.reading.summary import newest_checkpoint
from orchestrator.reading.trained_again import trained_again
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.contract import Scheduler, Searcher
from search.history import History
from search.records import BASELINE, Config, Status, Suggestion
from search.rules.conduct import SAME_FAILURES
from search.schedulers.asha import Asha, AshaPromote
from search.schedulers.run_to_end import RunToEnd
from search.searchers.grid import Grid
from search.searchers.optuna import Tpe
from search.searchers.random import Random
from search.space import Space, pow2, uniform
from search.work import Reported
from tests.driving import statuses
from tests.support import SPACE, interrupted_after, recorded, sequence, simulated, small_sweep
from tests.trouble import Troubled
from trainables.contract import OwnTraining
from trainables.workloads.quadratic import Quadratic

POINT = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 8}


@pytest.mark.parametrize(
    ("trouble", "status", "reason"),
    [
        ("nan", "diverged", "loss = nan at step 2"),
        ("inf", "diverged", "loss = inf at step 2"),
        ("-inf", "diverged", "loss = -inf at step 2"),
        ("typo", "failed", "NoMetric: step 2 reported no 'loss'. Did you mean 'lose'?"),
        ("string", "failed", "NoMetric: step 2: loss='low' is not a number."),
        ("memory", "failed", "OutOfMemory: MemoryError: no more"),
        ("raise", "failed", "RuntimeError: trial 2 is broken by design"),
    ],
)
@pytest.mark.parametrize(
    "scheduler", [Asha(grace_period=2, reduction_factor=2), AshaPromote(grace_period=2, reduction_factor=2)]
)
def test_a_trial_that_goes_wrong_is_recorded_and_the_sweep_goes_on(
    tmp_path: Path, trouble: str, status: str, reason: str, scheduler: Any
) -> None:
    driver = simulated(
        tmp_path / "small", small_sweep(workload=Troubled(((2, trouble),)), scheduler=scheduler, baseline=POINT)
    )
    trial = driver.history.trials[2]
    if trial.step < 1 or (trial.status is Status.STOPPED):  # the scheduler stopped it before the trouble
        pytest.skip("stopped before step 2")
    assert trial.status.value == status
    assert trial.reason == reason
    assert len(driver.history.trials) == 5
    assert all(other.status in (Status.COMPLETED, Status.STOPPED) for other in driver.history if other is not trial)
    assert driver.best is not None
    assert driver.best is not trial
    detail = [row for row in recorded(tmp_path / "small", "ending") if row["trial"] == 2][-1]["detail"]
    if trouble == "raise":
        assert "Traceback" in detail
        assert "broken by design" in detail


def test_a_loss_that_explodes_ends_the_trial_if_a_limit_is_given(tmp_path: Path) -> None:
    """F15: learning rate 2.4 is beyond what the bowl bears; the loss grows, but stays finite for long."""
    sweep = small_sweep(space=Space({"learning_rate": 2.4, "momentum": 0.0, "batch_size": 16}), num_samples=1)
    free = simulated(tmp_path / "free", sweep).history.trials[0]
    assert free.status is Status.COMPLETED
    limit = free.losses[1]
    limited = simulated(tmp_path / "limited", replace(sweep, diverged_beyond=limit)).history.trials[0]
    assert limited.losses == free.losses[:3]
    assert limited.status is Status.DIVERGED


@pytest.mark.parametrize("workers", [1, 3])
def test_a_target_ends_the_training_that_reaches_it_and_then_the_search(workers: int, tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=12, workload=Quadratic(horizon=4, declared_cost=1.0))  # who is first is no accident
    whole = simulated(tmp_path / "whole", sweep, workers).history
    target = min(loss for trial in whole for loss in trial.losses[:-1])
    driver = simulated(tmp_path / "target", replace(sweep, target=target), workers)
    reached = [trial for trial in driver.history if trial.losses and trial.loss <= target]
    assert reached[0].status is Status.COMPLETED
    reasons = {row["trial"]: row["reason"] for row in recorded(tmp_path / "target", "ending")}
    last = reached[0].step == 4
    assert reasons[reached[0].number] == ("reached the horizon" if last else f"reached the target of {target:g}")
    assert all(loss > target for loss in reached[0].losses[:-1])
    others = [trial for trial in driver.history if trial is not reached[0]]
    assert all(trial.status in (Status.COMPLETED, Status.STOPPED) for trial in others)
    assert driver.over.startswith(f"the target is reached: trial {reached[0].number} at step {reached[0].step}")
    assert len(driver.history.trials) <= reached[0].number + workers  # nothing was started after it
    again = simulated(tmp_path / "target", replace(sweep, target=target), workers)
    assert len(again.history.trials) == len(driver.history.trials)  # the same command has nothing to do
    better = simulated(tmp_path / "target", replace(sweep, target=None), workers)
    assert len(better.history.trials) == 12  # a new goal: the search goes on


def test_a_damaged_checkpoint_is_passed_over_and_told(tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=2, workload=Quadratic(horizon=6, declared_cost=1.0))  # neither is through by then
    interrupted_after(tmp_path, sweep, 7)
    newest = sorted(tmp_path.glob("trials/00000/checkpoints/step-*"))[-1]
    weights = newest / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    driver = simulated(tmp_path, sweep)
    assert statuses(driver) == ["completed"] * 2
    told = [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == "notice"]
    assert any(newest.name in text for text in told), told
    simulated(tmp_path / "whole", sweep, workers=2)
    ours, whole = recorded(tmp_path, "report"), recorded(tmp_path / "whole", "report")
    key = ("trial", "step", "value")
    assert sorted([row[k] for k in key] for row in ours) == sorted([row[k] for k in key] for row in whole)


def test_a_checkpoint_that_is_whole_but_not_the_one_on_record_is_passed_over(tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=2, workload=Quadratic(horizon=6, declared_cost=1.0))  # neither is through by then
    folder = tmp_path / "small"
    interrupted_after(folder, sweep, 7)
    newest = folder / [row["path"] for row in recorded(folder, "checkpoint") if row["trial"] == 0][-1]
    other = sorted(folder.glob("trials/00001/checkpoints/step-*"))[-1]
    for path in folder.glob("trials/00000/checkpoints/step-*"):
        if path.name >= newest.name:  # what was written last may not be on record yet
            shutil.rmtree(path)
    shutil.copytree(other, newest)  # another trial's weights
    ledger = Ledger.read(folder)
    assert newest_checkpoint(ledger, 0) != newest
    assert newest_checkpoint(ledger, 1) is not None
    ledger.close()
    simulated(folder, sweep)
    told = [row["text"] for row in recorded(folder, "event") if row["kind"] == "notice"]
    assert any(newest.name in text and "SHA-256 that is on record" in text for text in told), told
    simulated(tmp_path / "whole", sweep, workers=2)
    ours, whole = recorded(folder, "report"), recorded(tmp_path / "whole", "report")
    key = ("trial", "step", "value")
    assert sorted([row[k] for k in key] for row in ours) == sorted([row[k] for k in key] for row in whole)


def test_the_first_failure_is_shown_whole_and_at_once(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    ledger = Ledger.write(tmp_path)
    clock = SimulatedClock()
    driver = Driver(
        small_sweep(workload=Troubled(((0, "raise"), (1, "raise")))),
        ledger,
        clock=clock,
        listen=lambda *what: told.append(what),
    )
    simulate(driver, clock, workers=1)
    ledger.close()
    failures = [text for kind, text in told if kind == "failure"]
    assert len(failures) == 1
    assert "Traceback" in failures[0]


def test_the_same_failure_three_times_at_the_start_stops_the_sweep_with_the_reason(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Broken(OwnTraining):
        metric, mode, metrics, horizon, baseline = "loss", "min", ("loss",), 3, None

        def run(self, policy: Any, assignment: Any, should_pause: Any = None) -> Any:
            raise FileNotFoundError("no data in /data")

    driver = simulated(tmp_path, small_sweep(workload=Broken(), num_samples=50))
    assert len(driver.history.trials) == SAME_FAILURES
    assert driver.abort_reason == "the first 3 trials failed in the same way: FileNotFoundError: no data in /data"


def test_a_reason_names_its_error_once() -> None:
    assert (
        failures.reason("ValueError", "Traceback (most recent call last):\n  File …\nValueError: no")
        == "ValueError: no"
    )
    assert (
        failures.reason(
            "WorkerLost", "Traceback (most recent call last):\n  File …\ntrainables.parallel.WorkerLost: worker 1"
        )
        == "WorkerLost: worker 1"
    )
    assert (
        failures.reason("OutOfMemory", "torch.OutOfMemoryError: 1 GiB") == "OutOfMemory: torch.OutOfMemoryError: 1 GiB"
    )


def test_a_prepare_that_fails_stops_the_sweep_with_the_reason(tmp_path: Path) -> None:
    class Unprepared(Quadratic):
        def prepare(self, folder: Path) -> None:
            raise FileNotFoundError("weights are missing")

    driver = simulated(tmp_path, small_sweep(workload=Unprepared(horizon=2)))
    assert len(driver.history.trials) == 0
    assert "weights are missing" in driver.abort_reason


@dataclass(frozen=True)
class Stumbling(Searcher):
    """Breaks at every third suggestion."""

    def suggest(self, history: History) -> Suggestion | None:
        if len(history.trials) % 3 == 1:
            raise ArithmeticError("the fit failed")
        return Random().suggest(history)


def test_a_searcher_that_breaks_is_replaced_for_that_suggestion_and_counted(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(searcher=Stumbling(), num_samples=6))
    origins = [row["origin"] for row in recorded(tmp_path, "suggestion")]
    assert origins == ["random", "fallback", "random", "random", "fallback", "random"]
    assert statuses(driver) == ["completed"] * 6
    assert "the fit failed" in recorded(tmp_path, "suggestion")[1]["evidence"]
    assert [row["kind"] for row in recorded(tmp_path, "event")].count("fallback") == 2


def test_the_baseline_comes_first_and_is_never_stopped(tmp_path: Path) -> None:
    bad = {"learning_rate": 1e-3, "momentum": 0.0, "batch_size": 4}
    sweep = small_sweep(
        baseline=bad, num_samples=12, scheduler=Asha(grace_period=1, reduction_factor=2), points_to_evaluate=[POINT]
    )
    driver = simulated(tmp_path, sweep)
    first, second = driver.history.trials[:2]
    assert (first.first_origin, dict(first.config), first.status) == (BASELINE, bad, Status.COMPLETED)
    assert dict(second.config) == POINT
    assert driver.history.count(Status.STOPPED) > 0


def test_the_best_is_a_completed_trial_with_its_own_checkpoint_and_test(tmp_path: Path) -> None:
    driver = simulated(tmp_path, small_sweep(num_samples=10, keep_checkpoints=2))
    best = driver.best
    assert best is not None
    assert best.loss == min(trial.loss for trial in driver.history)
    assert [row["trial"] for row in recorded(tmp_path, "test")] == [best.number]
    kept = {path.parent.parent.name for path in tmp_path.glob("trials/*/checkpoints/*")}
    two_best = sorted(driver.history.trials, key=lambda trial: trial.loss)[:2]
    assert kept == {f"{trial.number:05d}" for trial in two_best}


def test_metrics_of_numpy_are_numbers_and_others_are_left_out(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1), ledger)
    order = driver.next()
    assert order is not None
    driver.finish_job(order)
    assert driver.next() is not None
    assert driver.receive(0, [Reported(step=1, metrics={"loss": np.float32(0.5), "note": "x"})])  # type: ignore[dict-item]
    ledger.close()
    assert [(row["value"], row["metrics"]) for row in recorded(tmp_path, "report")] == [(0.5, {"loss": 0.5})]


# What workers answer late, twice or in another order.


def test_reports_that_come_again_shuffled_three_times_change_nothing(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1), ledger)
    order = driver.next()
    while order is None or order.kind != "train":
        if order is not None:
            driver.finish_job(order)
        order = driver.next()
    reports = [Reported(step=step, metrics={"loss": 1.0 / step}) for step in (1, 2, 3)]
    assert driver.receive(0, reports)
    before = sequence(tmp_path)
    for seed in range(3):
        assert driver.receive(0, random.Random(seed).sample(reports, 3))
    assert sequence(tmp_path) == before
    assert not [row for row in recorded(tmp_path, "event") if row["kind"] == "nondeterminism"]
    driver.receive(0, [replace(reports[1], metrics={"loss": 7.0})])
    event = next(row for row in recorded(tmp_path, "event") if row["kind"] == "nondeterminism")
    assert "trial 0 step 2: loss was 0.5, and 7.0 when trained again" in event["text"]
    assert event["text"].endswith("is not deterministic on this machine, or keeps state outside of what it saves.")
    assert trained_again(event["text"]) == (2, 0.5, 7.0)
    assert sequence(tmp_path) == before
    ledger.close()


def test_a_trial_that_loses_its_worker_is_retried_and_given_up_only_without_progress(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path)
    driver = Driver(small_sweep(num_samples=1, retries=2), ledger)

    def handed_out() -> int:
        while True:
            order = driver.next()
            assert order is not None
            if order.kind == "train":
                return order.trial
            driver.finish_job(order)

    for step in (1, 2, 3):  # with progress in between, a loss is a preemption and costs nothing
        assert handed_out() == 0
        driver.receive(0, [Reported(step=step, metrics={"loss": 1.0})])
        driver.lose(0, "killed")
    for _ in range(2):
        assert driver.history.trials[0].status is Status.RUNNING
        assert handed_out() == 0
        driver.lose(0, "killed")
    assert driver.history.trials[0].status is Status.FAILED
    assert "WorkerLost: killed (3 times at step 3)" in driver.history.trials[0].reason
    ledger.close()


def test_grid_search_ends_by_itself(tmp_path: Path) -> None:
    space = Space({"learning_rate": 0.1, "momentum": 0.5, "batch_size": pow2(4, 16)})
    driver = simulated(tmp_path, small_sweep(space=space, searcher=Grid(), num_samples=50))
    assert [trial.config["batch_size"] for trial in driver.history] == [4, 8, 16]
    assert driver.finished


def test_driver_time_does_not_grow_with_the_number_of_trials(tmp_path: Path) -> None:
    """Counts the rows that the driver writes, not seconds: as many for the 200th trial as for the 20th."""
    ledger = Ledger.write(tmp_path)
    clock = SimulatedClock()
    driver = Driver(small_sweep(num_samples=60, workload=Quadratic(horizon=1)), ledger, clock=lambda: 0.0)
    marks: list[int] = []
    simulate(driver, clock, workers=1, refresh=lambda: marks.append(ledger.last))
    ledger.close()
    steps = [later - earlier for earlier, later in pairwise(marks[5:])]
    assert len(set(steps)) <= 2


def test_workers_schedulers_and_kills_do_not_change_the_configurations(tmp_path: Path) -> None:
    def tried(name: str, scheduler: Scheduler, workers: int, *kills: int) -> list[Config]:
        sweep = small_sweep(scheduler=scheduler, num_samples=12, seed=3)
        for answers in kills:
            interrupted_after(tmp_path / name, sweep, answers, workers)
        return [trial.config for trial in simulated(tmp_path / name, sweep, workers).history]

    expected = tried("one", RunToEnd(), 1)
    assert len({str(config) for config in expected}) == 12
    assert tried("four", RunToEnd(), 4) == expected
    assert tried("asha", Asha(reduction_factor=2), 4) == expected
    assert tried("promote", AshaPromote(reduction_factor=2), 3) == expected
    assert tried("killed", AshaPromote(reduction_factor=2), 4, 3, 7, 5) == expected


@pytest.mark.parametrize("searcher", [Random(), Tpe(n_startup_trials=2)], ids=lambda given: type(given).__name__)
def test_a_constraint_that_leaves_next_to_nothing_ends_no_sweep(tmp_path: Path, searcher: Searcher) -> None:
    def tight(config: dict[str, Any]) -> bool:
        return abs(config["momentum"] - 0.3) < 0.01 and 0.1 < config["learning_rate"] < 0.12

    space = Space({**SPACE, "momentum": uniform(0, 0.9)}, {"tight": tight})
    for seed in range(3):
        driver = simulated(tmp_path / str(seed), small_sweep(space=space, searcher=searcher, seed=seed))
        assert statuses(driver) == ["completed"] * 5
        assert all(tight(trial.config) for trial in driver.history)


def test_where_not_even_a_random_configuration_is_there_the_search_ends_with_the_reason(tmp_path: Path) -> None:
    gone: list[str] = []

    class Breaking(Random):
        def suggest(self, history: History) -> Suggestion:
            if len(history.trials) == 2:
                gone.append("the file of limits is gone")
                raise RuntimeError("no idea")
            return super().suggest(history)

    def limits(config: dict[str, Any]) -> bool:
        if gone:
            raise OSError(gone[0])
        return True

    driver = simulated(tmp_path, small_sweep(space=Space(SPACE, {"limits": limits}), searcher=Breaking()))
    assert statuses(driver) == ["completed"] * 2
    assert "no idea" in driver.over
    assert "the file of limits is gone" in driver.over
