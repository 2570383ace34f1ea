"""The loss by which a policy judges weights: the best of the last weights and of their averages, on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping

_FALLING = ("loss", "error", "perplexity")


def lowest(
    each: Mapping[str, Mapping[str, float]], metric: str | None, mode: str = "min", *, whose: str, remedy: str = ""
) -> float:
    """The best value of `metric` among the last weights and their averages; of mode "max" its negative.

    None: the first metric whose name ends in "loss"; else in "error", in "perplexity". Infinite if none is finite.
    Raises ValueError, which names the policy `whose` setting it is and the `remedy`, if there is no such metric.

    >>> lowest({"last": {"loss": 0.3}, "γ=4": {"loss": 0.2}}, None, whose="RateRace")
    0.2
    """
    found = judged(each["last"], metric)
    if found not in each["last"]:
        names = ", ".join(repr(name) for name in each["last"] if name != "train_loss")
        raise ValueError(f"{whose}(metric={metric!r}): must be a validation loss, one of {names}{remedy}.")
    sign = 1.0 if mode == "min" else -1.0
    return min((sign * metrics[found] for metrics in each.values() if math.isfinite(metrics[found])), default=math.inf)


def judged(metrics: Mapping[str, float], metric: str | None) -> str:
    """The name of the metric by which `lowest` judges; "" if there is none."""
    names = [name for name in metrics if name != "train_loss"]
    return metric or next((name for end in _FALLING for name in names if name.endswith(end)), "")
