"""What is saved of a training, where saving fails, and what is kept of stopped trials."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from orchestrator.driver import Driver
from orchestrator.errors import StorageError
from orchestrator.record.ledger import Ledger
from orchestrator.worker.job import Order
from search.records import Status
from search.schedulers.asha import Asha, AshaPromote
from search.searchers.pbt import PopulationBasedTraining
from search.work import Assignment, Reported
from tests.failing import function, kept, orders, sweep_of
from tests.support import recorded, simulated, small_sweep
from trainables.carry_out import carry_out
from trainables.execution.store import Store
from trainables.training.codec import pack, unpack
from trainables.workloads.quadratic import Quadratic


def notices(folder: Path) -> list[str]:
    return [row["text"] for row in recorded(folder, "event") if row["kind"] == "notice"]


class Point(NamedTuple):
    x: float


STATES: dict[str, Any] = {
    "float64": np.float64(0.1), "float32": np.float32(0.1), "int64": np.int64(7), "bool": np.bool_(True),
    "array": np.arange(6, dtype=np.int32).reshape(2, 3), "strided": np.arange(6.0)[::2], "no elements": np.zeros((0, 3)),
    "complex": np.array([1 + 2j], dtype=np.complex64), "set": {3, 1, 2}, "frozenset": frozenset({"a"}), "bytes": b"\x00\xff",
    "size": torch.Size([2, 3]), "random": np.random.RandomState(1).get_state(), "nested": {"a": [(np.float64(2), {1: np.ones(2)})]},
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_numpy_and_sets_in_a_state_come_back_as_what_they_were(name: str, tmp_path: Path) -> None:
    value = STATES[name]
    Store(tmp_path).save({"value": value}, step=1)
    state, _ = Store(tmp_path).newest(1)
    assert state is not None
    back = state["value"]
    assert type(back) is type(value)
    np.testing.assert_equal(back, value)
    if isinstance(value, (np.ndarray, np.generic)):
        assert back.dtype == value.dtype


UNKEPT: dict[str, tuple[Any, str]] = {
    "object": (object(), "state at deep/0 is a builtins.object"),
    "objects": (np.array([object()]), "state at deep/0 is a NumPy ndarray of object"),
    "texts": (np.array(["a"]), "state at deep/0 is a NumPy ndarray of <U1"),
    "complex": (np.array([1j]), "state at deep/0 is a NumPy ndarray of complex128"),
    "sparse": (torch.eye(2).to_sparse(), "state at deep/0 is a tensor of torch.float32, torch.sparse_coo"),
    "named tuple": (Point(1.0), "state at deep/0 is a tests.test_saving.Point"),
    "function": (len, "state at deep/0 is a builtins.builtin_function_or_method"),
}


@pytest.mark.parametrize("name", UNKEPT)
@pytest.mark.parametrize("seconds", [0, 1000])
def test_a_state_that_cannot_be_kept_is_told_at_the_first_step_and_fails_nothing(
    name: str, seconds: float, tmp_path: Path
) -> None:
    value, place = UNKEPT[name]

    def train(config: Any, state: Any) -> Iterator[Any]:
        assert state is None
        for _ in range(4):
            yield {"loss": config["x"]}, {"deep": [value]}

    scheduler = AshaPromote(grace_period=1, reduction_factor=2)
    driver = simulated(tmp_path, sweep_of(train, num_samples=4, checkpoint_seconds=seconds, scheduler=scheduler))
    assert driver.history.count(Status.FAILED) == 0
    assert driver.history.count(Status.COMPLETED)
    told = [text for text in notices(tmp_path) if ": no checkpoints, so an interruption starts" in text]
    assert told
    assert place in told[0]


def test_a_state_is_checked_without_a_copy() -> None:
    packed, tensors = pack({"a": np.float32(3)})
    assert unpack(packed, tensors)["a"].dtype == np.float32


def long(config: Any, state: Any) -> Iterator[Any]:
    step = state or 0
    while True:
        step += 1
        yield {"loss": config["x"]}, step


@pytest.mark.parametrize("seconds", [0, 1e-9])
def test_a_training_whose_every_report_is_due_for_a_checkpoint_leaves_when_asked_to(
    seconds: float, tmp_path: Path
) -> None:
    given = Assignment(0, {"x": 0.5}, 1, until=50, folder=tmp_path, checkpoint_seconds=seconds)
    items = [
        (item.kind, item.step) for item in carry_out(function(long, 50), None, given, lambda: True) if item is not None
    ]
    assert items == [("report", 1), ("checkpoint", 1), ("paused", 1)]


FAULTS = ["fsync", "rename", "mkdir", "open"]


@pytest.mark.parametrize("call", FAULTS)
def test_a_checkpoint_that_cannot_be_written_costs_no_training_and_is_tried_again(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = getattr(os, call), [False]

    def failing(*given: Any, **named: Any) -> Any:
        if broken[0] and (call == "fsync" or "step-" in str(given[0])):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    def train(config: Any, state: Any) -> Iterator[Any]:
        for step in range(1, 7):
            broken[0] = step in (3, 4)
            yield {"loss": config["x"]}, {"step": step}

    monkeypatch.setattr(os, call, failing)
    given = Assignment(0, {"x": 0.5}, 1, until=6, folder=tmp_path, checkpoint_seconds=0)
    items = [item for item in carry_out(function(train, 6), None, given) if item is not None]
    assert [item.step for item in items if item.kind == "report"] == [1, 2, 3, 4, 5, 6]
    assert [item.step for item in items if item.kind == "checkpoint"] == [1, 2, 5, 6]
    (told,) = [item.text for item in items if item.kind == "notice"]
    assert "no checkpoint at step 3, tried again later; the one of step 2 is whole" in told
    assert "No space left on device" in told


def test_a_full_disk_stops_the_sweep_before_trials_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)

    def train(config: Any, state: Any) -> Iterator[Any]:
        for _ in range(4):
            yield {"loss": config["x"]}
            if shutil.disk_usage(tmp_path).free < 5000:
                raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
        with pytest.raises(StorageError, match=r"the disk is full \(4096 bytes are free\)") as caught:
            simulated(tmp_path, sweep_of(train))
    assert caught.value.exit_code == 7
    assert len(recorded(tmp_path, "suggestion")) == 1
    assert recorded(tmp_path, "ending") == []
    driver = simulated(tmp_path, sweep_of(train))
    assert [trial.status for trial in driver.history] == [Status.COMPLETED] * 4


def test_a_trial_that_has_lost_its_worker_is_saved_after_each_step(ledger: Ledger) -> None:
    driver = Driver(small_sweep(checkpoint_seconds=5.0, num_samples=1), ledger)

    def assigned() -> Assignment:
        order = driver.next()
        while order is not None and order.kind != "train":
            driver.finish_job(order)
            order = driver.next()
        assert isinstance(order, Order)
        assert order.assignment is not None
        return order.assignment

    assert assigned().checkpoint_seconds == 5.0
    driver.lose(0, "killed")
    assert assigned().checkpoint_seconds == 0.0


def test_losses_of_workers_count_over_all_invocations(tmp_path: Path) -> None:
    sweep = small_sweep(num_samples=1, retries=2)
    for _ in range(3):
        ledger = Ledger.write(tmp_path)
        driver = Driver(sweep, ledger)
        assert orders(driver) == [0]
        if not driver.history.trials[0].steps:
            driver.receive(0, [Reported(step=1, metrics={"loss": 1.0})])
        driver.lose(0, "killed")
        ledger.close()
    assert driver.history.trials[0].reason == "WorkerLost: killed (3 times at step 1)"


@pytest.mark.parametrize(
    ("changes", "resumes"),
    [
        ({"scheduler": Asha(grace_period=1, reduction_factor=2)}, False),
        ({"scheduler": AshaPromote(grace_period=1, reduction_factor=2)}, True),
        ({"scheduler": Asha(grace_period=1, reduction_factor=2), "finalists": 2}, False),
        ({"searcher": PopulationBasedTraining(population=4, interval=1)}, True),
    ],
)
def test_stopped_trials_keep_their_checkpoints_only_where_somebody_may_take_them_on(
    changes: dict[str, Any], resumes: bool, tmp_path: Path
) -> None:
    driver = simulated(tmp_path, small_sweep(num_samples=12, workload=Quadratic(horizon=4), **changes), 2)
    stopped = {trial.number for trial in driver.history.having(Status.STOPPED)} - {
        trial.replaces for trial in driver.history
    }
    if not resumes or "searcher" not in changes:
        assert stopped
    assert kept(driver) & stopped == (stopped if resumes else set())
    assert driver.best is not None
    assert driver.best.number in kept(driver)


def test_stopped_trials_keep_their_checkpoints_until_the_first_one_is_complete(ledger: Ledger) -> None:
    driver = Driver(small_sweep(scheduler=Asha(grace_period=1, reduction_factor=2), first_alone=False), ledger)
    assert orders(driver) == [0, 1, 2, 3, 4]
    for number, loss in enumerate((1.0, 2.0, 3.0)):
        Store(driver.places.checkpoints(number)).save({"step": 1}, step=1)
        driver.receive(number, [Reported(step=1, metrics={"loss": loss})])
    assert [trial.status for trial in driver.history][:3] == [Status.RUNNING, Status.STOPPED, Status.STOPPED]
    for number in (1, 2):
        assert driver.keeps(number)
        driver.receive(number, [], done=True)
    assert kept(driver) == {0, 1, 2}
    driver.receive(0, [Reported(step=step, metrics={"loss": 0.5}) for step in (2, 3, 4)])
    assert driver.history.trials[0].status is Status.COMPLETED
    assert kept(driver) == {0}
    assert not driver.keeps(2)
