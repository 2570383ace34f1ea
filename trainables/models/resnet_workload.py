"""The common part of workloads that train a residual network on images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from search.records import Config
from trainables.models.resnets import Architecture
from trainables.models.sampled_workload import SampledWorkload
from trainables.values import Knobs, Predictions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.images import Split


class ResNetWorkload(SampledWorkload):
    """Fields of the network and the data, the optimiser, and the evaluation; a concrete workload adds the rest."""

    data: str | None
    network: str
    widths: tuple[int, ...] | None
    blocks: int
    stem_stride: int
    classes_every: int
    data_share: float

    def check(self) -> None:
        if not 0 < self.data_share <= 1:
            raise ValueError(f"data_share={self.data_share!r}: must be more than 0 and at most 1.")
        if self.data is None and self.classes_every != 1:
            raise ValueError(f"classes_every={self.classes_every}: is for folders; the digits are five classes.")

    def knobs(self, config: Config) -> Knobs:
        """Optional parameters: nesterov, optimizer, trust_coefficient."""
        return Knobs(config["learning_rate"], config["batch_size"], config["momentum"], config["weight_decay"])

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        from trainables.optim.by_name import configured

        default = "nesterov" if config.get("nesterov", False) else "sgd"
        return configured(config, default, model.parameters(), self.knobs(config))

    def samples(self) -> int:
        return len(self.rows("cpu"))

    def measure(self, model: torch.nn.Module, part: str, samples: int | None) -> Mapping[str, float]:
        from trainables.data.images import evaluate

        forward, inputs = self.seen(model, part)
        return evaluate(forward, inputs, self.split.labels[part].to(inputs.device), samples)

    def predictions(self, model: torch.nn.Module, part: str) -> Predictions:
        from trainables.data.images import in_turns, load
        from trainables.models.answers import answers

        forward, inputs = self.seen(model, part)
        data = load(self.split, str(inputs.device))
        logits = in_turns(forward, inputs)
        return answers(logits, data.labels[part], images=data.parts[part], classes=self.split.class_names)

    def seen(self, model: torch.nn.Module, part: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """What gives the logits, and what of a part to give it."""
        from trainables.data.images import load

        data = load(self.split, str(next(model.parameters()).device))
        return lambda images: model(data.floats(images)), data.parts[part]

    @property
    @abstractmethod
    def split(self) -> Split:
        """The images in three parts."""

    @abstractmethod
    def rows(self, device: str) -> Tensor:
        """The rows of this trial's training images among all images, (n,), on `device`."""

    @property
    def _architecture(self) -> Architecture:
        return Architecture(self.network, self.widths, self.blocks, self.stem_stride)
