"""Small trainings of averaged replicas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search.records import Config
from trainables.contract import Policy
from trainables.training.loop import Training
from trainables.values import NOTHING, Action, Averaging, Signals
from trainables.workloads.mlp_digits import MlpDigits


@dataclass(frozen=True)
class Small(MlpDigits):
    """A network on digits in double precision, if wanted with batch normalisation, clipping and uneven groups."""

    horizon: int = 3
    hidden: int = 8
    data_share: float = 0.06
    normed: bool = False
    clip: float | None = None

    def model(self, config: Config, prepared: Path | None) -> nn.Module:
        norm = nn.BatchNorm1d(self.hidden) if self.normed else nn.Identity()
        layers = nn.Linear(64, self.hidden), norm, nn.Tanh(), nn.Linear(self.hidden, 10)
        return Double(*layers).double()

    def optimizer(self, model: nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import optimizer

        knobs = self.knobs(config)
        weights, biases = ([p for p in model.parameters() if (p.ndim > 1) == large] for large in (True, False))
        groups = [{"params": weights}, {"params": biases, "lr": 3 * knobs.learning_rate, "weight_decay": 0.0}]
        return optimizer(config.get("optimizer", "sgd"), groups, knobs)

    def clip_norm(self, config: Config) -> float | None:
        return self.clip


class Double(nn.Sequential):
    def forward(self, pixels: Tensor) -> Tensor:
        answer: Tensor = super().forward(pixels.double())
        return answer


CONFIG = {"learning_rate": 0.1, "batch_size": 13, "momentum": 0.5, "weight_decay": 0.01}


@dataclass(frozen=True)
class Acting(Policy[int]):
    """Does what stands in the list after so many updates."""

    actions: tuple[tuple[int, Action], ...]

    writes: ClassVar[frozenset[str]] = frozenset({"learning_rate", "batch_size", "momentum", "weight_decay", "average"})

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, dict(self.actions).get(0, NOTHING)

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        if signals.train_loss is not None:
            return state, NOTHING
        return state + 1, dict(self.actions).get(state + 1, NOTHING)


def training(averaging: Averaging | None, workload: MlpDigits | None = None, **config: Any) -> Training:
    policy = Acting(() if averaging is None else ((0, Action(average=averaging)),))
    return Training(workload or Small(), policy, {**CONFIG, **config}, seed=3)


def after(training: Training, updates: int) -> Training:
    items = iter(training)
    done = 0
    while done < updates:
        done += next(items) is None and not training.accumulated
    return training


def weights(training: Training) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def replicas_of(training: Training) -> Tensor:
    assert training.weights.replicas is not None
    return torch.cat([stack.detach().flatten(1) for stack in training.weights.replicas.parameters.values()], 1)
