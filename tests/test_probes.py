"""What policies compare weights by in mid-training: a fixed part of the validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from trainables.contract import Policy, Workload
from trainables.data.fixed_sample import fixed_sample
from trainables.training.control import Control
from trainables.training.device import measure, probe
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Signals
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.mlp_digits import MlpDigits
from trainables.workloads.quadratic import Quadratic

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = {"learning_rate": 0.1, "momentum": 0.9, "batch_size": 32}


def test_a_fixed_sample_is_random_rows_in_their_order_the_same_each_time() -> None:
    rows = fixed_sample(1000, 100, "cpu")
    assert isinstance(rows, torch.Tensor)
    assert len(set(rows.tolist())) == 100
    assert rows.tolist() == sorted(rows.tolist())
    assert 350 < rows.double().mean() < 650
    fixed_sample.cache_clear()
    again = fixed_sample(1000, 100, "cpu")
    assert isinstance(again, torch.Tensor)
    assert torch.equal(rows, again)
    assert fixed_sample(100, 100, "cpu") == fixed_sample(100, None, "cpu") == slice(None)


def test_the_part_does_not_depend_on_the_horizon_and_has_256_samples_at_least() -> None:
    asked = []

    class Noting(Quadratic):
        def samples(self) -> int:
            return 200_000 if self.dimension == 4 else 64

        def probe(self, model: torch.nn.Module, samples: int) -> Mapping[str, float]:
            asked.append(samples)
            return super().probe(model, samples)

    for workload in (Noting(horizon=3), Noting(horizon=300), Noting(dimension=4)):
        probe(workload, workload.model({}, None))
    assert asked == [256, 256, 500]


def test_a_workload_without_probes_or_with_an_evaluation_of_its_own_is_probed_on_the_whole_part() -> None:
    class WithError(LstmMnist):
        metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss", "error")

        def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
            found = super().evaluate(model, part)
            return {**found, "error": 1 - found["accuracy"]}

    class Own(Quadratic):
        probe = Workload.probe

    for workload in (WithError(), Own()):
        model = workload.model(workload.baseline or {}, None)
        assert probe(workload, model) == measure(workload, model, "valid")
    model = LstmMnist().model({}, None)
    assert probe(LstmMnist(), model) != measure(LstmMnist(), model, "valid"), "256 of 297 images"


@dataclass(frozen=True)
class Asking(Policy[tuple[tuple[str, float], ...]]):
    """Asks after each update and each epoch, and notes what it is told."""

    metric: str
    needs = frozenset({"metrics"})

    def start(self, signals: Signals) -> tuple[tuple[tuple[str, float], ...], Action]:
        return (), NOTHING

    def act(
        self, state: tuple[tuple[str, float], ...], signals: Signals
    ) -> tuple[tuple[tuple[str, float], ...], Action]:
        if not signals.metrics:
            return state, Action(measure=True)
        at_end = signals.train_loss is not None
        return (*state, ("end" if at_end else "asked", signals.metrics[self.metric])), Action(measure=at_end)


def test_questions_are_answered_by_the_probe_and_epochs_end_with_the_whole_in_both_loops() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for part, expected in ((lambda: {"loss": 2.0}, 2.0), (None, 1.0)):
        control = Control(
            Asking("loss"), model, optimizer, batch_size=4, samples=4, epochs=1, measure=lambda: {"loss": 1.0},
            probe=part,
        )  # fmt: skip
        control.update(0.5, 4)
        assert control.end_epoch()["loss"] == 1.0
        assert control.state_dict()["policy"] == (("asked", expected), ("end", 1.0), ("asked", expected))
    workload = replace(MlpDigits.smallest(), horizon=1)
    training = Training(workload, Asking("loss"), CONFIG)
    for _ in training:
        pass
    *_, end, last = training.state()["control"]["policy"]
    assert end == ("end", measure(workload, training.model, "valid")["loss"])
    assert last == ("asked", probe(workload, training.model)["loss"])
    assert end[1] != last[1]
