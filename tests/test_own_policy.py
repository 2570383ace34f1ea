"""A sweep's policy in a training function of one's own: the same decisions, in the record once, whatever interrupts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.definition.checks import BadInput
from search.records import Config
from search.searchers.random import Random
from search.work import Assignment
from tests.by_hand import ByHand
from tests.support import SPACE, interrupted_after, recorded, sequence, simulated, small_sweep
from tests.test_control import HERE
from tests.trainings import Trying
from trainables.carry_out import carry_out
from trainables.contract import Policy
from trainables.policies.lr_schedule import LrSchedule
from trainables.policies.sma import Sma
from trainables.policies.watchdog import Watchdog
from trainables.training.control import Control
from trainables.workloads.callable import FromFunction
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

WORKLOAD = Quadratic(horizon=4)
CONFIG = {"learning_rate": 0.05, "momentum": 0.5, "batch_size": 16}


def train(config: Config, state: Any, control: Any) -> Iterator[Any]:
    run = ByHand(WORKLOAD, control, config, seed=3)
    if state is not None:
        run.load(state)
    while not run.control.done:
        for _ in run.updates():
            pass
        yield run.control.end_epoch(), run.saved()


OWN = FromFunction(train, metric="loss", mode="min", horizon=4)


def items(workload: Any, policy: Policy[Any] | None, folder: Path, **changes: Any) -> list[Any]:
    """Reports and decisions."""
    assignment = Assignment(0, CONFIG, 3, **{"until": 4, "folder": folder, "checkpoint_seconds": 0, **changes})
    found = [item for item in carry_out(workload, policy, assignment) if item is not None]
    return [replace(item, cost_seconds=0.0) for item in found if item.kind in ("report", "decision")]


@pytest.mark.parametrize("policy", [*HERE, None], ids=lambda policy: type(policy).__name__)
def test_a_function_with_a_control_makes_the_decisions_of_our_loop(policy: Policy[Any] | None, tmp_path: Path) -> None:
    assert items(OWN, policy, tmp_path / "own") == items(WORKLOAD, policy, tmp_path / "ours")


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_it_is_resumed_with_its_policy(cut: int, tmp_path: Path) -> None:
    whole = items(OWN, Trying(), tmp_path / "whole")
    first = items(OWN, Trying(), tmp_path / "cut", until=cut)
    rest = items(OWN, Trying(), tmp_path / "cut", recorded=cut)
    assert {repr(item) for item in first + rest} == {repr(item) for item in whole}  # what led to the cut is told again


def test_a_fork_has_the_parents_weights_and_its_own_policy_from_the_start(tmp_path: Path) -> None:
    for name, workload in (("own", OWN), ("ours", WORKLOAD)):
        items(workload, Watchdog(LrSchedule("linear")), tmp_path / name / "parent", until=2)
    forked = [
        items(
            workload, LrSchedule("cosine"), tmp_path / name / "child", parent=tmp_path / name / "parent", parent_step=2
        )
        for name, workload in (("own", OWN), ("ours", WORKLOAD))
    ]
    assert [item.step for item in forked[0] if item.kind == "report"] == [3, 4]
    assert forked[0] == forked[1]


def test_decisions_are_in_the_record_once_whatever_interrupts(tmp_path: Path) -> None:
    points = [{"learning_rate": rate, "momentum": 0.1, "batch_size": 8} for rate in (0.02, 0.3)]
    sweep = small_sweep(
        workload=OWN, policy=Trying(), points_to_evaluate=points, num_samples=3, checkpoint_seconds=1000.0
    )
    simulated(tmp_path / "whole", sweep)
    for answers in (2, 3):
        interrupted_after(tmp_path / "cut", sweep, answers, 1)
    simulated(tmp_path / "cut", sweep)

    def rows(folder: Path) -> list[Any]:
        found = [
            (row["trial"], row["samples"], row["why"], row["before"], row["after"])
            for row in recorded(folder, "decision")
        ]
        return sorted(found, key=repr)

    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert {why for _, _, why, *_ in rows(tmp_path / "cut")} >= {"tries", "chosen"}
    assert sequence(tmp_path / "whole")[0] == sequence(tmp_path / "cut")[0]


# Refusals


def forgets(config: Config, state: Any, control: Any) -> Iterator[Any]:
    yield {"loss": 1.0}


def reports(config: Config) -> None:
    """Would run in a process of its own."""


def yields(config: Config, state: Any) -> Iterator[Any]:
    yield {"loss": 1.0}


@pytest.mark.parametrize("function", [reports, yields])
def test_a_function_that_takes_no_control_is_refused_with_the_remedy(function: Any) -> None:
    workload = FromFunction(function, metric="loss", mode="min", horizon=4)
    with pytest.raises(BadInput, match=r"write a generator that takes it, def train\(config, state, control\)"):
        small_sweep(workload=workload, policy=LrSchedule(), searcher=Random())


def test_a_plain_function_cannot_take_a_control() -> None:
    with pytest.raises(ValueError, match="only a generator gets a control"):
        FromFunction(lambda config, control: None, metric="loss", mode="min", horizon=4)


def test_a_control_that_is_not_attached_is_told(tmp_path: Path) -> None:
    workload = FromFunction(forgets, metric="loss", mode="min", horizon=4)
    assert len(items(workload, None, tmp_path / "none")) == 1
    with pytest.raises(ValueError, match=r"controls nothing.*call control = control\.attach"):
        items(workload, LrSchedule(), tmp_path / "some")
    with pytest.raises(ValueError, match="only our own loop trains"):
        items(OWN, Sma(2), tmp_path / "averages")


def test_a_training_that_resumes_without_the_controls_state_is_refused(tmp_path: Path) -> None:
    def forgetful(config: Config, state: Any, control: Any) -> Iterator[Any]:
        for step, (metrics, _) in enumerate(train(config, None, control)):
            yield metrics, {"step": step}

    workload = FromFunction(forgetful, metric="loss", mode="min", horizon=4)
    items(workload, LrSchedule(), tmp_path, until=1)
    with pytest.raises(ValueError, match=r"starts over in a training that goes on.*load_state_dict"):
        items(workload, LrSchedule(), tmp_path, until=2, recorded=1)


def test_an_attached_control_is_used_under_its_own_name(tmp_path: Path) -> None:
    def bare(config: Config, state: Any, control: Any) -> Iterator[Any]:
        with pytest.raises(
            AttributeError, match=r"control\.done: the control is not attached yet.*control = control\.attach"
        ):
            _ = control.done
        model = torch.nn.Linear(1, 1)
        control.attach(model, torch.optim.SGD(model.parameters(), lr=0.1), batch_size=4, samples=8)
        while not control.done:
            for _ in range(2):
                control.update(1.0, 4)
            yield control.end_epoch({"loss": 1.0})

    workload = FromFunction(bare, metric="loss", mode="min", horizon=3)
    assert len([item for item in items(workload, LrSchedule(), tmp_path) if item.kind == "report"]) == 3


def test_an_epoch_without_an_update_is_refused() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    control = Control(LrSchedule(), model, optimizer, batch_size=4, samples=8, epochs=2)
    with pytest.raises(ValueError, match=r"no update yet; call control\.update"):
        control.end_epoch({"loss": 1.0})


def test_a_function_of_configuration_and_control_starts_over(tmp_path: Path) -> None:
    def alone(config: Config, control: Any) -> Iterator[Any]:
        for metrics, _ in train(config, None, control):
            yield metrics

    workload = FromFunction(alone, metric="loss", mode="min", horizon=4)
    assert items(workload, Trying(), tmp_path / "alone") == items(OWN, Trying(), tmp_path / "own")
    assert set(SPACE) == set(CONFIG)
