"""A small residual network for small images.

Source     He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2: 3x3 stem, stages of
           basic blocks, widths doubling as sides halve, mean over the places, one linear layer.
Differs    has a 1x1 convolution in the shortcut where the shape changes; any widths and depth; a stem with a stride,
           which makes it four times cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


class ResNet(nn.Module):
    """Images (batch, channels, height, width) → logits (batch, classes); `blocks` in each of the stages."""

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, classes: int, stem_stride: int = 1) -> None:
        super().__init__()
        self.stem = _convolution(channels, widths[0], stem_stride)
        self.norm = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stages.append(_Block(inputs, width, stride=2 if stage > 0 and block == 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)

    def features(self, images: Tensor) -> Tensor:
        """The head's input: (batch, last width)."""
        places: Tensor = self.stages(functional.relu(self.norm(self.stem(images))))
        return places.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class _Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, width, stride)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = _convolution(width, width, stride=1)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, images: Tensor) -> Tensor:
        inner = functional.relu(self.norm1(self.conv1(images)))
        inner = self.norm2(self.conv2(inner))
        return functional.relu(inner + self.shortcut(images))


def _convolution(inputs: int, width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
