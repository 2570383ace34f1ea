"""Residual networks by name, and the trained bodies that they may start from.

small                           for small images: `widths`, `blocks` in each stage, stride of the stem
resnet18, resnet34, resnet50    the papers' networks; `widths` (None: the papers') make them smaller
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.models.hugging_resnet import HuggingResNet
    from trainables.models.resnet import ResNet

SMALL = "small"
SMALL_WIDTHS = (32, 64, 128)
DEPTHS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
WIDTHS = {"resnet18": (64, 128, 256, 512), "resnet34": (64, 128, 256, 512), "resnet50": (256, 512, 1024, 2048)}
NAMES = (SMALL, *DEPTHS)
HEAD = "head."  # prefix of the names of the last layer's weights


@dataclass(frozen=True)
class Architecture:
    network: str = SMALL
    widths: Sequence[int] | None = None
    blocks: int = 1  # of each stage; "small" only
    stem_stride: int = 1  # "small" only

    def __post_init__(self) -> None:
        if self.network not in NAMES:
            raise ValueError(f"network={self.network!r}: must be one of {', '.join(map(repr, NAMES))}.")
        widths = self.widths
        if widths is not None and (not widths or min(widths) < 1):
            raise ValueError(f"widths={widths!r}: must be channels of one stage or more, for instance (32, 64, 128).")
        if self.network == SMALL:
            return
        if widths is not None and len(widths) > len(DEPTHS[self.network]):
            raise ValueError(f"widths={widths!r}: {self.network} has four stages; give four widths at most.")
        if (self.blocks, self.stem_stride) != (1, 1):
            raise ValueError(
                f"blocks={self.blocks}, stem_stride={self.stem_stride}: settings of network='small'; leave them out for "
                f"{self.network!r}."
            )

    def build(self, channels: int, classes: int) -> ResNet | HuggingResNet:
        if self.network == SMALL:
            from trainables.models.resnet import ResNet

            return ResNet(channels, self.widths or SMALL_WIDTHS, self.blocks, classes, self.stem_stride)
        from trainables.models.hugging_resnet import HuggingResNet

        widths = self.widths or WIDTHS[self.network]
        depths = DEPTHS[self.network][: len(widths)]
        return HuggingResNet(channels, widths, depths, classes, bottleneck=self.network == "resnet50")

    def trained(self, where: str, channels: int, classes: int) -> ResNet | HuggingResNet:
        """The network with the body from `where` and a fresh head.

        `where`: a checkpoint folder or a .safetensors file (with our names or torchvision's); for the papers' networks
        also a name at Hugging Face, a folder with its files, or "torchvision".
        Raises ValueError if it is missing or of another architecture.
        """
        from trainables.models import weights

        found = self._body(where)
        model = self.build(channels, classes)
        try:
            weights.put(model, found, fresh=[HEAD])
        except ValueError as error:
            raise ValueError(f"weights={where!r} for {self} and {channels} channels: {error}") from error
        return model

    def _body(self, where: str) -> dict[str, Tensor]:
        from trainables.models import hugging_resnet, weights

        if self.network != SMALL:
            if where == hugging_resnet.TORCHVISION:
                return hugging_resnet.from_torchvision(self.network)
            if (Path(where) / "config.json").is_file() or is_published(where):
                return hugging_resnet.from_hugging_face(where)
        found = weights.read(Path(where).expanduser())
        return hugging_resnet.renamed(found) if "conv1.weight" in found else found


def is_published(weights: str) -> bool:
    """Whether `weights` is a name at Hugging Face ("microsoft/resnet-50"), not a path."""
    named = re.fullmatch(r"[\w-]+/[\w.-]+", weights) is not None and not weights.endswith(".safetensors")
    return named and not Path(weights).exists()
