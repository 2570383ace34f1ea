"""The order in which a training sees its samples: each epoch has its own permutation, a function of seed and epoch.

So a checkpoint only needs the place. If a policy replays samples, the data lag behind the training: they continue
through the same permutations, that many samples later.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class DataOrder(Protocol):
    """An order of samples that can lag, so that some samples come again: `SampleOrder`, or a BatchSampler."""

    behind: int  # samples

    def follow(self, samples: int, batch_size: int) -> None:
        """`samples` have been trained on, and the next batch has `batch_size` (0: there is none)."""

    def end_epoch(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class SampleOrder:
    """Orders `size` samples; the indices are on `device`."""

    def __init__(self, seed: int, size: int, device: torch.device) -> None:
        self.seed = seed  # of the present epoch's permutation; a fork finishes its parent's
        self.behind = 0  # samples
        self._own_seed, self._size, self._device = seed, size, device
        self._kept: tuple[tuple[int, int], Tensor] | None = None

    def follow(self, samples: int, batch_size: int) -> None:
        """Does nothing: `drawn` is told the place as well."""

    def end_epoch(self) -> None:
        self.seed = self._own_seed

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "behind": self.behind}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed, self.behind = state["seed"], state["behind"]

    def drawn(self, place: int, count: int) -> Tensor:
        """The next `count` indices; `place`: samples since the start of the training."""
        epoch, offset = divmod(place - self.behind, self._size)
        present = place // self._size
        found = self._permutation(epoch, present)[offset : offset + count]
        if len(found) < count:
            found = torch.cat([found, self._permutation(epoch + 1, present)[: count - len(found)]])
        return found

    def _permutation(self, epoch: int, present: int) -> Tensor:
        key = (self.seed if epoch == present else self._own_seed, epoch)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, torch.from_numpy(np.random.default_rng(key).permutation(self._size)).to(self._device)
        return self._kept[1]


def batch_count(cursor: int, size: int, batch_size: int, replicas: int = 1) -> int:
    """Samples of the next batch, `cursor` samples into an epoch of `size`.

    A last batch that is too small joins the one before: batch normalization needs two samples or more in each replica.
    """
    end = cursor + batch_size
    if 0 < size - end < min(batch_size, replicas * min(2, batch_size // replicas)):
        end = size
    return min(end, size) - cursor
