"""Weights that a policy may train as replicas: the model alone, or the replicas that stand in for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainables.contract import Workload
from trainables.training.device import autocast
from trainables.training.model_state import copied, live_weights, put_model
from trainables.training.replicas import Replicas, gathered, own
from trainables.training.workers import Alone
from trainables.values import Averaging


class ReplicatedState:
    """The model and optimizer of `workload`; `group`: the workers that share the replicas after `share` is called."""

    def __init__(
        self, workload: Workload, model: torch.nn.Module, optimizer: torch.optim.Optimizer, group: Alone
    ) -> None:
        self._workload, self._model, self._optimizer, self._group = workload, model, optimizer, group
        self._sharing = False
        self.replicas: Replicas | None = None  # trained in place of the model, which is their average
        self.parameters: list[Tensor] = [*model.parameters()]  # kept, because walking through the modules takes time

    @property
    def averaging(self) -> Averaging | None:
        return None if self.replicas is None else self.replicas.averaging

    def share(self) -> None:
        """Spread replicas over the workers from the next `write` on."""
        self._sharing = self._group.size > 1

    def is_scattered(self, kept: Sequence[dict[str, Any]]) -> bool:
        """Whether no worker alone has everything that the training depends on; `kept`: the weights of snapshots."""
        return self._sharing and (self.replicas is not None or any("replicas" in weights for weights in kept))

    def read(self) -> dict[str, Any]:
        weights = live_weights(self._model, self._optimizer)
        return weights if self.replicas is None else {**weights, "replicas": self.replicas.state()}

    def write(self, weights: dict[str, Any]) -> None:
        self.average(Averaging(1))
        put_model(self._model, weights)
        if (replicas := weights.get("replicas")) is not None:
            self._replicate(Averaging(**replicas["averaging"]), replicas["obstacle"]).load(replicas)
        self._optimizer.load_state_dict(copied(weights["optimizer"]))  # without the copy it would share the tensors

    def gathered(self, weights: dict[str, Any]) -> dict[str, Any]:
        weights = copied(weights, torch.device("cpu"))
        return gathered(weights, self._group) if self._sharing else weights

    def own(self, weights: dict[str, Any]) -> dict[str, Any]:
        return own(weights, self._group) if self._sharing else weights

    def average(self, averaging: Averaging) -> str:
        """Train this many replicas from here on, starting at the model; returns how they are computed."""
        obstacle = None
        if self.replicas is not None:
            obstacle = self.replicas.losses.obstacle
            self.replicas.leave()
            self.replicas, self.parameters = None, [*self._model.parameters()]
        if averaging.is_plain:
            return "one model"
        obstacle = self._replicate(averaging, obstacle).losses.obstacle
        how = "all at once" if not obstacle else f"one after the other ({obstacle})"
        if self._group.size > 1:
            how = f"on {self._group.size} workers"
        return f"{averaging.replicas} replica{'' if averaging.replicas == 1 else 's'}, {how}"

    def _replicate(self, averaging: Averaging, obstacle: str | None) -> Replicas:
        if averaging.replicas < self._group.size:
            raise ValueError(
                f"{averaging}: each of {self._group.size} workers needs a replica; use replicas={self._group.size} "
                "or more, or fewer workers."
            )
        with autocast(self._workload.execution, next(self._model.parameters()).device):
            group = self._group if self._sharing else None
            self.replicas = Replicas(self._workload, self._model, self._optimizer, averaging, obstacle, group)
        self.parameters = list(self.replicas.parameters.values())
        return self.replicas
