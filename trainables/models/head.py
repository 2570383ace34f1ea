"""Only the last layer, for a frozen body whose features were computed once and saved in a file.

The file is mapped into memory, so that all trainings on a machine share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn


class Head(nn.Module):
    """Features (batch, width) of the file `source` → logits (batch, classes)."""

    def __init__(self, source: Path, classes: int) -> None:
        super().__init__()
        self._source = str(source), source.stat().st_mtime_ns
        self.head = nn.Linear(self.known("train", "cpu").shape[1], classes)

    def known(self, part: str, device: str) -> Tensor:
        """The features of a part, (n, width); or "side", the side of their images in pixels."""
        return _features(*self._source, device)[part]

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features)
        return logits


@lru_cache(maxsize=2)
def _features(path: str, written_ns: int, device: str) -> Mapping[str, Tensor]:
    return dict(safetensors.torch.load_file(path, device))
