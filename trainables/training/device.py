"""Where and how a model is computed: device, layout in memory, precision."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from trainables.contract import Workload
from trainables.training.returned import metrics_of
from trainables.values import Execution, Predictions

_FEWEST, _SHARE = 256, 400  # samples of a probe: at least, and as a share of an epoch


def compute_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(workload: Workload, model: torch.nn.Module, part: str) -> Mapping[str, float]:
    model.eval()
    with torch.no_grad(), autocast(workload.execution, next(model.parameters()).device):
        metrics = workload.evaluate(model, part)
    return metrics_of(workload, metrics)


def probe(workload: Workload, model: torch.nn.Module) -> Mapping[str, float]:
    """The metrics that policies compare in mid-training: a race of rates then waits about 1 % of its training for them.

    The samples depend on nothing but the data: not on the horizon, which a promotion makes longer.
    """
    if not _probes_as_it_evaluates(type(workload)):
        return measure(workload, model, "valid")
    model.eval()
    with torch.no_grad(), autocast(workload.execution, next(model.parameters()).device):
        return workload.probe(model, max(_FEWEST, workload.samples() // _SHARE))


def _probes_as_it_evaluates(kind: type[Workload]) -> bool:
    """Whether no class overrides `evaluate` below the one with `probe`, which would leave out what it measures."""
    return next("probe" in vars(each) for each in kind.__mro__ if {"evaluate", "probe"} & vars(each).keys())


def predict(workload: Workload, model: torch.nn.Module, part: str) -> Predictions | None:
    model.eval()
    with torch.no_grad(), autocast(workload.execution, next(model.parameters()).device):
        return workload.predictions(model, part)


def placed(model: torch.nn.Module, execution: Execution, device: torch.device) -> torch.nn.Module:
    model = model.to(device)
    if execution.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def autocast(execution: Execution, device: torch.device) -> AbstractContextManager[None]:
    if execution.precision == "float32":
        return nullcontext()
    kind = torch.bfloat16 if execution.precision == "bf16" else torch.float16
    return torch.autocast(device.type, kind)
