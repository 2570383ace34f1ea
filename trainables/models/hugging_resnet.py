"""The papers' residual networks, 18, 34 and 50 layers deep, from transformers; published weights are available.

Source     He et al., Deep Residual Learning for Image Recognition, 2015, table 1; the 50 layers with the stride in the
           3x3 convolution ("v1.5"), like torchvision's.
Differs    smaller with widths of your own; then there are as many stages as widths.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

TORCHVISION = "torchvision"


class HuggingResNet(nn.Module):
    """Images (batch, channels, height, width) → logits (batch, classes); `depths` and `widths` of the stages."""

    def __init__(
        self, channels: int, widths: Sequence[int], depths: Sequence[int], classes: int, *, bottleneck: bool
    ) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        config = ResNetConfig(
            num_channels=channels,
            embedding_size=max(1, widths[0] // 4) if bottleneck else widths[0],
            hidden_sizes=list(widths),
            depths=list(depths),
            layer_type="bottleneck" if bottleneck else "basic",
        )
        self.resnet = ResNetModel(config)
        self.head = nn.Linear(widths[-1], classes)

    def features(self, images: Tensor) -> Tensor:
        """The head's input: (batch, last width)."""
        pooled: Tensor = self.resnet(images).pooler_output
        return pooled.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def from_hugging_face(weights: str) -> dict[str, Tensor]:
    """The body of a published network, or of one in a folder with a config.json, with the names of `HuggingResNet`.

    Raises ValueError if transformers cannot load it.
    """
    from transformers import ResNetForImageClassification

    try:
        model = ResNetForImageClassification.from_pretrained(weights)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"weights={weights!r}: transformers cannot load this ({error}). Without a network, download the model "
            "elsewhere and give its folder."
        ) from error
    return {f"resnet.{name}": value for name, value in model.resnet.state_dict().items()}


def from_torchvision(network: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of `network`, with the names of `HuggingResNet`.

    Raises ValueError if torchvision is missing or broken.
    """
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != TORCHVISION:
            raise _broken(error) from error
        raise ValueError(
            f"weights={TORCHVISION!r}: torchvision is not installed; "
            "pip install torchvision (the build for your torch), or give a name like 'microsoft/resnet-18'."
        ) from error
    except Exception as error:  # operators that this torch lacks: RuntimeError, AttributeError, OSError …
        raise _broken(error) from error
    return renamed(models.get_model(network, weights="DEFAULT").state_dict())


def renamed(torchvision: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the body's weights from torchvision's names (timm's are the same) to those of `HuggingResNet`."""
    return {_name(name): value for name, value in torchvision.items() if not name.startswith("fc.")}


def _name(name: str) -> str:
    for pattern, ours in _NAMES:
        found = re.fullmatch(pattern, name)
        if found is not None:
            return "resnet." + ours(*found.groups())
    return name


_KINDS = {"conv": "convolution", "bn": "normalization", "0": "convolution", "1": "normalization"}
_NAMES: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"(conv|bn)1\.(\w+)", lambda kind, what: f"embedder.embedder.{_KINDS[kind]}.{what}"),
    (
        r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)",
        lambda stage, block, kind, place, what: (
            f"encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(place) - 1}.{_KINDS[kind]}.{what}"
        ),
    ),
    (
        r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)",
        lambda stage, block, kind, what: (
            f"encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{_KINDS[kind]}.{what}"
        ),
    ),
)


def _broken(error: Exception) -> ValueError:
    return ValueError(
        f"weights={TORCHVISION!r}: torchvision is installed but cannot be imported ({type(error).__name__}: {error}); "
        f"install the build that belongs to torch {torch.__version__}, or remove it."
    )
