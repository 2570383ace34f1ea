"""Batches of indices for a DataLoader; the policy sets the size of each batch.

    sampler = BatchSampler(len(data), seed=0)
    control = Control(policy, model, optimizer, batch_size=64, samples=len(data), epochs=20, sampler=sampler)
    for inputs, targets in DataLoader(data, batch_sampler=sampler): …

One pass over the loader covers the rest of an epoch. Each epoch shows each sample once, in a new order that depends on
the seed alone. A loader with workers draws batches ahead. Those keep their size, so a new batch size takes effect only
after them; if the training is interrupted, they are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler

from trainables.training.data_order import SampleOrder, batch_count


class BatchSampler(Sampler[list[int]]):
    """Batches of `samples` samples, for a DataLoader. Of several DDP ranks each gets every `ranks`-th sample.

    >>> sampler = BatchSampler(1000, seed=1)  # Control(…, sampler=sampler) sets the batch size
    """

    def __init__(self, samples: int, *, seed: int = 0, rank: int = 0, ranks: int = 1) -> None:
        if not 0 <= rank < ranks:
            raise ValueError(f"BatchSampler(rank={rank}, ranks={ranks}): rank must be from 0 to {ranks - 1}.")
        self._size, self._rank, self._ranks = samples, rank, ranks
        self._order = SampleOrder(seed, samples, torch.device("cpu"))
        self._batch_size: int | None = None  # until a control sets it
        self._trained = 0  # samples since the start of the training …
        self._begun = 0  # … and at the start of this epoch
        self._ahead: list[int] = []  # sizes of the batches drawn but not yet trained on

    def __iter__(self) -> Iterator[list[int]]:
        if self._batch_size is None:
            raise ValueError(
                "BatchSampler: no control sets its batch size; pass it to Control(…, sampler=sampler) first."
            )
        again, self._ahead = self._ahead, []
        while self._batch_size:
            place = self._trained + sum(self._ahead)
            if place >= self._begun + self._size:
                return
            count = again.pop(0) if again else batch_count(place - self._begun, self._size, self._batch_size)
            self._ahead.append(count)
            yield self._order.drawn(place, count)[self._rank :: self._ranks].tolist()

    @property
    def behind(self) -> int:
        """How many samples the data lag behind the training, because some came again."""
        return self._order.behind

    @behind.setter
    def behind(self, samples: int) -> None:
        if self._ahead and samples != self._order.behind:
            raise ValueError(
                f"BatchSampler: the policy replays samples, but the DataLoader has drawn {len(self._ahead)} batches ahead of "
                "the training; use DataLoader(…, num_workers=0), or a policy with data='fresh'."
            )
        self._order.behind = samples

    def follow(self, samples: int, batch_size: int) -> None:
        """`Control` calls this: `samples` have been trained on, the next batch has `batch_size` (0: there is none)."""
        self._batch_size = batch_size
        while self._trained < samples:
            told = samples - self._trained
            drawn = self._ahead.pop(0) if self._ahead else 0
            if told < drawn or not drawn:
                raise ValueError(
                    f"BatchSampler: the control got an update over {told} samples, but the batch drawn has {drawn}; tell the "
                    "control of each batch of the DataLoader once, and of nothing else."
                )
            self._trained += drawn

    def end_epoch(self) -> None:
        self._begun = self._trained
        self._order.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        order = self._order.state_dict()
        return {**order, "trained": self._trained, "begun": self._begun, "ahead": [*self._ahead]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._order.load_state_dict(state)
        self._trained, self._begun, self._ahead = state["trained"], state["begun"], [*state["ahead"]]
