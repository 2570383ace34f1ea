"""The training loss of an epoch: the mean over the samples whose updates count.

Updates that a roll-back undoes do not count, nor do those of an exploration in progress. If no update of an epoch
counts, the epoch reports the last loss that does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor


class LossAccount:
    """Sums losses over samples; on a GPU the sums stay tensors, so that no update waits for the device."""

    def __init__(self) -> None:
        self.loss_sum: float | Tensor = 0.0  # over the samples of this epoch that count
        self.kept = 0  # the number of those samples
        self.last: float | Tensor = math.inf  # of the last update outside explorations, or of the first inside one
        self.latest: float | Tensor = math.inf  # of the last update of all

    def add(self, loss_sum: float | Tensor, samples: int, *, exploring: bool) -> None:
        """One update over `samples` samples."""
        self.loss_sum += loss_sum
        self.kept += samples
        self.latest = loss_sum / samples
        if not exploring or self.last == math.inf:
            self.last = self.latest

    def mean(self, snapshot: Mapping[str, Any] | None, epoch: int) -> float:
        """The loss of `epoch`. During an exploration, which began at `snapshot`: the loss of the updates before it."""
        loss_sum, kept = (self.loss_sum, self.kept) if snapshot is None else counted_at(snapshot, epoch)
        return float(loss_sum) / kept if kept else float(self.last)

    def sums(self) -> dict[str, Any]:
        """The sums that a snapshot keeps."""
        return {"loss_sum": float(self.loss_sum), "kept": self.kept}

    def put(self, loss_sum: float, kept: int) -> None:
        """Set the loss sum of this epoch and the number of its samples."""
        self.loss_sum, self.kept = loss_sum, kept

    def state_dict(self) -> dict[str, Any]:
        return {**self.sums(), "last_loss": float(self.last), "latest_loss": float(self.latest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss_sum, self.kept, self.last = state["loss_sum"], state["kept"], state["last_loss"]
        self.latest = state["latest_loss"]


def counted_at(snapshot: Mapping[str, Any], epoch: int) -> tuple[float, int]:
    """Loss sum and samples of `epoch` at the time of the snapshot; zeros if the snapshot is from an earlier epoch."""
    return (snapshot["loss_sum"], snapshot["kept"]) if snapshot["epoch"] == epoch else (0.0, 0)
