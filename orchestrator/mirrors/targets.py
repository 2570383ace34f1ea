"""The tools that a run can be mirrored to, by name. A tool is imported when it is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path

from orchestrator.errors import BadInput, did_you_mean
from orchestrator.mirrors.contract import Mirror

TARGETS = {
    "tensorboard": "TensorBoard",
    "mlflow": "MlFlow",
    "wandb": "WeightsAndBiases",
    "trackio": "Trackio",
}  # the module in this folder → the class in it


def check(name: str) -> None:
    """Raises BadInput for an unknown tool."""
    if name not in TARGETS:
        raise BadInput(f"--to {name}: no such tool.{did_you_mean(name, TARGETS)}")


def target(name: str, output: Path, project: str = "") -> Mirror:
    """A mirror in the folder `output`, which is made. Raises BadInput for an unknown tool, and for one not installed."""
    check(name)
    kind: type[Mirror] = getattr(importlib.import_module(f"orchestrator.mirrors.{name}"), TARGETS[name])
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output {output}: {error.strerror}. Name another folder.") from error
    return kind(output.absolute(), project)
