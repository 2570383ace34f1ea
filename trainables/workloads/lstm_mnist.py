"""An LSTM that reads handwritten digits row by row: the smallest of the large-batch studies.

Data       None: scikit-learn's digits, 8x8, 1,000 to train on, 297 to validate on, 500 to test on. Or a folder with
           MNIST's four .gz files; the last twelfth of its 60,000 training images, 5,000, is for validation.
Baseline   momentum SGD with a learning rate of 0.1 and batches of 128, for 25 epochs, as in the source.
Source     You et al., Large-Batch Training for LSTM and Beyond, SC 2019: about 98.7 % on the test part, with batches of
           128 up to 8,192.
Differs    holds validation images out of the training part; standardises the ink; has no layer before the LSTM unless
           `projection` is set.
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

_DIGITS_TRAIN, _DIGITS_VALID = 1_000, 297
_VALID_SHARE = 12  # one of this many parts of MNIST's training images
_DIGITS_INK, _MNIST_INK = (4.88, 6.02), (33.32, 78.57)  # mean and standard deviation of the training images
_AT_ONCE = 2_500  # images evaluated at once


@dataclass(frozen=True)
class LstmMnist(SampledWorkload):
    """A recurrent network that reads handwritten digits row by row.

    >>> workload = LstmMnist(horizon=5)
    """

    horizon: int = 25
    data: str | None = None  # a folder with MNIST's files; None: scikit-learn's digits
    hidden: int = 128
    projection: int | None = None  # width of a linear layer before the LSTM
    data_share: float = 1.0  # of the training images, the first ones; the evaluation data stay the same
    execution: Execution = Execution()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    baseline: ClassVar[Config | None] = {"learning_rate": 0.1, "batch_size": 128, "momentum": 0.9}

    def check(self) -> None:
        for name, value in (("hidden", self.hidden), ("projection", self.projection or 1)):
            if value < 1:
                raise ValueError(f"{name}={value!r}: must be 1 or more.")
        if not 0 < self.data_share <= 1:
            raise ValueError(f"data_share={self.data_share!r}: must be more than 0 and at most 1.")
        if self.data is not None:
            from trainables.data.idx import check

            check(self.data)

    def knobs(self, config: Config) -> Knobs:
        """Optional parameters: weight_decay, optimizer, trust_coefficient."""
        return Knobs(config["learning_rate"], config["batch_size"], config["momentum"], config.get("weight_decay", 0.0))

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from trainables.models.lstm import RowLstm

        images, _ = self.part("train", "cpu")
        return RowLstm(images.shape[2], self.hidden, 10, self.projection)

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import configured

        return configured(config, "sgd", model.parameters(), self.knobs(config))

    def samples(self) -> int:
        return max(1, round(self.data_share * len(self.part("train", "cpu")[1])))

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from torch.nn import functional

        images, labels = self.part("train", str(indices.device))
        return functional.cross_entropy(model(self._shown(images[indices])), labels[indices])

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        from trainables.data.fixed_sample import fixed_sample
        from trainables.data.images import scores

        device = str(next(model.parameters()).device)
        images, labels = self.part(part, device)
        rows = fixed_sample(len(labels), samples, device)
        return scores(self._logits(model, images[rows]), labels[rows])

    def predictions(self, model: torch.nn.Module, part: str) -> Predictions:
        from trainables.models.answers import answers

        images, labels = self.part(part, str(next(model.parameters()).device))
        return answers(self._logits(model, images), labels, images=images)

    @classmethod
    def smallest(cls) -> LstmMnist:
        return cls(horizon=6, hidden=64)

    def part(self, part: str, device: str) -> tuple[Tensor, Tensor]:
        return (_digits(device) if self.data is None else _mnist(self.data, device))[part]

    def _logits(self, model: torch.nn.Module, images: Tensor) -> Tensor:
        import torch

        return torch.cat([model(self._shown(some)) for some in torch.split(images, _AT_ONCE)])

    def _shown(self, images: Tensor) -> Tensor:
        mean, deviation = _DIGITS_INK if self.data is None else _MNIST_INK
        return (images.float() - mean) / deviation


@lru_cache(maxsize=2)
def _digits(device: str) -> dict[str, tuple[Tensor, Tensor]]:
    from sklearn.datasets import load_digits

    data = load_digits()
    train, valid = _DIGITS_TRAIN, _DIGITS_TRAIN + _DIGITS_VALID
    rows = {"train": slice(0, train), "valid": slice(train, valid), "test": slice(valid, None)}
    return {part: _tensors(data.images[some].astype("uint8"), data.target[some], device) for part, some in rows.items()}


@lru_cache(maxsize=2)
def _mnist(data: str, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    from trainables.data.idx import read

    parts = read(data)
    images, labels = parts["train"]
    train = len(labels) - max(1, len(labels) // _VALID_SHARE)
    return {
        "train": _tensors(images[:train], labels[:train], device),
        "valid": _tensors(images[train:], labels[train:], device),
        "test": _tensors(*parts["test"], device),
    }


def _tensors(images: object, labels: object, device: str) -> tuple[Tensor, Tensor]:
    import torch

    return torch.as_tensor(images).to(device), torch.as_tensor(labels).to(device)
