"""Fine-tune a small residual network: pre-trained on the digits 0 to 4, taught 5 to 9 from few examples.

The shape of SigOpt's study of Stanford Cars (a network that has seen other images, all weights tuned, the
same seven parameters) at a size that one CPU core trains in four seconds.

Data       scikit-learn's digits, 8x8, enlarged to 16x16. Of each of the classes 5 to 9: `per_class` images to
           train on, 40 to validate on, and all others, about 110, to test on; the split is always the same.
Baseline   the usual recipe for transfer learning: SGD with momentum 0.9 and a learning rate of 0.001.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from search.trial import Config
from trainables.base import Knobs, Workload

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_SEED = 20_240_601  # of the split, the pre-training and its batches: the same for every trial
_VALID_PER_CLASS = 40
_SIDE = 16  # pixels
_FILE = "pretrained.safetensors"


@dataclass(frozen=True)
class ResNetFinetune(Workload):
    horizon: int = 18
    per_class: int = 30  # training images
    widths: tuple[int, ...] = (32, 64, 128)
    pretraining_epochs: int = 6
    data_share: float = 1.0  # of the training images, the same of each class; what is evaluated stays the same

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

    def knobs(self, config: Config) -> Knobs:
        return Knobs(config["learning_rate"], config["batch_size"], config["momentum"], config["weight_decay"])

    def model(self, config: Config, prepared: Path | None) -> torch.nn.Module:
        import safetensors.torch

        if prepared is None:
            raise ValueError(f"{self} starts from what prepare(folder) left; pass prepared=folder")
        model = self._network()
        weights = safetensors.torch.load_file(prepared / _FILE)
        new_head = {name: value for name, value in model.state_dict().items() if name.startswith("head.")}
        model.load_state_dict({**weights, **new_head})
        return model

    def optimizer(self, model: torch.nn.Module, config: Config) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(
            model.parameters(),
            lr=config["learning_rate"],
            momentum=config["momentum"],
            weight_decay=config["weight_decay"],
            nesterov=config["nesterov"] and config["momentum"] > 0,  # torch refuses it without momentum
        )

    def samples(self) -> int:
        return 5 * self._images

    def loss(self, model: torch.nn.Module, indices: Tensor) -> Tensor:
        from torch.nn import functional

        images, labels = self._part("train", indices.device)
        return functional.cross_entropy(model(images[indices]), labels[indices])

    def evaluate(self, model: torch.nn.Module, part: str) -> Mapping[str, float]:
        from torch.nn import functional

        images, labels = self._part(part, next(model.parameters()).device)
        logits = model(images)
        return {
            "accuracy": (logits.argmax(1) == labels).double().mean().item(),
            "loss": functional.cross_entropy(logits, labels).item(),
        }

    def prepare(self, folder: Path) -> None:
        import os

        import safetensors.torch
        import torch
        from torch.nn import functional

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # more would change the last digits
        images, labels = _digits(0, "cpu")
        with torch.random.fork_rng():
            torch.manual_seed(_SEED)
            model = self._network()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
            for _ in range(self.pretraining_epochs):
                for indices in torch.tensor_split(torch.randperm(len(labels)), len(labels) // 64):
                    optimizer.zero_grad()
                    loss = functional.cross_entropy(model(images[indices]), labels[indices])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        torch.set_num_threads(threads)
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_file(model.state_dict(), folder / (_FILE + ".tmp"))
        os.replace(folder / (_FILE + ".tmp"), folder / _FILE)

    @classmethod
    def smallest(cls) -> ResNetFinetune:
        return cls(horizon=3, per_class=20, widths=(8, 16), pretraining_epochs=1)

    def _network(self) -> torch.nn.Module:
        from trainables.models.resnet import ResNet

        return ResNet(channels=1, widths=self.widths, blocks=1, classes=5)

    @property
    def _images(self) -> int:
        """Training images of each class; those of a smaller share are among those of a larger one."""
        return max(1, round(self.data_share * self.per_class))

    def _part(self, part: str, device: torch.device) -> tuple[Tensor, Tensor]:
        return _split(self.per_class, self._images, str(device))[part]


@lru_cache(maxsize=8)
def _split(per_class: int, used: int, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    import torch

    images, labels = _digits(5, device)
    generator = torch.Generator().manual_seed(_SEED)
    chosen: dict[str, list[Tensor]] = {"train": [], "valid": [], "test": []}
    for label in range(5):
        indices = (labels.cpu() == label).nonzero()[:, 0]
        indices = indices[torch.randperm(len(indices), generator=generator)]
        train, valid, test = indices.tensor_split([per_class, per_class + _VALID_PER_CLASS])
        for part, some in zip(chosen, (train[:used], valid, test), strict=True):
            chosen[part].append(some)
    return {part: (images[torch.cat(some)], labels[torch.cat(some)]) for part, some in chosen.items()}


@lru_cache(maxsize=4)
def _digits(first: int, device: str) -> tuple[Tensor, Tensor]:
    """Images and labels (0 to 4) of the five classes from `first` on."""
    import torch
    from sklearn.datasets import load_digits
    from torch.nn import functional

    data = load_digits()
    wanted = (data.target >= first) & (data.target < first + 5)
    images = torch.from_numpy(data.images[wanted]).float().unsqueeze(1) / 8 - 1  # ink 0 to 16 → -1 to 1
    images = functional.interpolate(images, size=_SIDE, mode="bilinear")
    return images.to(device), torch.from_numpy(data.target[wanted] - first).to(device)
