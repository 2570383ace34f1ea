"""Weights, buffers and the optimizer's state as one dict: read, copied, written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from trainables.training.weight_averages import with_average
from trainables.values import PRESENT, Averaging


class Weights(Protocol):
    """The weights that `Control` takes snapshots of and rolls back."""

    @property
    def averaging(self) -> Averaging | None:
        """The averaging in progress; None while one model trains."""

    def read(self) -> dict[str, Any]:
        """The live tensors: "model", "buffers", "optimizer", and others that belong to them."""

    def write(self, weights: dict[str, Any]) -> None:
        """Restore weights from a copy of what `read` returned."""

    def gathered(self, weights: dict[str, Any]) -> dict[str, Any]:
        """A copy on the CPU, including the parts that other workers hold."""

    def own(self, weights: dict[str, Any]) -> dict[str, Any]:
        """This worker's part of what `gathered` returned."""

    def average(self, averaging: Averaging) -> str:
        """Train `averaging.replicas` replicas from here on; returns how they are computed."""


class ModelState:
    """A model and its optimizer, for any training loop."""

    averaging: Averaging | None = None

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._optimizer = model, optimizer

    def read(self) -> dict[str, Any]:
        return live_weights(self._model, self._optimizer)

    def write(self, weights: dict[str, Any]) -> None:
        put_model(self._model, weights)
        self._optimizer.load_state_dict(copied(weights["optimizer"]))  # without the copy it would share the tensors

    def gathered(self, weights: dict[str, Any]) -> dict[str, Any]:
        return cast("dict[str, Any]", copied(weights, torch.device("cpu")))

    def own(self, weights: dict[str, Any]) -> dict[str, Any]:
        return weights

    def average(self, averaging: Averaging) -> str:
        """Raises ValueError for more than one replica: the loop would have to compute the loss of each."""
        if averaging.is_plain:
            return "one model"
        raise ValueError(f"{averaging}: only our own loop trains replicas; make the model a Workload and call train().")


def live_weights(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The live tensors of both, including buffers that PyTorch would not save."""
    state = dict(model.state_dict())
    buffers = {name: value for name, value in model.named_buffers() if name not in state}
    return {"model": state, "buffers": buffers, "optimizer": optimizer.state_dict()}


def put_model(model: torch.nn.Module, weights: dict[str, Any]) -> None:
    model.load_state_dict(weights["model"])
    buffers = dict(model.named_buffers())
    for name, value in weights["buffers"].items():
        buffers[name].copy_(value)


def reported_snapshot(control: Mapping[str, Any]) -> dict[str, Any] | None:
    """The snapshot that an evaluation measures in this state of a control; None: the present weights."""
    if not control["exploring"] or control["reports"] == PRESENT:
        return None
    return cast("dict[str, Any]", control["snapshots"][control["reports"]])


def last_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights from which a training of this state goes on: during an exploration, those at the snapshot."""
    reported = reported_snapshot(state["control"])
    return cast("dict[str, Any]", state["weights"] if reported is None else reported["weights"])


def measured_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights behind the metrics of this state: the last weights, or the average that was chosen."""
    weights, control = last_weights(state), state["control"]
    averages = (reported_snapshot(control) or control)["averages"]
    if averages is None or control["chosen"] not in averages["gammas"]:
        return weights
    return with_average(weights, averages, control["chosen"])


def copied(value: Any, device: torch.device | None = None) -> Any:
    """A deep copy, with all tensors on `device` (None: each stays where it is; optimizers keep some on the CPU)."""
    if isinstance(value, Tensor):
        return value.detach().to(device or value.device, copy=True)
    if isinstance(value, dict):
        return {key: copied(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([copied(item, device) for item in value])
    return value.copy() if isinstance(value, (set, np.ndarray)) else value
