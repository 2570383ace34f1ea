"""Fine-tune a residual network that was trained on other images: all of its weights, or only the last layer.

It follows SigOpt's study of Stanford Cars, with the same seven parameters. The default size trains in four seconds on
one CPU core: pre-trained on the digits 0 to 4, it learns 5 to 9 from few examples.

Data       None: scikit-learn's digits, 8x8, enlarged to 16x16; for each of the classes 5 to 9, 30 images to train on,
           40 to validate on, and all others, about 110, to test on. Or a folder, see `trainables.data.image_files`: a
           fixed fifth of each class of the training part is for validation. Images other than digits are mirrored and
           shifted at random.
Baseline   the usual recipe for transfer learning: SGD with momentum 0.9 and a learning rate of 0.001.
Source     SigOpt, Multitask Optimization (2019): ResNet-18, all weights tuned, 83.41 % with the baseline and 87.33 %
           tuned; ResNet-50, the last layer only, 46.41 and 47.99 %; 35 epochs of 196 classes at 224 pixels.
Differs    takes validation images from the training part alone; SigOpt took them from all annotated images. With scope
           "head" images are not augmented: the frozen body's features are computed once. Images are normalised by their
           own mean and deviation, not by ImageNet's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from search.records import Config
from trainables.models.resnet_workload import ResNetWorkload
from trainables.models.resnets import HEAD, is_published
from trainables.values import Execution

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from trainables.data.images import Split
    from trainables.models.head import Head
    from trainables.models.hugging_resnet import HuggingResNet
    from trainables.models.resnet import ResNet

SCOPES = ("all", "head")
SCRATCH = "none"
_SEED = 20_240_601  # of the pre-training and its batches, which are the same for every trial
_DIGITS_PER_CLASS, _DIGITS_VALID, _DIGITS_MOST = 30, 40, 100  # images; more would leave too few to test on
_DIGITS_SIDE = 16  # pixels
_BODY, _FEATURES = "pretrained.safetensors", "features.safetensors"


@dataclass(frozen=True)
class ResNetFinetune(ResNetWorkload):
    """A residual network, fine-tuned on photographs.

    >>> workload = ResNetFinetune(horizon=10)
    """

    horizon: int = 18
    per_class: int | None = None  # most training images of a class; None: 30 of the digits, all of other data
    widths: tuple[int, ...] | None = None  # channels of the stages; None: (32, 64, 128), or the paper's
    pretraining_epochs: int = 6  # on the digits 0 to 4
    data_share: float = 1.0  # of the training images, the same of each class; the evaluation data stay the same
    data: str | None = None  # a folder; None: the digits
    weights: str | None = None  # checkpoint, file or published name; None: pre-trained on digits; "none": from scratch
    network: str = "small"  # or "resnet18", "resnet34", "resnet50"
    scope: str = "all"  # or "head": freeze the body and train only the last layer
    blocks: int = 1  # of each stage; network "small" only
    stem_stride: int = 1  # 2 is four times cheaper; network "small" only
    side: int | None = None  # pixels; None: 16 for digits, an archive's own, 64 for image files
    classes_every: int = 1  # use every n-th class only
    augment: bool = True  # ignored for digits
    execution: Execution = Execution()

    metric: ClassVar[str] = "accuracy"
    mode: ClassVar[str] = "max"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "loss")
    baseline: ClassVar[Config | None] = {
        "learning_rate": 0.001,
        "schedule_factor": 0.1,
        "batch_size": 32,
        "nesterov": False,
        "weight_decay": 1e-4,
        "momentum": 0.9,
        "schedule_step": 7,
    }

    def check(self) -> None:
        super().check()
        if self.scope not in SCOPES:
            raise ValueError(f"scope={self.scope!r}: must be one of {', '.join(map(repr, SCOPES))}.")
        if self.scope == "head" and self.weights == SCRATCH:
            raise ValueError("scope='head', weights='none': a frozen body must be pre-trained; give its weights.")
        if self.data is not None and self.weights is None:
            raise ValueError(
                f"data={self.data!r}, weights=None: the pre-training on digits is for digits only; give a checkpoint of "
                "ResNetPretrain or published weights, or weights='none' to train from scratch."
            )
        if self.data is None and not 1 <= self._digits <= _DIGITS_MOST:
            raise ValueError(f"per_class={self.per_class}: of the digits must be 1 to {_DIGITS_MOST}; others are test.")
        architecture = self._architecture
        split = None if self.data is None and self.weights is None else self.split
        if split is not None and self.weights not in (None, SCRATCH) and not is_published(str(self.weights)):
            architecture.trained(str(self.weights), split.channels, split.classes)

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        from trainables.models import weights

        split = self.split
        if self.weights == SCRATCH:
            return self._architecture.build(split.channels, split.classes)
        if prepared is None:
            raise ValueError(f"{self} starts from the files that prepare(folder) makes; pass prepared=folder")
        if self.scope == "head":
            return self._head(prepared / _FEATURES)
        model = self._architecture.build(split.channels, split.classes)
        weights.put(model, weights.read(prepared / _BODY), fresh=[HEAD])
        return model

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from torch.nn import functional

        from trainables.data.images import load, loss

        device = str(indices.device)
        rows = self.rows(device)[indices]
        if self.scope == "head":
            features = cast("Head", model).known("train", device)[rows]
            return functional.cross_entropy(model(features), self.split.labels["train"].to(device)[rows])
        return loss(model, load(self.split, device), rows, augment=self.augment and self.data is not None)

    def seen(self, model: torch.nn.Module, part: str) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        if self.scope == "head":
            return model, cast("Head", model).known(part, str(next(model.parameters()).device))
        return super().seen(model, part)

    def prepare(self, folder: Path) -> None:
        if self.weights == SCRATCH:
            return
        split = self.split
        if self.weights is None:
            model = self._pretrained_on_digits()
        else:
            model = self._architecture.trained(self.weights, split.channels, split.classes)
        folder.mkdir(parents=True, exist_ok=True)
        body = {name: value.contiguous() for name, value in model.state_dict().items()}
        if self.weights is not None:
            body = {name: value for name, value in body.items() if not name.startswith(HEAD)}
        _write(body, folder / _BODY)
        if self.scope == "head":
            _write(self._features(model), folder / _FEATURES)

    @classmethod
    def smallest(cls) -> ResNetFinetune:
        return cls(horizon=3, per_class=20, widths=(8, 16), pretraining_epochs=1)

    def _head(self, path: Path) -> Head:
        from trainables.models.head import Head

        model = Head(path, self.split.classes)
        images, side = len(model.known("train", "cpu")), int(model.known("side", "cpu"))
        expected = len(self.split.labels["train"]), self.split.side
        if (images, side) != expected:
            raise ValueError(
                f"{path}: features of {images} training images of side {side}, but there are {expected[0]} of side "
                f"{expected[1]}; all tasks share the prepared files, so a task cannot change them. Change data_share "
                "instead, or train with scope='all'."
            )
        return model

    def _features(self, model: ResNet | HuggingResNet) -> dict[str, Tensor]:
        import torch

        from trainables.data.images import PARTS, features, load
        from trainables.training.device import compute_device

        model = model.to(compute_device()).eval()
        images = load(self.split, str(next(model.parameters()).device))
        known = {part: features(model.features, images, part) for part in PARTS}
        return {**known, "side": torch.tensor(images.side)}

    def _pretrained_on_digits(self) -> ResNet | HuggingResNet:
        import torch
        from torch.nn import functional

        from trainables.data.images import digits, digits_as_floats

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # more threads would change the last digits
        images, labels = digits(0)
        images = digits_as_floats(images, self.split.side)
        with torch.random.fork_rng():
            torch.manual_seed(_SEED)
            model = self._architecture.build(channels=1, classes=5)
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
            for _ in range(self.pretraining_epochs):
                for indices in torch.tensor_split(torch.randperm(len(labels)), len(labels) // 64):
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(images[indices]), labels[indices])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        torch.set_num_threads(threads)
        return model

    @property
    def split(self) -> Split:
        from trainables.data.images import split, split_digits

        if self.data is None:
            return split_digits(5, self._digits, _DIGITS_VALID, self.side or _DIGITS_SIDE)
        return split(self.data, self.side, self.classes_every)

    @property
    def _digits(self) -> int:
        return _DIGITS_PER_CLASS if self.per_class is None else self.per_class

    def rows(self, device: str) -> Tensor:
        """Rows of this trial's training images; a larger share contains those of a smaller one."""
        from trainables.data.images import share

        return share(self.split, self.data_share, self.per_class, device)


def _write(tensors: dict[str, Tensor], path: Path) -> None:
    import safetensors.torch

    unfinished = path.with_name(path.name + ".tmp")
    safetensors.torch.save_file(tensors, unfinished)
    os.replace(unfinished, path)
