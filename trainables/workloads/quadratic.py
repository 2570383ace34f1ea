"""A noisy quadratic bowl with a known optimum and epochs below a millisecond, for tests and simulated clocks.

Sample i pulls towards its own centre cᵢ, so gradients are noisy: the loss is the mean of ½ Σⱼ λⱼ (wⱼ − cᵢⱼ)²
with curvatures λ spread evenly in log scale between 1/spread and 1. SGD diverges beyond a learning rate of 2.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.models.sampled_workload import SampledWorkload
from trainables.values import Execution, Knobs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SEED = 20_240_601  # of the data, which are the same for every trial
_TRAIN = 64
_HELD_OUT = 256


@dataclass(frozen=True)
class Quadratic(SampledWorkload):
    """A noisy quadratic bowl: a training of milliseconds.

    >>> workload = Quadratic(horizon=5)
    """

    horizon: int = 9
    dimension: int = 8
    spread: float = 100.0  # largest curvature over smallest
    noise: float = 0.3  # standard deviation of the samples around the optimum, which is the origin
    seconds_per_step: float = 0.0  # sleep in each step, in portions, for tests that interrupt
    declared_cost: float | None = None  # seconds for a step on all samples, for a simulated clock
    data_share: float = 1.0  # of the training samples; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "loss"
    mode: ClassVar[str] = "min"
    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    baseline: ClassVar[Config | None] = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 16}

    def knobs(self, config: Config) -> Knobs:
        return Knobs(config["learning_rate"], config["batch_size"], config.get("momentum", 0.0))

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        import torch

        from trainables.models.quadratic import Point

        curvature = torch.logspace(0, 1, self.dimension, base=1 / self.spread)
        return Point(curvature, start=torch.ones(self.dimension))

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(model.parameters(), lr=config["learning_rate"], momentum=config.get("momentum", 0.0))

    def samples(self) -> int:
        return max(1, round(self.data_share * _TRAIN))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        if self.seconds_per_step:
            time.sleep(self.seconds_per_step * len(indices) / _TRAIN)
        centres = _centres(self.dimension, self.noise, str(indices.device))["train"]
        losses: Tensor = model(centres[indices])
        return losses.mean()

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        device = str(next(model.parameters()).device)
        losses: Tensor = model(_centres(self.dimension, self.noise, device)[part][:samples])
        return {"loss": losses.mean().item()}

    def cost_seconds(self, config: Config, step: int) -> float | None:
        return None if self.declared_cost is None else self.declared_cost * self.samples() / _TRAIN


@lru_cache(maxsize=8)
def _centres(dimension: int, noise: float, device: str) -> dict[str, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(_SEED)
    sizes = {"train": _TRAIN, "valid": _HELD_OUT, "test": _HELD_OUT}
    return {
        part: (noise * torch.randn(size, dimension, generator=generator)).to(device) for part, size in sizes.items()
    }
