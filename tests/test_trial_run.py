"""The run of an assignment: reports, checkpoints, pauses, forks, costs, the test at the end."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from search.work import Assignment, Notice
from tests.trainings import Turning, assign, begin, disturb, good, metrics, numbers, place, reports
from trainables.carry_out import carry_out, measured_on_test
from trainables.contract import Policy
from trainables.execution import checkpoint
from trainables.execution.run import Run
from trainables.execution.store import Store
from trainables.policies.fixed import Fixed
from trainables.policies.plateau import Plateau
from trainables.training.loop import train
from trainables.values import NOTHING, Action, Knobs, Signals
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.resnet_finetune import ResNetFinetune

pytestmark = pytest.mark.usefixtures("one_thread")

# Training that goes wrong


@pytest.mark.parametrize("rate", [1e30, 50.0])
def test_a_diverged_training_says_so_and_ends(rate: float, prepared: Path, tmp_path: Path) -> None:
    workload = Quadratic(horizon=100)
    config = {**good(workload), "learning_rate": rate}
    *_, last = list(carry_out(workload, Fixed(), Assignment(0, config, 1, until=100, folder=tmp_path)))
    assert last is not None
    assert last.kind == "report"
    assert last.step < 100
    assert not math.isfinite(last.metrics["loss"])


def kinds(run: Run) -> list[tuple[str, int]]:
    return [(item.kind, item.step) for item in run if item is not None and item.kind != "decision"]


@lru_cache(maxsize=1)
def whole() -> dict[int, Mapping[str, float]]:
    """What a training reports that nothing interrupts."""
    return {item.step: item.metrics for item in train(Quadratic(), Turning(), good(Quadratic()), seed=3)}


def test_no_policy_is_a_fixed_one(tmp_path: Path) -> None:
    without = reports(carry_out(Quadratic(), None, assign(tmp_path, folder=tmp_path / "none")))
    assert without == reports(carry_out(Quadratic(), Fixed(), assign(tmp_path)))


def test_a_report_comes_before_the_checkpoint_of_its_step(tmp_path: Path) -> None:
    run = carry_out(Quadratic(), Fixed(), assign(tmp_path, until=3))
    for item in run:
        if item is not None and item.kind == "report":
            assert not any(found.step == item.step for found in Store(tmp_path / "trial").find())
    again = kinds(carry_out(Quadratic(), Fixed(), assign(tmp_path, until=3, folder=tmp_path / "again")))
    assert again == [(kind, step) for step in (1, 2, 3) for kind in ("report", "checkpoint")]


def test_a_finished_assignment_goes_on_when_it_is_promoted(tmp_path: Path) -> None:
    seen = reports(carry_out(Quadratic(), Turning(), assign(tmp_path, until=3)))
    again = kinds(carry_out(Quadratic(), Turning(), assign(tmp_path, until=3, recorded=3)))
    assert again == [("checkpoint", 3)]  # told again: the driver may have been killed before it was recorded
    seen |= reports(carry_out(Quadratic(), Turning(), assign(tmp_path, until=9, recorded=3)))
    assert seen == whole()


def test_what_is_not_recorded_is_trained_again(tmp_path: Path) -> None:
    reports(carry_out(Quadratic(), Turning(), assign(tmp_path, until=5)))
    again = list(carry_out(Quadratic(), Turning(), assign(tmp_path, recorded=4)))
    assert list(reports(again)) == [5, 6, 7, 8, 9]
    assert reports(again) == {step: whole()[step] for step in range(5, 10)}


def test_a_damaged_checkpoint_is_passed_over_and_told(tmp_path: Path) -> None:
    reports(carry_out(Quadratic(), Turning(), assign(tmp_path, until=5)))
    (tmp_path / "trial" / "step-000005+000000" / "tensors.safetensors").write_bytes(b"")
    items = list(carry_out(Quadratic(), Turning(), assign(tmp_path, recorded=5)))
    assert items[0] is not None
    assert items[0].kind == "notice"
    assert "step-000005+000000/tensors.safetensors" in items[0].text
    assert reports(items) == {step: whole()[step] for step in range(5, 10)}


def test_with_no_usable_checkpoint_it_starts_over_and_tells_why(tmp_path: Path) -> None:
    lost = {str(tmp_path / "trial" / "step-000005+000000"): "0" * 64}  # on record, and deleted since
    items = list(carry_out(Quadratic(), Turning(), assign(tmp_path, recorded=5, digests=lost)))
    assert items[0] == Notice(step=0, text="no usable checkpoint: trained again from step 0")
    assert reports(items) == whole()
    young = next(carry_out(Quadratic(), Turning(), assign(tmp_path / "young", recorded=5)))
    assert isinstance(young, Notice)
    assert young.text.startswith("no checkpoint yet, so trained again from step 0: ")
    assert "checkpoint_seconds" in young.text


@pytest.mark.parametrize("updates", [1, 2, 5, 6, 13])
def test_a_pause_in_mid_epoch_loses_nothing(updates: int, tmp_path: Path) -> None:
    """Paused, resumed in a process that was used for something else, and paused again."""
    seen: dict[int, Mapping[str, float]] = {}
    for _ in range(100):
        run = carry_out(Quadratic(), Turning(), assign(tmp_path, recorded=max(seen, default=0), checkpoint_seconds=1e9))
        trained = (item for item in run if item is None or item.kind != "decision")
        for _, item in zip(range(updates), trained, strict=False):
            seen |= reports([item])
        saved = run.save()
        assert saved is run.save()
        run.close()
        assert list(run) == []
        disturb()
        if max(seen, default=0) == 9:
            break
    assert seen == whole()


def test_should_pause_is_obeyed_after_a_checkpoint(tmp_path: Path) -> None:
    asked = []

    def should_pause() -> bool:
        asked.append(time.perf_counter())
        return len(asked) == 3

    workload = Quadratic(seconds_per_step=0.2)
    run = carry_out(workload, Fixed(), assign(tmp_path, checkpoint_seconds=1e9), should_pause)
    items = [item for item in run if item is not None]
    assert [item.kind for item in items[-2:]] == ["checkpoint", "paused"]
    assert all(later - sooner >= 0.2 for sooner, later in pairwise(asked))
    assert Path(items[-2].path).name == f"step-{run.training.step:06d}+{run.training.cursor:06d}"


def test_checkpoints_cost_little_time(tmp_path: Path) -> None:
    """Due all the time, but none is begun while more than 2 % of the time went into earlier ones."""
    workload = Quadratic(horizon=3, seconds_per_step=0.3)
    run = carry_out(workload, Fixed(), assign(tmp_path, until=3, checkpoint_seconds=1e-9))
    begun = time.perf_counter()
    spent = [0.0]
    for item in run:
        if item is not None and item.kind == "checkpoint" and item.step < 3:
            assert spent[-1] <= 0.02 * (time.perf_counter() - begun)
            spent.append(run.writing_seconds)
    assert len(spent) > 1
    assert run.save().step == 3


def test_only_few_checkpoints_stay(tmp_path: Path) -> None:
    reports(carry_out(Quadratic(), Fixed(), assign(tmp_path)))
    assert [found.step for found in Store(tmp_path / "trial").find()] == [8, 9]
    reports(carry_out(Quadratic(), Fixed(), assign(tmp_path, folder=tmp_path / "parent", pinned=(3, 5))))
    assert [found.step for found in Store(tmp_path / "parent").find()] == [3, 5, 8, 9]


def test_a_fork_takes_the_weights_and_brings_its_own_knobs(tmp_path: Path) -> None:
    parent = assign(tmp_path, until=4, folder=tmp_path / "parent")
    reports(carry_out(Quadratic(), Turning(), parent))
    weights = checkpoint.load(tmp_path / "parent" / "step-000004+000000")["weights"]
    config = {**good(Quadratic()), "learning_rate": 0.5, "momentum": 0.3, "batch_size": 32}
    child = assign(tmp_path, config=config, seed=9, parent=parent.folder, parent_step=4)
    run = carry_out(Quadratic(), Fixed(), child)
    assert (run.training.step, run.training.control.samples) == (4, 4 * 64)
    assert run.training.control.knobs == Knobs(0.5, 32, 0.3)
    assert run.training.optimizer.param_groups[0]["lr"] == 0.5
    assert numbers(run.training.state()["weights"]["model"]) == numbers(weights["model"])
    assert numbers(run.training.state()["weights"]["optimizer"]["state"]) == numbers(weights["optimizer"]["state"])
    uninterrupted = reports(run)
    assert list(uninterrupted) == [5, 6, 7, 8, 9]

    # Interrupted before its first report, it goes on from its own checkpoint and not from the parent's.
    cut = replace(child, folder=tmp_path / "cut")
    run = carry_out(Quadratic(), Fixed(), cut)
    next(run)
    run.save()
    run = carry_out(Quadratic(), Fixed(), cut)
    assert run.training.cursor == 32
    assert reports(run) == uninterrupted


def test_a_fork_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no usable checkpoint at step 4"):
        carry_out(Quadratic(), Fixed(), assign(tmp_path, parent=tmp_path / "parent", parent_step=4))


def test_denormals_are_flushed_in_the_training_only(tmp_path: Path) -> None:
    """The flag is the thread's: left on, 5e-324 would be 0.0 in the decisions of the same process."""
    flushed = []

    class Looking(Policy[None]):
        def start(self, signals: Signals) -> tuple[None, Action]:
            return None, NOTHING

        def act(self, state: None, signals: Signals) -> tuple[None, Action]:
            flushed.append(float(np.float64(2e-308) / np.float64(4.0)) == 0.0)
            return None, NOTHING

    for _ in carry_out(Quadratic(), Looking(), assign(tmp_path)):
        assert float(np.float64(2e-308) / np.float64(4.0)) > 0.0
    assert flushed
    assert all(flushed)


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    reports(carry_out(Quadratic(), Fixed(), assign(tmp_path, until=2)))
    run = carry_out(Quadratic(), Fixed(), assign(tmp_path, until=3, recorded=2, threads=2))
    assert torch.get_num_threads() == 2
    items = [item for item in run if item is not None]
    assert items[0].text.startswith("another number of threads (saved with 1, going on with 2)")


