"""The rows of a part of the data that stand for all of it where policies compare weights: always the same."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SEED = 20_240_601  # at random, as data may be ordered: by class, or with a period that a stride would meet


@lru_cache(maxsize=16)
def fixed_sample(count: int, samples: int | None, device: str) -> Tensor | slice:
    """So many of `count` rows, in their order; None, or no fewer than there are: all of them.

    >>> fixed_sample(2, 5, "cpu")
    slice(None, None, None)
    """
    if samples is None or samples >= count:
        return slice(None)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SEED))
    return order[:samples].sort().values.to(device)
