"""Forks end to end, with real trainings: a child finds its parent's state, whatever was cut off in between."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.driver import Driver
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections.answer import section as answer
from orchestrator.record.ledger import Ledger
from orchestrator.simulate import SimulatedClock, simulate
from search.history import History
from search.records import Status
from search.searchers.pbt import PopulationBasedTraining
from search.space import Space, loguniform
from tests.support import SPACE, orchestrator, recorded, sequence, simulated, small_sweep
from tests.test_kills import Harness
from trainables.policies.replayed_schedule import ReplayedSchedule
from trainables.training.loop import Training
from trainables.workloads.quadratic import Quadratic


def sweep(**changes: Any) -> Any:
    fields = {
        "searcher": PopulationBasedTraining(population=4, interval=2, quantile=0.25),
        "num_samples": 4,
        "workload": Quadratic(horizon=10),
    }
    return small_sweep(**(fields | changes))


def forks(folder: Path) -> list[dict[str, Any]]:
    return [row for row in recorded(folder, "suggestion") if row["kind"] == "fork"]


def check_forks(folder: Path, horizon: int = 10) -> None:
    """Every fork found its parent's state at exactly the step, and went on from there."""
    found = forks(folder)
    assert found
    reports: dict[int, list[int]] = {}
    for row in recorded(folder, "report"):
        reports.setdefault(row["trial"], []).append(row["step"])
    for row in found:
        steps = reports.get(row["trial"], [])
        assert steps == list(range(row["parent_step"] + 1, row["parent_step"] + 1 + len(steps)))
        assert row["parent_step"] in reports[row["parent"]]
        assert row["replaces"] is not None
    events = recorded(folder, "event")
    assert not [row["text"] for row in events if row["kind"] in ("failure", "fallback", "nondeterminism")]
    last = {row["trial"]: row["status"] for row in recorded(folder, "ending")}
    assert set(last.values()) <= {"completed", "stopped"}
    assert list(last.values()).count("completed") == 4


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_population_trains_in_the_simulated_engine(tmp_path: Path, workers: int) -> None:
    driver = simulated(tmp_path, sweep(), workers=workers)
    check_forks(tmp_path)
    assert len([trial for trial in driver.history if trial.parent is None]) == 4


def test_a_child_goes_on_with_its_parents_weights_and_its_own_settings(tmp_path: Path) -> None:
    """With a learning rate that no longer moves anything, the child's loss is its parent's at that step."""

    class Halting(PopulationBasedTraining):
        def suggest(self, history: History) -> Any:
            suggestion = super().suggest(history)
            if suggestion is None or suggestion.kind != "fork":
                return suggestion
            return replace(suggestion, config={**suggestion.config, "learning_rate": 1e-12})

    space = Space(SPACE | {"learning_rate": loguniform(1e-12, 0.3)})
    simulated(tmp_path, sweep(searcher=Halting(population=4, interval=2, quantile=0.25), space=space))
    values = {(row["trial"], row["step"]): row["value"] for row in recorded(tmp_path, "report")}
    for row in forks(tmp_path):
        taken = values[row["parent"], row["parent_step"]]
        assert values[row["trial"], row["parent_step"] + 1] == pytest.approx(taken, abs=1e-6)


def test_what_nobody_forks_from_any_more_is_deleted(tmp_path: Path) -> None:
    driver = simulated(tmp_path, sweep(workload=Quadratic(horizon=20), keep_checkpoints=2), workers=2)
    kept = {int(path.parent.parent.name) for path in tmp_path.glob("trials/*/checkpoints/step-*")}
    assert kept == {trial.number for trial in sorted(driver.history.having(Status.COMPLETED), key=lambda t: t.loss)[:2]}


class Killed(BaseException):
    pass


def killed_after(folder: Path, described: Any, answers: int, workers: int) -> bool:
    """Stop dead after so many results, as a SIGKILL would. False: it ended before."""
    ledger, clock, left = Ledger.write(folder), SimulatedClock(), answers
    driver = Driver(described, ledger, clock=clock)

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    try:
        simulate(driver, clock, workers=workers, refresh=count)
    except Killed:
        return True
    finally:
        ledger.close(abruptly=True)
    return False


@pytest.mark.slow
@settings(max_examples=6, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 25), min_size=1, max_size=5), workers=st.integers(1, 4), seed=st.integers(0, 99))
def test_cut_off_anywhere_and_again_a_fork_finds_its_parents_state(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], workers: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    described = sweep(seed=seed)
    for answers in cuts:
        before = sequence(folder) if (folder / "ledger.db").exists() else []
        killed_after(folder, described, answers, workers)
        assert sequence(folder)[: len(before)] == before
        check_needed_checkpoints(folder, described)
    simulated(folder, described, workers=workers)
    check_forks(folder)
    if workers == 1:
        simulated(folder / "whole", described)
        assert sequence(folder) == sequence(folder / "whole")


