"""A classifier's logits as predictions that people can look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.values import Predictions

_FEW_LEVELS = 16  # scikit-learn's digits have 16 shades of ink


def answers(
    logits: Tensor,
    labels: Tensor,
    *,
    images: Tensor | None = None,
    texts: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> Predictions:
    """`logits`: (n, classes); `labels`: (n,); `images`: bytes, (n, channels, height, width) or (n, height, width)."""
    probabilities = logits.float().softmax(1).cpu()
    confidence, predicted = probabilities.max(1)
    return Predictions(
        labels.cpu().numpy().astype(np.int64), predicted.numpy(), confidence.double().numpy(),
        None if images is None else _pictures(images), texts, classes,
    )  # fmt: skip


def _pictures(images: Tensor) -> NDArray[np.uint8]:
    """Channels last, or none if there is one; few shades are spread over the bytes."""
    bytes_ = images.cpu()
    if bytes_.ndim == 4:
        bytes_ = bytes_[:, 0] if bytes_.shape[1] == 1 else bytes_.permute(0, 2, 3, 1)
    found = bytes_.numpy().astype(np.uint8)
    if found.size and found.max() <= _FEW_LEVELS:
        found = found * np.uint8(255 // _FEW_LEVELS)
    return found
