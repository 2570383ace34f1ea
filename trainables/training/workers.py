"""The workers that train one model together: each has its share of every batch, all have the same weights.

Every worker goes through the same permutation, asks the same policy and makes the same updates; the first also
evaluates, reports and writes the checkpoints. The random numbers of the others (dropout, augmentation) are a function
of seed, worker and samples seen, so a checkpoint of the first worker is a checkpoint of all. If workers have replicas
of their own (`trainables.training.replicas`), the first asks the others for theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from trainables.training.randomness import seed_streams


class Alone:
    """One worker, which shares nothing."""

    rank = 0
    size = 1

    def wrapped(self, model: torch.nn.Module, watch: bool = False) -> torch.nn.Module:
        """`model`, wrapped so that a backward pass gives the gradient of all workers; `watch`: see `parts`."""
        return model

    def share(self, batch: Tensor, replicas: int | None = None) -> Tensor:
        """This worker's part of `batch`; with `replicas`, which take samples in turn, the part of its own."""
        return batch

    def weight(self, count: int, total: int) -> float:
        """The factor for the mean loss of `count` samples in a batch of `total`."""
        return count / total

    def adding(self, model: torch.nn.Module, *, is_last: bool) -> AbstractContextManager[Any]:
        """A context for passes whose gradients accumulate; the last pass adds up the workers' gradients."""
        return nullcontext()

    def reseed(self, seed: int, samples: int) -> None:
        """Seed the random streams; called before each batch."""

    def total(self, value: float | Tensor) -> float | Tensor:
        """The sum over all workers."""
        return value

    def totals(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The sums over all workers, in one exchange."""
        return [*values]

    def parts(self) -> list[tuple[float, float]]:
        """For each worker, |its share of the gradient|^2 in the last update, and its share of the samples."""
        return []

    def everybody(self, value: Any) -> list[Any]:
        """The `value` of each worker."""
        return [value]

    def told(self, value: Any) -> Any:
        """The first worker's `value`."""
        return value


class Group(Alone):
    """The workers of torch's default process group."""

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._too_few = False
        self._square: float | Tensor = 0.0  # of this worker's own gradient, before it is shared
        self._weight = 0.0

    def wrapped(self, model: torch.nn.Module, watch: bool = False) -> torch.nn.Module:
        parallel = DistributedDataParallel(model)
        if watch:
            # PyTorch refuses a hook whose annotations are strings, hence the lambda.
            parallel.register_comm_hook(None, lambda group, bucket: self._measured_and_shared(group, bucket))
        return parallel

    def _measured_and_shared(self, group: Any, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        self._square = self._square + bucket.buffer().double().square().sum()
        return allreduce_hook(group, bucket)

    def share(self, batch: Tensor, replicas: int | None = None) -> Tensor:
        self._too_few = self.rank >= len(batch)
        if replicas is not None:
            return batch[torch.arange(len(batch), device=batch.device) % replicas % self.size == self.rank]
        if self._too_few:  # it must take part in the pass, but counts for nothing
            return batch[:1]
        return batch[self.rank :: self.size]

    def weight(self, count: int, total: int) -> float:
        weight = 0.0 if self._too_few else count * self.size / total  # DDP averages the gradients over the workers
        self._weight += weight / self.size
        return weight

    def adding(self, model: torch.nn.Module, *, is_last: bool) -> AbstractContextManager[Any]:
        assert isinstance(model, DistributedDataParallel)
        return nullcontext() if is_last else model.no_sync()

    def reseed(self, seed: int, samples: int) -> None:
        if self.rank:
            seed_streams(int(np.random.SeedSequence((seed, self.rank, samples)).generate_state(1)[0]))

    def total(self, value: float | Tensor) -> float | Tensor:
        if isinstance(value, Tensor):
            distributed.all_reduce(value)
            return value
        summed = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(summed)
        return float(summed)

    def totals(self, values: Sequence[Tensor]) -> list[Tensor]:
        if not values:
            return []
        flat = torch.cat([value.flatten() for value in values])
        distributed.all_reduce(flat)
        pieces = torch.split(flat, [value.numel() for value in values])
        return [piece.view_as(value) for piece, value in zip(pieces, values, strict=True)]

    def parts(self) -> list[tuple[float, float]]:
        square, self._square = float(self._square) / self.size**2, 0.0
        weight, self._weight = self._weight, 0.0
        return self.everybody((square, weight))

    def everybody(self, value: Any) -> list[Any]:
        said: list[Any] = [None] * self.size
        distributed.all_gather_object(said, value)
        return said

    def told(self, value: Any) -> Any:
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


def joined() -> Alone:
    """The workers of torch's default process group if this process has joined a group of several; else `Alone`."""
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        return Group()
    return Alone()
