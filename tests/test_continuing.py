"""The same command again: what goes on, what may change, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator.driver import Driver
from orchestrator.errors import NotTheSame, ResumeRefused
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.replay import replay_trial
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.history import incumbent
from search.records import Status, resume, start
from search.schedulers.asha import Asha, AshaPromote
from search.searchers.optuna import Tpe
from search.space import Space, choice, loguniform, pow2, uniform, when
from tests.driving import statuses
from tests.support import SPACE, interrupted_after, recorded, sequence, simulated, small_sweep
from trainables.workloads.callable import FromFunction
from trainables.workloads.quadratic import Quadratic


def test_the_same_command_on_a_finished_sweep_does_nothing_more(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep())
    before = sequence(tmp_path)
    driver = simulated(tmp_path, small_sweep())
    assert sequence(tmp_path) == before
    assert driver.found == "Continuing small: 5 trials, 20 reports on record: 5 completed."


def test_more_trials_use_the_old_results_and_leave_a_line_of_lineage(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep())
    before = sequence(tmp_path)
    simulated(tmp_path, small_sweep(num_samples=8))
    assert sequence(tmp_path)[: len(before)] == before
    assert sequence(tmp_path) == sequence_of_fresh(tmp_path / "fresh", num_samples=8)
    assert [row["change"] for row in recorded(tmp_path, "sweep")] == ["", "num_samples: 5 → 8"]


def sequence_of_fresh(folder: Path, **changes: Any) -> list[tuple[Any, ...]]:
    simulated(folder, small_sweep(**changes))
    return sequence(folder)


def test_another_searcher_and_scheduler_may_take_over(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(num_samples=12))
    driver = simulated(tmp_path, small_sweep(num_samples=15, searcher=Tpe(), scheduler=Asha()))
    assert len(driver.history.trials) == 15
    assert "searcher: Random() → Tpe(" in recorded(tmp_path, "sweep")[1]["change"]
    origins = [row["origin"] for row in recorded(tmp_path, "suggestion")][12:]
    assert "initial" not in origins  # 12 results were enough
    assert "model" in origins


def test_a_promoting_scheduler_resumes_what_a_stopping_one_left(tmp_path: Path) -> None:
    workload = Quadratic(horizon=9)
    simulated(
        tmp_path, small_sweep(workload=workload, num_samples=9, scheduler=Asha(grace_period=1, reduction_factor=3))
    )
    stopped = {row["trial"] for row in recorded(tmp_path, "ending") if row["status"] == "stopped"}
    driver = simulated(
        tmp_path,
        small_sweep(workload=workload, num_samples=9, scheduler=AshaPromote(grace_period=1, reduction_factor=3)),
    )
    resumed = [row["trial"] for row in recorded(tmp_path, "suggestion") if row["kind"] == "resume"]
    assert set(resumed) <= stopped
    assert all(trial.steps == list(range(1, trial.step + 1)) for trial in driver.history)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mode": "max"}, "mode = min, now max"),
        ({"workload": Quadratic(horizon=5)}, r"workload\.horizon = 4, now 5"),
        ({"policy": lambda config: None}, r"policy = Fixed\(\)"),
        ({"space": Space(SPACE | {"learning_rate": loguniform(0.5, 0.9)})}, "space has changed .*learning_rate"),
        (
            {"space": Space({"learning_rate": loguniform(1e-3, 0.3), "batch_size": pow2(4, 32)})},
            "space has changed .*momentum",
        ),
        ({"space": Space(SPACE | {"warmup": uniform(0, 1)})}, "space has changed .*warmup"),
        ({"space": Space(SPACE | {"warmup": 0.5})}, r"a new fixed parameter warmup = 0\.5, and .* trained without it"),
    ],
)
def test_a_change_that_makes_old_results_meaningless_is_refused_with_the_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    simulated(tmp_path, small_sweep())
    before = sequence(tmp_path)
    with pytest.raises(ResumeRefused, match=field) as caught:
        simulated(tmp_path, small_sweep(**changes))
    assert caught.value.exit_code == 6
    assert "--name" in str(caught.value)
    assert sequence(tmp_path) == before
    assert len(recorded(tmp_path, "sweep")) == 1


def test_a_narrower_space_goes_on_with_the_results_that_are_still_inside(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(num_samples=10))
    narrow = Space(SPACE | {"momentum": uniform(0.2, 0.9)})
    driver = simulated(tmp_path, small_sweep(num_samples=14, space=narrow, searcher=Tpe()))
    assert all(narrow.contains(trial.config) for trial in driver.history.trials[10:])


def test_a_best_trial_outside_of_a_narrowed_space_is_told_everywhere(tmp_path: Path) -> None:
    best = incumbent(simulated(tmp_path, small_sweep(num_samples=10)).history)
    assert best is not None
    momentum = best.config["momentum"]
    narrow = uniform(0.0, momentum / 2) if momentum > 0.45 else uniform((0.9 + momentum) / 2, 0.9)
    ledger = Ledger.read(tmp_path)
    assert summary(ledger)["outside"] == ""
    ledger.close()
    simulated(tmp_path, small_sweep(num_samples=11, space=Space(SPACE | {"momentum": narrow})))
    told = f"trial {best.number} is outside of the present space: momentum {momentum:.4g} (now {narrow.low:g} to {narrow.high:g})"
    ledger = Ledger.read(tmp_path)
    assert summary(ledger)["outside"] == told
    console = Console(width=300)
    with console.capture() as shown:
        print_summary(ledger, console)
    assert f"Note: {told}." in shown.get()
    assert f"# Note: {told}." in best_as_yaml(ledger)
    assert told in str(section(Recorded.of(ledger)).figures[0])
    ledger.close()


def test_a_new_option_may_bring_a_fixed_parameter_of_its_own(tmp_path: Path) -> None:
    """The old trials are no trials of that option, so they lack nothing."""
    simulated(tmp_path, small_sweep(space=Space(SPACE | {"optimizer": choice(["sgd", "adam"])})))
    wider = Space(SPACE | {"optimizer": choice(["sgd", "adam", "lion"]), "beta": when(0.9, optimizer="lion")})
    driver = simulated(tmp_path, small_sweep(space=wider, num_samples=7))
    assert len(driver.history.trials) == 7
    assert all(trial.in_space for trial in driver.history)


@pytest.mark.parametrize(
    "scheduler", [None, Asha(grace_period=2, reduction_factor=2), AshaPromote(grace_period=2, reduction_factor=2)]
)
def test_cut_off_anywhere_a_sweep_ends_complete(tmp_path: Path, scheduler: Any) -> None:
    changes = {"num_samples": 6} | ({} if scheduler is None else {"scheduler": scheduler})
    for answers in range(0, 16, 3):
        folder = tmp_path / str(answers)
        interrupted_after(folder, small_sweep(**changes), answers)
        before = sequence(folder)
        driver = simulated(folder, small_sweep(**changes), workers=2)
        assert sequence(folder)[: len(before)] == before
        assert len(driver.history.trials) == 6
        assert all(trial.steps == list(range(1, trial.step + 1)) for trial in driver.history)
        assert not driver.history.having(Status.RUNNING)
        assert [row["kind"] for row in recorded(folder, "event")].count("nondeterminism") == 0


def test_stopping_by_request_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    steady = Quadratic(horizon=30, declared_cost=1.0)  # measured seconds would decide who comes next
    ledger = Ledger.write(tmp_path)
    clock = SimulatedClock()
    driver = Driver(small_sweep(workload=steady, num_samples=3), ledger, clock=clock)
    results = 0

    def stop_soon() -> None:
        nonlocal results
        results += 1
        if results == 5:
            driver.stop("a signal asked for it")

    simulate(driver, clock, workers=2, refresh=stop_soon)
    ledger.close()
    assert driver.finished
    running = driver.history.having(Status.RUNNING)
    assert len(running) == 2
    checkpoints = {row["trial"] for row in recorded(tmp_path, "checkpoint")}
    assert {trial.number for trial in running} <= checkpoints
    again = simulated(tmp_path, small_sweep(workload=steady, num_samples=3))
    assert "2 interrupted (resuming from their last checkpoints, if they have any)" in again.found
    assert statuses(again) == ["completed"] * 3


def test_the_time_budget_counts_over_all_invocations(tmp_path: Path) -> None:
    slow = Quadratic(horizon=4, declared_cost=10.0)
    first = simulated(tmp_path, small_sweep(workload=slow, num_samples=9, time_budget=100))
    assert "time budget of 100s" in first.stop_reason
    done = sum(len(trial.steps) for trial in first.history)
    assert 8 <= done <= 14
    second = simulated(tmp_path, small_sweep(workload=slow, num_samples=9, time_budget=100))
    assert sum(len(trial.steps) for trial in second.history) == done
    third = simulated(tmp_path, small_sweep(workload=slow, num_samples=9, time_budget="1h"))
    assert statuses(third) == ["completed"] * 9
    assert [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == "time"] == [first.stop_reason] * 2


@pytest.mark.parametrize(("finalists", "is_unfinished"), [(0, False), (2, True)])
def test_a_sweep_that_has_nothing_left_to_do_is_not_out_of_time(
    tmp_path: Path, finalists: int, is_unfinished: bool
) -> None:
    slow = Quadratic(horizon=4, declared_cost=10.0)
    simulated(tmp_path, small_sweep(workload=slow, num_samples=3))
    again = simulated(tmp_path, small_sweep(workload=slow, num_samples=3, time_budget=100, finalists=finalists))
    assert again.stop_reason
    assert again.is_out_of_time is is_unfinished


def test_the_time_of_a_killed_invocation_counts_too(tmp_path: Path) -> None:
    """By the driver's own clock: what the system's says may have jumped by days."""
    sweep = small_sweep(workload=Quadratic(horizon=8, declared_cost=10.0), num_samples=4)
    interrupted_after(tmp_path, sweep, 8)
    ledger = Ledger.write(tmp_path)
    assert {row["kind"] for row in ledger.rows("event")} == {"spent"}
    spent = Driver(sweep, ledger, clock=lambda: 0.0).spent_seconds
    ledger.close()
    told = [float(row["text"]) for row in recorded(tmp_path, "event") if row["kind"] == "spent"]
    assert spent == max(told)
    assert len(told) > 3


def test_a_replay_that_differs_where_the_trial_was_resumed_says_so(tmp_path: Path) -> None:
    def forgetful(config: Any, state: Any) -> Iterator[Any]:
        random = np.random.default_rng(0)
        for step in range(state["step"] if state else 0, 12):
            yield {"loss": float(random.random())}, {"step": step + 1}

    sweep = small_sweep(
        workload=FromFunction(forgetful, metric="loss", mode="min", horizon=12), num_samples=1, baseline=None
    )
    interrupted_after(tmp_path, sweep, 7, workers=1)
    last = recorded(tmp_path, "report")[-1]["step"]
    simulated(tmp_path, sweep)
    assert 1 < last < 12
    with pytest.raises(NotTheSame) as caught:
        replay_trial(sweep, tmp_path, 0, None)
    assert f"the first at step {last + 1}. The trial was resumed after step {last}, and its training" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("event", "cost", "expected"),
    [
        (
            "trial 0: step 3 is 0.5 when trained again; 0.25 stays on record",
            1.0,
            "after step 4, and its training does not seem to",
        ),
        ("", 1.0, "after step 2, and its training perhaps does not"),
        ("", 0.0, "after step 4, and its training does not seem to"),  # found when it was resumed, which costs nothing
    ],
)
def test_a_replay_knows_of_a_resume_from_the_steps_that_a_script_repeated(
    tmp_path: Path, event: str, cost: float, expected: str
) -> None:
    """The script had gone on to step 4 when it was stopped at 2, and steps 3 and 4 were recorded after it was resumed."""

    def falling(config: Any, state: Any) -> Iterator[Any]:
        for step in range(1, 7):
            yield {"loss": 1 / step}

    sweep = small_sweep(workload=FromFunction(falling, metric="loss", mode="min", horizon=6), num_samples=1)
    ledger = Ledger.write(tmp_path)
    with ledger.transaction():
        ledger.add_sweep(sweep, "", [])
        ledger.add_suggestion(0, start(sweep.space.sample(np.random.default_rng(0)), until=2), seed=1)
        for step in range(1, 7):
            if step == 3:
                ledger.add_suggestion(0, resume(ledger.history(sweep.space, 6, 0, sweep.goal).trials[0]), seed=1)
            if step == 5 and event:
                ledger.add_event("notice", event, 0)
            loss = 1 / step if step < 5 else 7.0
            ledger.add_report(0, step, loss, cost if step in (3, 4) else 1.0, {"loss": loss})
        ledger.add_ending(0, Status.COMPLETED, 6, "")
    ledger.close()
    with pytest.raises(NotTheSame) as caught:
        replay_trial(sweep, tmp_path, 0, None)
    assert f"the first at step 5. The trial was resumed {expected} restore all of its state" in str(caught.value)


def test_a_replay_that_differs_from_the_first_step_on_gives_no_such_reason(tmp_path: Path) -> None:
    def drifting(config: Any, state: Any) -> Iterator[Any]:
        random = np.random.default_rng()
        for _ in range(3):
            yield {"loss": float(random.random())}

    sweep = small_sweep(workload=FromFunction(drifting, metric="loss", mode="min", horizon=3), num_samples=1)
    simulated(tmp_path, sweep)
    with pytest.raises(NotTheSame) as caught:
        replay_trial(sweep, tmp_path, 0, None)
    assert str(caught.value).endswith("3 of 3 steps differ from the record, the first at step 1.")


def test_fewer_checkpoints_and_other_packages_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(tmp_path, small_sweep(num_samples=4))
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9" if name == "torch" else version(name))
    driver = simulated(tmp_path, small_sweep(num_samples=4, keep_checkpoints=1))
    assert f"Other packages than before: torch {version('torch')} → 9.9.9." in driver.found
    told = [row["text"] for row in recorded(tmp_path, "event") if row["kind"] == "notice"]
    assert told == [
        "keep_checkpoints=1: the checkpoints of 3 completed trials that are not among the best 1 will be deleted"
    ]
    assert len(list(tmp_path.glob("trials/*/checkpoints"))) == 1


def test_a_best_trial_whose_checkpoint_is_gone_says_so(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(num_samples=2))
    for checkpoints in tmp_path.glob("trials/*/checkpoints"):
        shutil.rmtree(checkpoints)
    ledger = Ledger.read(tmp_path)
    console = Console(record=True, width=200)
    print_summary(ledger, console)
    ledger.close()
    assert "Checkpoint   none: that of step" in console.export_text()