def test_the_declared_cost_is_reported(tmp_path: Path) -> None:
    run = carry_out(Quadratic(declared_cost=60.0), Fixed(), assign(tmp_path))
    assert {item.cost_seconds for item in run if item is not None and item.kind == "report"} == {60.0}


def test_the_measured_cost_leaves_out_checkpoints_and_the_consumer(tmp_path: Path) -> None:
    begun = time.perf_counter()
    run = carry_out(Quadratic(seconds_per_step=0.1), Fixed(), assign(tmp_path, until=3))
    costs, elsewhere = [], 0.0
    for item in run:
        left = time.perf_counter()
        time.sleep(0.02)
        if item is not None and item.kind == "report":
            costs.append(item.cost_seconds)
        elsewhere += time.perf_counter() - left
    assert min(costs) >= 0.1
    assert sum(costs) + elsewhere + run.writing_seconds <= time.perf_counter() - begun


def test_the_cost_of_a_step_survives_an_interruption(tmp_path: Path) -> None:
    workload = Quadratic(seconds_per_step=0.2)
    run = carry_out(workload, Fixed(), assign(tmp_path, until=1))
    next(run), next(run)
    run.save()
    (report, _) = [item for item in carry_out(workload, Fixed(), assign(tmp_path, until=1)) if item is not None]
    assert report.cost_seconds >= 0.2


