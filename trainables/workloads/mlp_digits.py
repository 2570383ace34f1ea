"""A small dense network on handwritten digits: epochs of milliseconds, for studies of many trainings on one core.

Data       scikit-learn's digits, 8x8: 1,000 to train on, 297 to validate on, 500 to test on.
Baseline   momentum SGD with a learning rate of 0.1 and batches of 32: about 98 % on the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.models.sampled_workload import SampledWorkload
from trainables.values import Execution, Knobs, Predictions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TRAIN, _VALID = 1_000, 297
_INK = 16.0  # the darkest pixel


@dataclass(frozen=True)
class MlpDigits(SampledWorkload):
    """A small dense network on handwritten digits.

    >>> workload = MlpDigits(horizon=10)
    """

    horizon: int = 30
    hidden: int = 64
    data_share: float = 1.0  # of the training images, the first ones; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    baseline: ClassVar[Config | None] = {"learning_rate": 0.1, "batch_size": 32, "momentum": 0.9}

    def knobs(self, config: Config) -> Knobs:
        return Knobs(config["learning_rate"], config["batch_size"], config["momentum"], config.get("weight_decay", 0.0))

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from torch import nn

        return nn.Sequential(nn.Linear(64, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 10))

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import optimizer

        return optimizer(config.get("optimizer", "sgd"), model.parameters(), self.knobs(config))

    def samples(self) -> int:
        return max(1, round(self.data_share * _TRAIN))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from torch.nn import functional

        pixels, labels = _digits(str(indices.device))["train"]
        return functional.cross_entropy(model(pixels[indices]), labels[indices])

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        from trainables.data.images import evaluate

        return evaluate(model, *_digits(str(next(model.parameters()).device))[part], samples)

    def predictions(self, model: torch.nn.Module, part: str) -> Predictions:
        from trainables.models.answers import answers

        pixels, labels = _digits(str(next(model.parameters()).device))[part]
        return answers(model(pixels), labels, images=(pixels * _INK).round().byte().reshape(-1, 8, 8))

    @classmethod
    def smallest(cls) -> MlpDigits:
        return cls(horizon=3, data_share=0.2)


@lru_cache(maxsize=2)
def _digits(device: str) -> dict[str, tuple[Tensor, Tensor]]:
    import torch
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = torch.as_tensor(data.data, dtype=torch.float32, device=device) / _INK
    labels = torch.as_tensor(data.target, device=device)
    rows = {"train": slice(0, _TRAIN), "valid": slice(_TRAIN, _TRAIN + _VALID), "test": slice(_TRAIN + _VALID, None)}
    return {part: (pixels[some], labels[some]) for part, some in rows.items()}
