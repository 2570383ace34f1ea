"""Scale from a tuned batch to a larger one: learning rate, warm-up and updates at each doubling, and the expected cost.

    for row in scaled_batches(base_batch=128, learning_rate=0.1, warmup_epochs=0.2, target=8192, noise_scale=900):
        print(row)

The rules are LEGW's (You et al., Large-Batch Training for LSTM and Beyond, 2019): the rate grows with the square root
of the batch, the warm-up's epochs with the batch, and the number of epochs stays. The expected cost is McCandlish et
al.'s (An Empirical Model of Large-Batch Training, 2018): with a noise scale of S samples, a batch of B needs 1 + B / S
times the samples that the smallest batches need for the same loss. Both are rules of thumb: tune around the last row.
The noise scale is only a proxy, and it changes in a training: on the Penn Treebank at 16 times the batch it promised 2.2
times the samples, and 4 times were not enough. `LargestFreeBatch` measures the cost by training on with both batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_PROXY = "; a proxy: measure by branching, LargestFreeBatch"
_CHEAP = 0.25  # this share of samples more than at the base batch hardly matters


@dataclass(frozen=True)
class ScaledBatch:
    """The settings for one batch size."""

    batch_size: int
    learning_rate: float
    warmup_epochs: float
    fewer_updates: float  # in the same number of epochs, relative to the base batch
    more_samples: float | None  # expected for the same loss, relative to the base batch; None: no noise scale

    @property
    def verdict(self) -> str:
        """What the noise scale says about this row, which nobody has measured."""
        if self.fewer_updates == 1:
            return "as tuned"
        if self.more_samples is None:
            return "unknown: measure by branching, LargestFreeBatch"
        if self.more_samples <= 1 + _CHEAP:
            return f"about {self.more_samples:.2g} times the samples{_PROXY}"
        if self.fewer_updates > 2 * self.more_samples:
            return f"fewer updates, but at least {self.more_samples:.2g} times the samples for the same loss{_PROXY}"
        fewer = self.fewer_updates / self.more_samples
        return f"hardly fewer updates to the same loss: at most {fewer:.2g} times fewer{_PROXY}"


def scaled_batches(
    *,
    base_batch: int,
    learning_rate: float,
    warmup_epochs: float,
    target: int,
    noise_scale: float | None = None,
    scaling: str = "sqrt",
) -> list[ScaledBatch]:
    """The base batch, its doublings below `target`, and `target`. Raises ValueError for invalid settings."""
    if not 1 <= base_batch <= target:
        raise ValueError(f"base_batch={base_batch}, target={target}: the target must not be below the base batch.")
    if not learning_rate > 0 or not warmup_epochs >= 0:
        raise ValueError(
            f"learning_rate={learning_rate}, warmup_epochs={warmup_epochs}: give those that were tuned at the base batch."
        )
    if noise_scale is not None and not noise_scale > 0:
        raise ValueError(f"noise_scale={noise_scale}: must be a number of samples, more than 0, or None.")
    if scaling not in ("sqrt", "linear"):
        raise ValueError(f"scaling={scaling!r}: must be 'sqrt' (LEGW) or 'linear' (Goyal et al., 2017).")
    doublings = [base_batch * 2**power for power in range(math.ceil(math.log2(target / base_batch)))]
    return [
        ScaledBatch(
            batch_size=batch,
            learning_rate=learning_rate * (math.sqrt(times) if scaling == "sqrt" else times),
            warmup_epochs=warmup_epochs * times,
            fewer_updates=times,
            more_samples=None if noise_scale is None else (1 + batch / noise_scale) / (1 + base_batch / noise_scale),
        )
        for batch in [*doublings, target]
        for times in [batch / base_batch]
    ]
