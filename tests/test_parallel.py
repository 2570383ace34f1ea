"""A trial on several workers: the same training, exact to resume, and not lost with one of them."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pytest
import torch

from orchestrator.errors import BadInput
from search.work import Assignment, Progress
from tests.support import simulated, small_sweep
from tests.test_trainables import Exploring
from trainables import parallel
from trainables.base import NOTHING, Action, Execution, Policy, Signals
from trainables.loop import Training
from trainables.workloads.quadratic import Quadratic

WORKLOAD = Quadratic(horizon=4)
CONFIG = {"learning_rate": 0.1, "momentum": 0.5, "batch_size": 24}  # the last batch of an epoch is smaller


def assignment(folder: Path, **changes: Any) -> Assignment:
    return replace(Assignment(0, CONFIG, 7, until=4, folder=folder, checkpoint_seconds=0), **changes)


def reports(run: Any) -> dict[int, dict[str, float]]:
    return {item.step: dict(item.metrics) for item in run if isinstance(item, Progress) and item.kind == "report"}


def curve(run: Any) -> list[float]:
    return [metrics[name] for metrics in reports(run).values() for name in ("loss", "train_loss")]


def test_two_workers_train_as_one_does(tmp_path: Path) -> None:
    one = curve(WORKLOAD.run(None, assignment(tmp_path / "one")))
    two = curve(WORKLOAD.run(None, assignment(tmp_path / "two", workers=2)))
    assert len(one) == 8
    assert two == pytest.approx(one, rel=1e-5)


def test_parts_of_a_batch_and_a_policy_are_the_same_on_two_workers(tmp_path: Path) -> None:
    workload = Quadratic(horizon=3, execution=Execution(micro_batch=5))
    whole = curve(Quadratic(horizon=3).run(Exploring(), assignment(tmp_path / "one", until=3)))
    parts = curve(workload.run(Exploring(), assignment(tmp_path / "two", until=3, workers=2)))
    assert parts == pytest.approx(whole, rel=1e-4)


def test_a_worker_without_a_sample_of_the_batch_changes_nothing(tmp_path: Path) -> None:
    config = CONFIG | {"batch_size": 1}
    workload = Quadratic(horizon=1, data_share=0.1)
    one = curve(workload.run(None, assignment(tmp_path / "one", config=config, until=1)))
    two = curve(workload.run(None, assignment(tmp_path / "two", config=config, until=1, workers=2)))
    assert two == pytest.approx(one, rel=1e-5)


def test_two_workers_resume_with_the_same_bits_in_mid_epoch(tmp_path: Path) -> None:
    whole = reports(WORKLOAD.run(None, assignment(tmp_path / "whole", workers=2)))
    run = WORKLOAD.run(None, assignment(tmp_path / "cut", workers=2))
    first: dict[int, dict[str, float]] = {}
    for count, item in enumerate(run):
        if item is not None and item.kind == "report":
            first[item.step] = dict(item.metrics)
        if count == 8:  # within the second epoch
            break
    run.save()
    run.close()
    later = reports(WORKLOAD.run(None, assignment(tmp_path / "cut", workers=2, recorded=max(first))))
    assert first | later == whole
    assert not psutil.Process().children()


def test_a_batch_that_one_worker_had_begun_begins_anew_on_two(tmp_path: Path) -> None:
    workload = Quadratic(horizon=4, execution=Execution(micro_batch=5))
    whole = reports(workload.run(None, assignment(tmp_path / "whole")))
    run = workload.run(None, assignment(tmp_path / "cut"))
    for count, _ in enumerate(run):
        if count == 6:  # within the second batch
            break
    run.save()
    run.close()
    later = reports(workload.run(None, assignment(tmp_path / "cut", workers=2)))
    assert list(later) == [1, 2, 3, 4]
    for step, metrics in later.items():
        assert metrics == pytest.approx(whole[step], rel=1e-4)


def test_the_loss_of_a_worker_costs_a_restart_from_the_last_checkpoint(tmp_path: Path) -> None:
    whole = reports(WORKLOAD.run(None, assignment(tmp_path / "whole", workers=2)))
    run = WORKLOAD.run(None, assignment(tmp_path / "killed", workers=2))
    seen: dict[int, dict[str, float]] = {}
    notices = []
    for item in run:
        if item is None:
            continue
        if item.kind == "report":
            assert seen.setdefault(item.step, dict(item.metrics)) == dict(item.metrics)
            if item.step == 2 and not notices:
                (worker,) = [child for child in psutil.Process().children() if "parallel" in " ".join(child.cmdline())]
                os.kill(worker.pid, signal.SIGKILL)
        if item.kind == "notice":
            notices.append(item.text)
    assert seen == whole
    assert len(notices) == 1
    assert "worker 1 was lost (exit code -9)" in notices[0]
    assert not psutil.Process().children()


def test_a_worker_that_is_lost_again_and_again_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "RESTARTS", 0)
    whole = reports(WORKLOAD.run(None, assignment(tmp_path / "whole")))
    seen: dict[int, dict[str, float]] = {}
    notices = []
    for item in WORKLOAD.run(None, assignment(tmp_path / "killed", workers=2)):
        if item is not None and item.kind == "report":
            seen[item.step] = dict(item.metrics)
            for worker in psutil.Process().children():
                os.kill(worker.pid, signal.SIGKILL)
        if item is not None and item.kind == "notice":
            notices.append(item.text)
    assert len(notices) == 1
    assert "going on with 1 from step" in notices[0]
    assert sorted(seen) == sorted(whole)
    for step, metrics in seen.items():
        assert metrics == pytest.approx(whole[step], rel=1e-4)


@dataclass(frozen=True)
class Watching(Policy[tuple[Any, ...]]):
    """Keeps the norms that it is shown."""

    watches: ClassVar[frozenset[str]] = frozenset({"gradient", "loss"})

    def start(self, signals: Signals) -> tuple[tuple[Any, ...], Action]:
        return (), NOTHING

    def act(self, state: tuple[Any, ...], signals: Signals) -> tuple[tuple[Any, ...], Action]:
        if signals.gradient is None:
            return state, NOTHING
        return (*state, (signals.loss, *asdict(signals.gradient).values())), NOTHING


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_the_gradients_of_the_workers_are_shown(micro_batch: int | None, tmp_path: Path) -> None:
    """Of the update as one worker sees it, and of each worker as taken by hand."""
    workload = replace(WORKLOAD, execution=Execution(micro_batch=micro_batch))
    seen = []
    for workers in (1, 2):
        run = workload.run(Watching(), assignment(tmp_path / str(workers), until=1, workers=workers))
        while isinstance(item := next(run), type(None)) or item.kind != "report":
            training = getattr(run, "training", None) or run._run.training  # type: ignore[union-attr]
            state = training.state()["policy"]
        run.close()
        seen.append(state)
    one, two = seen
    for column in (0, 1, 3):  # loss, batch size, |gradient|^2
        assert [row[column] for row in two] == pytest.approx([row[column] for row in one], rel=1e-4)
    batch = torch.from_numpy(np.random.default_rng((7, 0)).permutation(WORKLOAD.samples()))[:24]
    model = Training(WORKLOAD, None, CONFIG, seed=7).model
    for rank, norm in enumerate(two[0][5]):
        model.zero_grad()
        WORKLOAD.loss(model, batch[rank::2]).backward()  # type: ignore[no-untyped-call]
        assert norm == pytest.approx(math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters())), rel=1e-4)


def test_a_sweep_of_trials_with_two_workers(tmp_path: Path) -> None:
    sweep = small_sweep(workload=Quadratic(horizon=2), num_samples=2, workers=2, resources={"cpu": 2}, baseline=None)
    history = simulated(tmp_path, sweep).history
    assert [trial.step for trial in history] == [2, 2]


def test_more_workers_than_resources_are_refused() -> None:
    with pytest.raises(BadInput, match="give it cpu=4 or more"):
        small_sweep(workers=4, resources={"cpu": 2})
    with pytest.raises(BadInput, match="give it gpu=4 or more"):
        small_sweep(workers=4, resources={"cpu": 4, "gpu": 2})
