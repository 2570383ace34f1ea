"""Workloads of one's own with a mistake: the error names the class, the method, the value and what to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.errors import BadInput
from tests.support import simulated, small_sweep
from tests.trainings import assign, begin, good
from trainables.carry_out import carry_out
from trainables.contract import Workload
from trainables.training.loop import Training
from trainables.values import Knobs
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")

Q = Quadratic()


def changed(**members: Any) -> Any:
    """A Quadratic of class Mine with other members."""
    return dataclass(frozen=True)(type("Mine", (Quadratic,), members))()


def sgd(rate: Callable[[Any], float]) -> Any:
    return lambda self, model, config: torch.optim.SGD(model.parameters(), lr=rate(config))


RETURNED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": lambda self, config, prepared: None}, r"model returned None; return a torch\.nn\.Module"),
    "two optimizers": (
        {"optimizer": lambda self, model, config: (Q.optimizer(model, config), None)},
        r"optimizer returned .*; return a torch\.optim\.Optimizer, and nothing beside it",
    ),
    "no samples": ({"samples": lambda self: 0}, r"samples returned 0; return the number of training samples"),
    "half a sample": ({"samples": lambda self: 32.5}, r"samples returned 32\.5; return the number"),
    "a plain loss": (
        {"loss": lambda self, model, indices: Q.loss(model, indices).item()},
        r"loss returned [\d.]+; return the mean loss, a tensor .* without `\.item\(\)`",
    ),
    "no loss": ({"loss": lambda self, model, indices: None}, r"loss returned None; return the mean loss"),
    "a loss for each sample": (
        {"loss": lambda self, model, indices: Q.loss(model, indices).repeat(3)},
        r"loss returned a tensor of shape \(3,\); .*`\.mean\(\)`",
    ),
    "a loss without gradient": (
        {"loss": lambda self, model, indices: Q.loss(model, indices).detach()},
        r"loss returned tensor.*do not use `\.detach\(\)`",
    ),
    "a bare metric": ({"evaluate": lambda self, model, part: 0.5}, r"evaluate returned 0\.5; return a dict .*'loss': …"),
    "another metric": ({"evaluate": lambda self, model, part: {"error": 0.5}}, r"evaluate returned .*metrics = \('loss',\)"),
    "one metric more": (
        {"evaluate": lambda self, model, part: {"loss": 0.5, "extra": 1.0}},
        r"evaluate returned .*metrics = \('loss',\)\. Make both the same",
    ),
    "several numbers": (
        {"evaluate": lambda self, model, part: {"loss": torch.ones(2)}}, r"evaluate returned .*; make 'loss' one number",
    ),
    "a text": ({"evaluate": lambda self, model, part: {"loss": "0.5"}}, r"evaluate returned .*; make 'loss' one number"),
    "a fixed rate": (
        {"optimizer": sgd(lambda config: 0.01)},
        r"optimizer gave its parameters lr=0\.01 without a look at config\['learning_rate'\].*write lr=config",
    ),
}  # fmt: skip


ONE = [np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5), torch.tensor([0.5]), np.int64(1)]


@pytest.mark.parametrize("value", ONE)
def test_a_metric_may_be_a_number_of_any_library(value: Any, tmp_path: Path) -> None:
    workload = changed(evaluate=lambda self, model, part: {"loss": value})
    driver = simulated(tmp_path, small_sweep(workload=workload, num_samples=1))
    assert set(driver.history.trials[0].losses) == {float(np.asarray(value).item())}


@pytest.mark.parametrize("name", RETURNED)
def test_what_a_method_returns_wrongly_fails_the_trial_with_its_name(name: str, tmp_path: Path) -> None:
    members, message = RETURNED[name]
    with pytest.raises((TypeError, ValueError), match=rf"^Mine\.{message}"):
        list(carry_out(changed(**members), None, assign(tmp_path)))


@pytest.mark.parametrize(
    "rate", [lambda config: config["learning_rate"] / 3, lambda config: Q.knobs(config).learning_rate * 2]
)
def test_an_optimizer_may_have_a_multiple_of_the_rate(rate: Any, prepared: Path) -> None:
    assert isinstance(begin(changed(optimizer=sgd(rate)), None, prepared), Training)  # type: ignore[arg-type]


def test_a_parameter_that_only_happens_to_equal_the_rate_is_no_mistake(prepared: Path) -> None:
    workload = changed(knobs=lambda self, config: Knobs(0.5, config["batch_size"]), optimizer=sgd(lambda config: 0.05))
    config = {**good(Q), "momentum": 0.5}
    assert isinstance(begin(workload, None, prepared, config=config), Training)  # type: ignore[arg-type]


KNOBS: dict[str, tuple[Any, str]] = {
    "a dict": ({"learning_rate": 0.1, "batch_size": 8}, r"knobs returned \{.*\}; return Knobs\(learning_rate=…"),
    "exchanged": (Knobs(8, 0.1), r"knobs returned batch_size=0\.1 for \{.*: must be a whole number"),  # type: ignore[arg-type]
    "uphill": (Knobs(-0.1, 8), r"knobs returned learning_rate=-0\.1 for \{.*: must be a finite number, 0 or more"),
}


@pytest.mark.parametrize("name", KNOBS)
def test_wrong_knobs_are_refused_before_anything_starts(name: str) -> None:
    knobs, message = KNOBS[name]
    workload = changed(knobs=lambda self, config: knobs)
    with pytest.raises(BadInput, match=rf"^Mine\.{message}"):
        small_sweep(workload=workload)
    with pytest.raises(ValueError, match=rf"^Mine\.{message}"):
        Training(workload, None, good(Q))


@pytest.mark.parametrize("name", ["metric", "mode", "metrics", "horizon"])
def test_a_class_that_names_too_little_is_refused_with_an_example(name: str) -> None:
    named = {"metric": "loss", "mode": "min", "metrics": ("loss",), "horizon": 3}
    methods = {each: getattr(Quadratic, each) for each in Workload.__abstractmethods__}
    bare = type("Bare", (Workload,), methods | {each: value for each, value in named.items() if each != name})
    with pytest.raises(BadInput, match=rf"^Bare: names no {name}; write in the class, for example: {name} = "):
        small_sweep(workload=bare())


def test_a_name_of_a_metric_in_place_of_a_tuple_is_refused() -> None:
    with pytest.raises(BadInput, match=r"metrics = 'loss' must be a tuple of names; write metrics = \('loss',\)"):
        small_sweep(workload=changed(metrics="loss"))


def test_a_workload_that_trials_could_change_is_refused() -> None:
    @dataclass
    class Thawed(Workload):
        horizon: int = 3
        metric, mode, metrics = "loss", "min", ("loss",)
        knobs, model, optimizer = Quadratic.knobs, Quadratic.model, Quadratic.optimizer
        samples, loss, evaluate = Quadratic.samples, Quadratic.loss, Quadratic.evaluate

    with pytest.raises(
        BadInput, match=r"Thawed: all trials in a process share one workload.*frozen=True.*cached_property"
    ):
        small_sweep(workload=Thawed())
