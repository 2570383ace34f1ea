"""Labelled images in three parts, as tensors: image workloads train, decide and test on them.

Validation images come from the training part, class by class and always the same; the test part is never used for
that. Images stay bytes until they become a batch, on the model's device. Data that take long to read are read once per
node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.fixed_sample import fixed_sample
from trainables.data.image_files import Listed, Listing, listing
from trainables.data.node_cache import once

PARTS = ("train", "valid", "test")
SEED = 20_240_601  # of the split, which is the same for every trial
VALID_SHARE = 0.2  # of each class of the training part, if there is no validation part
SHIFT = 8  # images shift by up to 1/8 of their side
_AT_ONCE, _NUMBERS_AT_ONCE = 1000, 2**24  # most images, and bytes, to evaluate at once


@dataclass(frozen=True, eq=False)
class Split:
    """The assignment of images to parts; the images themselves are not read yet.

    The training part is ordered by class, and shuffled within a class, so its first rows are a fair sample of the
    class.
    """

    labels: Mapping[str, Tensor]  # part → long (n,), on the CPU
    read: Mapping[str, Callable[[], Tensor]]  # part → uint8 (n, channels, height, width)
    classes: int
    channels: int
    side: int  # pixels of the model's input
    class_names: tuple[str, ...] = ()
    scale: tuple[float, float] | None = None  # mean and deviation of the bytes; None: from the training part
    kept: Kept | None = None  # None: quick to read, so each process does it


@dataclass(frozen=True)
class Kept:
    """Everything that determines the bytes of a split; see `trainables.data.node_cache`."""

    key_parts: tuple[object, ...]
    sources: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class Images:
    """The bytes of all parts, and the numbers that normalise them."""

    parts: Mapping[str, Tensor]  # uint8 (n, channels, height, width)
    labels: Mapping[str, Tensor]
    mean: Tensor  # (channels, 1, 1)
    deviation: Tensor
    side: int

    def floats(self, images: Tensor) -> Tensor:
        """The model's input for some `images`: normalised, and scaled to `side`."""
        return _resized((images.float() - self.mean) / self.deviation, self.side)


@lru_cache(maxsize=8)
def split(data: str, side: int | None = None, classes_every: int = 1) -> Split:
    """The images of a folder (see `trainables.data.image_files`) in three parts.

    Raises ValueError if something is missing or of the wrong kind.
    """
    found = listing(data, side, classes_every)
    chosen = {part: torch.arange(len(listed.labels)) for part, listed in found.parts.items()}
    sources = {part: part for part in found.parts}
    if "valid" not in found.parts:
        chosen["train"], chosen["valid"] = _cut(torch.from_numpy(found.parts["train"].labels), data)
        sources["valid"] = "train"
    else:
        chosen["train"] = torch.cat(_shuffled_by_class(torch.from_numpy(found.parts["train"].labels)))
    listed = {part: found.parts[source] for part, source in sources.items()}
    return Split(
        labels={part: torch.from_numpy(listed[part].labels)[chosen[part]] for part in PARTS},
        read={part: _reader(listed[part], chosen[part]) for part in PARTS},
        classes=len(found.class_names),
        channels=found.channels,
        side=side or found.side,
        class_names=tuple(map(str, found.class_names)),
        kept=_kept(found, classes_every, chosen) if found.slow else None,
    )


@lru_cache(maxsize=8)
def split_digits(first: int, train: int, valid: int, side: int) -> Split:
    """Five of scikit-learn's digits from `first` on; of each, `train` and `valid` images; all others are test."""
    images, labels = digits(first)
    cuts = [order.tensor_split([train, train + valid]) for order in _shuffled_by_class(labels)]
    chosen = {part: torch.cat(rows) for part, rows in zip(PARTS, zip(*cuts, strict=True), strict=True)}
    return Split(
        labels={part: labels[rows] for part, rows in chosen.items()},
        read={part: partial(torch.index_select, images, 0, rows) for part, rows in chosen.items()},
        classes=5,
        channels=1,
        side=side,
        class_names=tuple(str(digit) for digit in range(first, first + 5)),
        scale=INK,
    )


INK = (8.0, 8.0)  # 0 to 16 → -1 to 1


def digits(first: int) -> tuple[Tensor, Tensor]:
    """Images, bytes 8x8, and labels (0 to 4) of the five digits from `first` on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    wanted = (data.target >= first) & (data.target < first + 5)
    images = torch.from_numpy(data.images[wanted].astype(np.uint8)).unsqueeze(1)
    return images, torch.from_numpy(data.target[wanted] - first)


def digits_as_floats(images: Tensor, side: int) -> Tensor:
    """A model's input for images of digits."""
    mean, deviation = INK
    return _resized((images.float() - mean) / deviation, side)


@lru_cache(maxsize=4)
def load(split: Split, device: str) -> Images:
    """Read all images and put them on `device`."""
    found = (
        read_parts(split)
        if split.kept is None
        else once(split.kept.key_parts, split.kept.sources, lambda: read_parts(split))
    )
    return Images(
        parts={part: found[part].to(device) for part in PARTS},
        labels={part: labels.to(device) for part, labels in split.labels.items()},
        mean=found["mean"].to(device),
        deviation=found["deviation"].to(device),
        side=split.side,
    )