def check_needed_checkpoints(folder: Path, described: Any) -> None:
    """All that the searcher may still fork from, and where forks began that have nothing of their own yet, is on the disk."""
    ledger = Ledger.read(folder)
    history = ledger.history(described.space, described.workload.horizon, described.seed, described.goal, limit=4)
    ledger.close()
    needed = set(described.searcher.forkable(history))
    for child in history.having(Status.RUNNING):
        if child.parent is not None and not any(
            (folder / f"trials/{child.number:05d}/checkpoints").glob("*/manifest.json")
        ):
            needed.add((child.parent, child.began))
    for number, step in needed:
        assert (folder / f"trials/{number:05d}/checkpoints/step-{step:06d}+000000/manifest.json").exists(), (
            number,
            step,
        )


def test_a_fork_whose_parents_checkpoint_is_lost_resumes_what_it_would_have_replaced(tmp_path: Path) -> None:
    class Careless(PopulationBasedTraining):
        def suggest(self, history: History) -> Any:
            suggestion = super().suggest(history)
            if suggestion is not None and suggestion.kind == "fork":
                for path in tmp_path.glob(
                    f"trials/{suggestion.parent:05d}/checkpoints/step-{suggestion.parent_step:06d}*"
                ):
                    shutil.rmtree(path)
            return suggestion

    driver = simulated(tmp_path, sweep(searcher=Careless(population=4, interval=2, quantile=0.25)))
    assert driver.history.count(Status.COMPLETED) == 4
    assert not driver.history.having(Status.FAILED)
    assert [row["origin"] for row in recorded(tmp_path, "suggestion")].count("fallback") > 0
    assert any("no checkpoint of trial" in row["text"] for row in recorded(tmp_path, "event"))


def test_lineage_is_recorded(tmp_path: Path) -> None:
    searcher = PopulationBasedTraining(population=4, interval=1)
    simulated(tmp_path, sweep(workload=Quadratic(horizon=4), searcher=searcher, num_samples=6))
    rows = forks(tmp_path)
    assert rows
    assert all(row["replaces"] is not None for row in rows)


@pytest.mark.parametrize(
    ("simulate", "kills"),
    [(True, 3), pytest.param(False, 3, marks=[pytest.mark.ray, pytest.mark.slow])],
    ids=["simulated", "ray"],
)
@pytest.mark.slow
def test_sigkills_at_random_instants_leave_every_fork_its_parents_state(
    tmp_path: Path, simulate: bool, kills: int
) -> None:
    flags = ["--max-concurrent", "2", *(["--simulate"] if simulate else [])]
    environment = {"SEARCHER": "population", "STEPS": "24", "SLEEP": "0.06"}
    harness = Harness(tmp_path, flags, 4, random.Random(11), environment)
    harness.run_to_the_end(kills, ("driver",) if simulate else ("driver", "worker", "everything"))
    assert harness.trials == 4, "it ended before it was killed so often"
    assert simulate or set(harness.kills) == {"driver", "worker", "everything"}
    check_forks(tmp_path / "steady")


def test_the_schedule_of_a_member_is_shown_and_a_training_afresh_follows_it(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    driver = simulated(folder, sweep())
    child = max((row for row in forks(folder)), key=lambda row: row["trial"])["trial"]
    shown = orchestrator("export", "small", "--schedule", "--runs", str(tmp_path), "--trial", str(child), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    stretches = json.loads(shown.stdout)
    assert [stretch["trial"] for stretch in stretches] != [child]
    covered = [step for stretch in stretches for step in range(stretch["first"], stretch["last"] + 1)]
    assert covered == list(range(1, driver.history.trials[child].step + 1))
    seeds = {row["trial"]: row["seed"] for row in recorded(folder, "suggestion")}
    for stretch in stretches:
        assert stretch["seed"] == seeds[stretch["trial"]]
        trial = driver.history.trials[stretch["trial"]]
        assert stretch["config"] == trial.config
        assert all(trial.loss_at(step) is not None for step in range(stretch["first"], stretch["last"] + 1))

    policy = ReplayedSchedule.of(Quadratic(), stretches)
    knobs: dict[int, Any] = {}
    training = Training(Quadratic(horizon=10), policy, stretches[0]["config"])
    for item in training:
        if item is None:
            knobs[training.step + 1] = training.control.knobs
    for stretch in stretches:
        for step in range(stretch["first"], stretch["last"] + 1):
            assert knobs[step] == Quadratic().knobs(stretch["config"])


def test_the_schedule_of_the_best_is_shown_by_default_and_an_unknown_trial_is_refused(tmp_path: Path) -> None:
    driver = simulated(tmp_path / "small", sweep())
    assert driver.best is not None
    best = orchestrator("export", "small", "--schedule", "--runs", str(tmp_path), cwd=tmp_path)
    stretches = json.loads(best.stdout)
    assert stretches[-1]["trial"] == driver.best.number
    for command in ("export", "show"):
        shown = orchestrator(command, "small", "--runs", str(tmp_path), cwd=tmp_path).stdout
        assert ("These values hold after step" in shown) == (len(stretches) > 1)
    ledger = Ledger.read(tmp_path / "small")
    (table, *_) = answer(Recorded.of(ledger)).figures
    ledger.close()
    assert (f"These values hold after step {driver.best.began} only" in str(table)) == (len(stretches) > 1)
    unknown = orchestrator("export", "small", "--schedule", "--runs", str(tmp_path), "--trial", "99", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "no trial 99" in unknown.stderr