def test_the_test_part_is_measured_from_the_checkpoint(prepared: Path, tmp_path: Path) -> None:
    workload = ResNetFinetune.smallest()
    folder = place(prepared, workload)
    assignment = assign(tmp_path, config=good(workload), until=3, prepared=folder)
    run = carry_out(workload, Fixed(), assignment)
    reports(run)
    run.training.model.eval()
    with torch.no_grad():
        expected = workload.evaluate(run.training.model, "test")
    assert measured_on_test(workload, replace(assignment, recorded=3)) == expected
    with pytest.raises(FileNotFoundError, match="no usable checkpoint up to step 0"):
        measured_on_test(workload, replace(assignment, recorded=0))


RESUMING = """
import sys, json
from pathlib import Path
from search.work import Assignment
from trainables.carry_out import carry_out
from trainables.policies.plateau import Plateau
from trainables.workloads.resnet_finetune import ResNetFinetune
config, folder, prepared, recorded, updates = json.loads(sys.argv[1])
folder, prepared = Path(folder), Path(prepared)
assignment = Assignment(0, config, 3, 3, folder, recorded=recorded, checkpoint_seconds=1e9, prepared=prepared)
run = carry_out(ResNetFinetune.smallest(), Plateau(0.5, 0, 0.9), assignment)
for _, item in zip(range(updates), run):
    if item is not None and item.kind == "report":
        print(json.dumps([item.step, dict(item.metrics)]))
run.save()
"""


@pytest.mark.slow
def test_fresh_processes_go_on_with_the_same_bits(prepared: Path, tmp_path: Path) -> None:
    """A network, cut in the middle of an epoch, in two fresh processes."""
    workload = ResNetFinetune.smallest()
    expected = begin(workload, Plateau(0.5, 0, 0.9), prepared)
    curve = metrics(expected)
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    found: dict[int, Mapping[str, float]] = {}
    for updates in (6, 100):
        given = [
            dict(good(workload)),
            str(tmp_path),
            str(place(prepared, workload)),
            max(found, default=0),
            updates,
        ]
        command = [sys.executable, "-c", RESUMING, json.dumps(given)]
        lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        found |= dict(map(json.loads, lines.splitlines()))
    assert [found[step] for step in (1, 2, 3)] == curve
    state, _ = Store(tmp_path).newest(recorded=3)
    assert state is not None
    assert numbers(state["weights"]) == numbers(expected.state()["weights"])
