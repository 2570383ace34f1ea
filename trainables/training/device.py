"""Where and how a model is computed: device, layout in memory, precision."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from trainables.contract import Workload
from trainables.values import Execution, Predictions


def compute_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def measure(workload: Workload, model: torch.nn.Module, part: str) -> Mapping[str, float]:
    model.eval()
    with torch.no_grad(), autocast(workload.execution, next(model.parameters()).device):
        return workload.evaluate(model, part)


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
