"""Read MNIST's files: IDX, big-endian numbers after a short header, packed with gzip."""

from __future__ import annotations

import gzip
import struct
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


class Idx(NamedTuple):
    images: NDArray[np.uint8]  # (n, rows, columns)
    labels: NDArray[np.int64]


def check(data: str) -> None:
    """Raise ValueError if one of the four files is missing."""
    folder = Path(data).expanduser()
    missing = [name for names in FILES.values() for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"data={data!r}: {folder.absolute()} lacks {', '.join(missing)}. Expected are MNIST's four .gz files, as they "
            "are downloaded; give the folder that holds them."
        )


@lru_cache(maxsize=2)
def read(data: str) -> dict[str, Idx]:
    """The parts "train" and "test". Raises ValueError if a file is missing or damaged."""
    check(data)
    return {part: _part(Path(data).expanduser(), *names) for part, names in FILES.items()}


def _part(folder: Path, images: str, labels: str) -> Idx:
    part = Idx(_array(folder / images, 3), _array(folder / labels, 1).astype(np.int64))
    if len(part.images) != len(part.labels):
        raise ValueError(f"{folder}: {images} has {len(part.images)} images, and {labels} {len(part.labels)} labels.")
    if len(part.labels) and part.labels.max() > 9:
        raise ValueError(f"{folder / labels}: label {part.labels.max()} is out of range; must be 0 to 9.")
    return part


def _array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + dimensions}i", content)
        values = np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions))
    except (OSError, EOFError, struct.error, ValueError) as error:
        raise ValueError(f"{path}: not a whole gzip file in IDX format ({error}); download it again.") from error
    if magic != 0x800 + dimensions or values.size != np.prod(shape):
        raise ValueError(
            f"{path}: says it is {magic:#x} of shape {tuple(shape)}, with {values.size} bytes; expected "
            f"{0x800 + dimensions:#x} and as many bytes. Download it again."
        )
    array: NDArray[np.uint8] = values.reshape(shape).copy()
    return array
