"""Train a residual network from scratch, as a start for others: the source task of transfer learning.

Use its checkpoint as `weights` of a ResNetFinetune with the same `network`, `widths`, `blocks` and `stem_stride`. Both
must have the same number of channels (3 for colour images, 1 for digits).

Data       None: the digits 0 to 4 of scikit-learn, enlarged to 16x16; 90 of each to train on, 40 to validate on, about
           50 to test on. Or a folder, see `trainables.data.image_files`; a fifth of each class of its training part is
           for validation.
Baseline   the usual recipe for CIFAR-10: SGD with Nesterov's momentum 0.9, learning rate 0.1, batches of 64, weight
           decay 5e-4, images mirrored and shifted; warm-up and cosine are policies.
Source     He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2: ResNet-20, 164 epochs of
           CIFAR-10's 50,000 images, 91.25 % on the test part.
Differs    15 epochs; 8 layers by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.records import Config
from trainables.models.resnet_workload import ResNetWorkload
from trainables.values import Execution

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.images import Split

_DIGITS_PER_CLASS, _DIGITS_VALID = 90, 40  # images
_DIGITS_SIDE = 16  # pixels


@dataclass(frozen=True)
class ResNetPretrain(ResNetWorkload):
    """A residual network, trained from scratch on images.

    >>> workload = ResNetPretrain(horizon=10)
    """

    horizon: int = 15
    data: str | None = None  # a folder; None: the digits 0 to 4
    network: str = "small"  # or "resnet18", "resnet34", "resnet50"
    widths: tuple[int, ...] | None = None  # channels of the stages; None: (32, 64, 128), or the paper's
    blocks: int = 1  # of each stage; network "small" only
    stem_stride: int = 1  # 2 is four times cheaper; network "small" only
    side: int | None = None  # pixels; None: 16 for digits, an archive's own, 64 for image files
    classes_every: int = 1  # use every n-th class only
    data_share: float = 1.0  # of the training images, the same of each class; the evaluation data stay the same
    augment: bool = True  # ignored for digits
    execution: Execution = Execution()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    baseline: ClassVar[Config | None] = {
        "learning_rate": 0.1,
        "batch_size": 64,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
    }

    def check(self) -> None:
        super().check()
        _ = self._architecture
        if self.data is not None:
            _ = self.split

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        return self._architecture.build(self.split.channels, self.split.classes)

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from trainables.data.images import load, loss

        device = str(indices.device)
        augment = self.augment and self.data is not None
        return loss(model, load(self.split, device), self.rows(device)[indices], augment=augment)

    @classmethod
    def smallest(cls) -> ResNetPretrain:
        return cls(horizon=3, widths=(8, 16), data_share=0.3)

    @property
    def split(self) -> Split:
        from trainables.data.images import split, split_digits

        if self.data is None:
            return split_digits(0, _DIGITS_PER_CLASS, _DIGITS_VALID, self.side or _DIGITS_SIDE)
        return split(self.data, self.side, self.classes_every)

    def rows(self, device: str) -> Tensor:
        from trainables.data.images import share

        return share(self.split, self.data_share, None, device)
