"""Check what the methods of a workload return, so that a mistake names the class, the method, the value and the remedy.

Each raises TypeError for what the loop cannot use.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from search.records import Config
from search.settings import is_number
from trainables.contract import Workload
from trainables.reads import Watched
from trainables.values import Knobs

LONGEST = 100  # characters of a wrong value, in a message


def model_of(workload: Workload, config: Config, prepared: Path | None) -> torch.nn.Module:
    model = workload.model(config, prepared)
    if not isinstance(model, torch.nn.Module):
        _refuse(workload, "model", model, "return a torch.nn.Module.")
    return model


def optimizer_of(workload: Workload, model: torch.nn.Module, config: Config, knobs: Knobs) -> torch.optim.Optimizer:
    """Its optimizer. Also refuses one that cannot have the learning rate of `knobs`."""
    read: set[str] = set()
    optimizer = workload.optimizer(model, Watched(config, read))
    if not isinstance(optimizer, torch.optim.Optimizer):
        _refuse(workload, "optimizer", optimizer, "return a torch.optim.Optimizer, and nothing beside it.")
    _refuse_deaf(workload, optimizer, knobs, config, read)
    return optimizer


def samples_of(workload: Workload) -> int:
    samples = workload.samples()
    if isinstance(samples, bool) or not isinstance(samples, (int, Integral)) or samples < 1:
        _refuse(workload, "samples", samples, "return the number of training samples, a whole number, 1 or more.")
    return samples


def refuse_loss(workload: Workload, loss: Any) -> NoReturn:
    """Raise TypeError for a loss that is no tensor of one number with a gradient."""
    remedy = "return the mean loss, a tensor of one number with a gradient"
    if not isinstance(loss, Tensor):
        _refuse(workload, "loss", loss, f"{remedy}, without `.item()` or `float()`.")
    if loss.numel() != 1:
        _refuse(workload, "loss", f"a tensor of shape {tuple(loss.shape)}", f"{remedy}: `.mean()` of it.")
    _refuse(
        workload,
        "loss",
        loss,
        f"{remedy}; do not use `.detach()`, `torch.no_grad()` or a model without trainable weights.",
    )


def metrics_of(workload: Workload, metrics: Any) -> dict[str, float]:
    """What `evaluate` returned, as Python's numbers. Raises TypeError unless it is the metrics that the class names."""
    if not isinstance(metrics, Mapping):
        names = ", ".join(f"{name!r}: …" for name in workload.metrics)
        _refuse(workload, "evaluate", metrics, f"return a dict of the metrics: {{{names}}}.")
    if set(metrics) != set(workload.metrics):
        _refuse(
            workload, "evaluate", dict(metrics),
            f"the class names metrics = {workload.metrics!r}. Make both the same: each metric that is measured, and no other.",
        )  # fmt: skip
    plain = {name: _one(value) for name, value in metrics.items()}
    for name, value in plain.items():
        if not isinstance(value, (int, float)) and value is not None:
            _refuse(workload, "evaluate", dict(metrics), f"make {name!r} one number, such as its mean.")
    return plain


def _one(value: Any) -> Any:
    """An array or a tensor of one element as its number, all else as it is."""
    if isinstance(value, (int, float)) or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):  # several elements
        return value


def _refuse_deaf(
    workload: Workload, optimizer: torch.optim.Optimizer, knobs: Knobs, config: Config, read: set[str]
) -> None:
    """`read`: the parameters that it read.

    Another rate alone is no mistake: every group may have a multiple of the knob.
    """
    rates = [group["lr"] for group in optimizer.param_groups if group.get("lr") is not None]
    if not rates or any(
        math.isclose(float(rate), knobs.learning_rate) for rate in (*rates, optimizer.defaults.get("lr") or 0.0)
    ):
        return
    same = {
        name
        for name, value in config.items()
        if is_number(value)
        and value == knobs.learning_rate
        and workload.knobs({**config, name: 2 * value}).learning_rate != value  # the knob follows this parameter
    }
    if same and not same & read:
        name = min(same)
        raise ValueError(
            f"{type(workload).__name__}.optimizer gave its parameters lr={float(rates[0]):g} without a look at config[{name!r}], "
            f"which `knobs` names as the learning rate, {knobs.learning_rate:g}; write lr=config[{name!r}]."
        )


def _refuse(workload: Workload, method: str, value: Any, remedy: str) -> NoReturn:
    text = value if isinstance(value, str) else textwrap.shorten(repr(value), LONGEST, placeholder=" …")
    raise TypeError(f"{type(workload).__name__}.{method} returned {text}; {remedy}")