@lru_cache(maxsize=8)
def share(split: Split, of: float, most: int | None, device: str) -> Tensor:
    """Rows of the training part: a share of (at most `most` of) each class; a larger share contains a smaller one."""
    rows, begin = [], 0
    for count in torch.bincount(split.labels["train"], minlength=split.classes).tolist():
        limit = count if most is None else min(count, most)
        rows.append(torch.arange(begin, begin + max(1, round(of * limit))))
        begin += count
    return torch.cat(rows).to(device)


def augmented(images: Tensor) -> Tensor:
    """Each image mirrored or not, and shifted by up to an eighth of its side; the new pixels are black.

    The random numbers come from torch's global stream, so a resumed training draws the same.
    """
    count, _, height, width = images.shape
    reach = max(1, height // SHIFT)
    device = images.device
    mirrored = (torch.rand(count) < 0.5).to(device)
    down, right = torch.randint(2 * reach + 1, (2, count)).to(device)
    padded = functional.pad(images, (reach, reach, reach, reach))
    columns = torch.arange(width, device=device).expand(count, width)
    columns = torch.where(mirrored[:, None], width - 1 - columns, columns) + right[:, None]
    rows = torch.arange(height, device=device) + down[:, None]
    each = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def loss(model: nn.Module, images: Images, rows: Tensor, *, augment: bool) -> Tensor:
    """Mean cross entropy on these rows of the training part."""
    shown = images.parts["train"][rows]
    if augment:
        shown = augmented(shown)
    return functional.cross_entropy(model(images.floats(shown)), images.labels["train"][rows])


def evaluate(
    forward: Callable[[Tensor], Tensor], inputs: Tensor, labels: Tensor, samples: int | None = None
) -> Mapping[str, float]:
    """Accuracy and mean loss of `forward` on `inputs`, a thousand at a time, or fewer if they are large.

    `samples`: on a fixed sample of that size; None: on all.
    """
    rows = fixed_sample(len(labels), samples, str(labels.device))
    return scores(in_turns(forward, inputs[rows]), labels[rows])


def scores(logits: Tensor, labels: Tensor) -> Mapping[str, float]:
    """Accuracy and mean cross entropy of `logits` (n, classes) for the `labels` (n,)."""
    return {
        "accuracy": (logits.argmax(1) == labels).double().mean().item(),
        "loss": functional.cross_entropy(logits, labels).item(),
    }


def features(body: Callable[[Tensor], Tensor], images: Images, part: str) -> Tensor:
    """The outputs of `body` for the images of a part, (n, width), on the CPU."""
    with torch.no_grad():
        return in_turns(lambda some: body(images.floats(some)), images.parts[part]).cpu()


def in_turns(forward: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """`forward` of all inputs, as many at a time as fit into memory."""
    together = min(_AT_ONCE, max(1, _NUMBERS_AT_ONCE // inputs[0].numel()))
    return torch.cat([forward(some) for some in torch.split(inputs, together)])


def _resized(floats: Tensor, side: int) -> Tensor:
    own = floats.shape[-1]
    if own == side:
        return floats
    return functional.interpolate(floats, size=side, mode="bilinear", antialias=own > side)


def _reader(listed: Listed, rows: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.from_numpy(np.ascontiguousarray(listed.read(rows.numpy()).transpose(0, 3, 1, 2)))


def _kept(found: Listing, classes_every: int, chosen: Mapping[str, Tensor]) -> Kept:
    from PIL import __version__ as decoder  # another version may decode a little differently

    rows = {part: chosen[part].tolist() for part in PARTS}
    sources = tuple(path for listed in found.parts.values() for path in listed.sources)
    return Kept(("images", found.side, classes_every, rows, decoder), sources)


def read_parts(split: Split) -> dict[str, Tensor]:
    """The bytes of each part, and their "mean" and "deviation"."""
    parts = {part: split.read[part]() for part in PARTS}
    if split.scale is None:
        mean, deviation = _moments(parts["train"])
    else:
        mean, deviation = (torch.full((split.channels, 1, 1), value) for value in split.scale)
    return {**parts, "mean": mean, "deviation": deviation}


def _cut(labels: Tensor, data: str) -> tuple[Tensor, Tensor]:
    """Rows to train on, and rows to validate on: `VALID_SHARE` of each class, at least one."""
    train, valid = [], []
    for order in _shuffled_by_class(labels):
        if len(order) < 2:
            raise ValueError(
                f"data={data!r}: class {int(labels[order[0]])} has one training image, and one is needed to validate "
                "on; add images, or a validation part of your own."
            )
        held = max(1, round(VALID_SHARE * len(order)))
        valid.append(order[:held])
        train.append(order[held:])
    return torch.cat(train), torch.cat(valid)


def _shuffled_by_class(labels: Tensor) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    orders = []
    for label in range(int(labels.max()) + 1):
        rows = (labels == label).nonzero()[:, 0]
        orders.append(rows[torch.randperm(len(rows), generator=generator)])
    return orders


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (channels, 1, 1), from counts of bytes, without a copy as floats."""
    values = torch.arange(256, dtype=torch.double)
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    total = counts.sum(1)
    mean = counts @ values / total
    variance = counts @ values.square() / total - mean.square()
    deviation = variance.clamp_min(0).sqrt()
    deviation[deviation < 1e-3] = 1.0  # images of one colour
    return mean.float()[:, None, None], deviation.float()[:, None, None]
