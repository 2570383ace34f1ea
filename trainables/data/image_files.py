"""Read folders of labelled images in the usual forms: list their contents, and read the pixels.

Archives         train.npz and test.npz, perhaps valid.npz: `images` uint8 (n, height, width, 1 or 3), `labels`
                 integers from 0 on, `class_names` (may be absent).
Class folders    train/<class>/*.jpg, test/<class>/*.png, perhaps valid/; each image is squeezed to a square.
Stanford Cars    the original: devkit/cars_train_annos.mat and cars_train/*.jpg, cut to their boxes and squeezed. Test
                 is cars_test/ with cars_test_annos_withlabels.mat if that exists, else every fourth image of a class.

Nothing here imports torch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 64  # pixels, default for image files
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SLOW_BYTES = 2**26  # of archives; decompressing this many takes about a second
CARS_HELD_OUT = 4  # every n-th image of a class is for the test if the official labels are missing

Labels = NDArray[np.int64]
Pixels = NDArray[np.uint8]  # (n, height, width, channels)


class Listed(NamedTuple):
    """A part of the data before its images are read."""

    labels: Labels
    read: Callable[[NDArray[np.int64]], Pixels]  # the images of these rows
    sources: tuple[Path, ...]  # the image files, and the files that describe them


@dataclass(frozen=True)
class Listing:
    """The contents of a folder; "train" and "test" always exist, "valid" may."""

    parts: dict[str, Listed]
    class_names: tuple[str, ...]
    channels: int
    side: int  # of the square images
    slow: bool  # whether reading takes more than a second for some thousands of images


def listing(data: str, side: int | None = None, classes_every: int = 1) -> Listing:
    """List the folder `data`; takes a second at most, because it reads no image.

    `side`: pixels to scale image files to (None: 64); archives keep their own.
    `classes_every`: take every n-th class only.
    Raises ValueError if something is missing or of the wrong kind.
    """
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise ValueError(f"data={data!r}: there is no such folder ({folder.absolute()}). {_EXPECTED}")
    if (folder / "train.npz").exists():
        found = _archives(folder)
    elif (folder / "devkit" / "cars_train_annos.mat").exists():
        found = _cars(folder, side or SIDE)
    elif (folder / "train").is_dir():
        found = _class_folders(folder, side or SIDE)
    else:
        raise ValueError(f"data={data!r}: nothing in this folder is known as images. {_EXPECTED}")
    _check_labels(folder, found)
    return _every(classes_every, found)


_EXPECTED = (
    "Expected: train.npz and test.npz; or train/<class>/*.jpg and test/<class>/*.jpg; or Stanford Cars as it is "
    "published (devkit/cars_train_annos.mat and cars_train/). Download the data, and give the folder that they unpack to."
)


def _check_labels(folder: Path, found: Listing) -> None:
    classes = len(found.class_names)
    for part, (labels, _, _) in found.parts.items():
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise ValueError(
                f"{folder}: label {wrong[0]} of the {part} part is out of range; with {classes} classes labels must be "
                f"0 to {classes - 1}."
            )
        if not len(labels):
            raise ValueError(f"{folder}: the {part} part has no images; put some there.")
    empty = np.flatnonzero(np.bincount(found.parts["train"].labels, minlength=classes) == 0)
    if len(empty):
        name = found.class_names[empty[0]]
        raise ValueError(f"{folder}: class {name!r} has no training images; add some, or take the class out.")


def _every(so_many: int, found: Listing) -> Listing:
    if so_many < 1 or len(found.class_names[::so_many]) < 2:
        raise ValueError(
            f"classes_every={so_many!r}: leaves fewer than two of {len(found.class_names)} classes; must be 1 to "
            f"{len(found.class_names) - 1}."
        )
    parts = {part: _thinned(so_many, listed) for part, listed in found.parts.items()}
    return replace(found, parts=parts, class_names=found.class_names[::so_many])


def _thinned(so_many: int, listed: Listed) -> Listed:
    rows = np.flatnonzero(listed.labels % so_many == 0)
    return Listed(listed.labels[rows] // so_many, lambda chosen: listed.read(rows[chosen]), listed.sources)


# Archives


def _archives(folder: Path) -> Listing:
    _need(folder, (folder / "test.npz").exists(), "test.npz")
    present = [part for part in ("train", "valid", "test") if (folder / f"{part}.npz").exists()]
    shapes = {part: _archive_shape(folder / f"{part}.npz") for part in present}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise ValueError(
                f"{folder / part}.npz: images are {shape} (height, width, channels), those of train.npz "
                f"{shapes['train']}; both must be alike."
            )
    labels = {part: _member(folder / f"{part}.npz", "labels").astype(np.int64) for part in present}
    names = _member(folder / "train.npz", "class_names", required=False)
    count = int(labels["train"].max(initial=0)) + 1
    named = tuple(map(str, names)) if names is not None else tuple(map(str, range(count)))
    height, _, channels = shapes["train"]
    paths = {part: folder / f"{part}.npz" for part in present}
    parts = {part: Listed(labels[part], _archive_reader(path), (path,)) for part, path in paths.items()}
    slow = sum(path.stat().st_size for path in paths.values()) > SLOW_BYTES
    return Listing(parts, named, channels, height, slow)


def _archive_reader(path: Path) -> Callable[[NDArray[np.int64]], Pixels]:
    return lambda rows: _member(path, "images")[rows]


def _archive_shape(path: Path) -> tuple[int, int, int]:
    """(height, width, channels) of the images, read from the header alone; also checks the labels."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("images.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a whole .npz archive with an array `images` ({error}).") from error
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3) or kind != np.uint8:
        raise ValueError(
            f"{path}: images are {shape} of {kind}; must be uint8 (n, side, side, 1 or 3): square, channels last."
        )
    labels = _member(path, "labels")
    if labels.shape != shape[:1] or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: labels are {labels.shape} of {labels.dtype}; must be {shape[:1]} integers, one for each image."
        )
    return shape[1], shape[2], shape[3]


def _member(path: Path, name: str, *, required: bool = True) -> Any:
    try:
        with np.load(path) as archive:
            if name in archive:
                return archive[name]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {name!r} cannot be read ({error}); copy or make the archive again.") from error
    if required:
        raise ValueError(f"{path}: has no array {name!r}; write np.savez(path, images=…, labels=…).")
    return None


# Class folders


def _class_folders(folder: Path, side: int) -> Listing:
    _need(folder, (folder / "test").is_dir(), "test/<class>/*.jpg")
    names = tuple(sorted(path.name for path in (folder / "train").iterdir() if path.is_dir()))
    if not names:
        raise ValueError(f"{folder / 'train'}: no folders in it; expected one for each class, train/<class>/*.jpg.")
    parts = {}
    for part in ("train", "valid", "test"):
        if (folder / part).is_dir():
            others = {path.name for path in (folder / part).iterdir() if path.is_dir()} - set(names)
            if others:
                raise ValueError(
                    f"{folder / part / min(others)}: a class that train/ does not have; rename or remove it."
                )
            parts[part] = _listed_files(folder / part, names, side)
    return Listing(parts, names, 3, side, slow=True)


def _listed_files(folder: Path, names: Sequence[str], side: int) -> Listed:
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        of_class = sorted(path for path in folder.glob(f"{name}/*") if path.suffix.lower() in SUFFIXES)
        found += [(path, label) for path in of_class]
    labels = np.array([label for _, label in found], dtype=np.int64)
    paths = tuple(path for path, _ in found)
    return Listed(labels, lambda rows: decoded([_File(paths[row]) for row in rows], side), paths)


# Stanford Cars


def _cars(folder: Path, side: int) -> Listing:
    boxes = folder / "devkit" / "cars_train_annos.mat"
    files, labels = _annotations(folder, boxes, folder / "cars_train")
    official = [
        place / "cars_test_annos_withlabels.mat"
        for place in (folder, folder / "devkit")
        if (place / "cars_test_annos_withlabels.mat").exists()
    ]
    if official:
        tests, test_labels = _annotations(folder, official[0], folder / "cars_test")
        parts = {
            "train": _listed_cars(files, labels, side, boxes),
            "test": _listed_cars(tests, test_labels, side, official[0]),
        }
    else:
        held = _every_fourth(labels)
        parts = {
            part: _listed_cars([files[row] for row in np.flatnonzero(rows)], labels[rows], side, boxes)
            for part, rows in (("train", ~held), ("test", held))
        }
    return Listing(parts, _car_names(folder, labels), 3, side, slow=True)


def _listed_cars(files: list[_File], labels: Labels, side: int, boxes: Path) -> Listed:
    sources = (boxes, *(file.path for file in files))
    return Listed(labels, lambda rows: decoded([files[row] for row in rows], side), sources)


def _annotations(folder: Path, path: Path, images: Path) -> tuple[list[_File], Labels]:
    """Files with their boxes, ordered by name, and their labels from 0 on."""
    annotations = np.atleast_1d(_mat(path, "annotations"))
    rows = sorted(annotations, key=lambda row: str(row["fname"]))
    files = []
    for row in rows:
        left, top, right, bottom = (int(row[f"bbox_{name}"]) for name in ("x1", "y1", "x2", "y2"))
        files.append(_File(images / str(row["fname"]), (left - 1, top - 1, right, bottom)))  # MATLAB counts from 1
    missing = next((file.path for file in files if not file.path.exists()), None)
    if missing is not None:
        raise ValueError(
            f"{missing}: named in {path.relative_to(folder)}, but not there; unpack {images.name}.tgz again."
        )
    return files, np.array([int(row["class"]) - 1 for row in rows], dtype=np.int64)


def _every_fourth(labels: Labels) -> NDArray[np.bool_]:
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[CARS_HELD_OUT - 1 :: CARS_HELD_OUT]] = True
    return held


def _car_names(folder: Path, labels: Labels) -> tuple[str, ...]:
    meta = folder / "devkit" / "cars_meta.mat"
    if meta.exists():
        return tuple(map(str, np.atleast_1d(_mat(meta, "class_names"))))
    return tuple(map(str, range(1, int(labels.max(initial=0)) + 2)))


def _mat(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)[name]
    except Exception as error:  # scipy may raise anything on invalid bytes
        raise ValueError(f"{path}: not a MATLAB file with {name!r} ({error}); unpack car_devkit.tgz again.") from error


# Image files


class _File(NamedTuple):
    path: Path
    box: tuple[int, int, int, int] | None = None  # left, top, right, bottom


def decoded(files: Sequence[_File], side: int) -> Pixels:
    pixels = np.empty((len(files), side, side, 3), dtype=np.uint8)
    for row, file in enumerate(files):
        pixels[row] = _pixels(file, side)
    return pixels


def _pixels(file: _File, side: int) -> Pixels:
    from PIL import Image

    try:
        with Image.open(file.path) as image:
            whole = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file.path}: not an image that can be read ({error}); replace or remove it.") from error
    box = file.box
    if box is not None:
        box = (max(box[0], 0), max(box[1], 0), min(box[2], whole.width), min(box[3], whole.height))
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"{file.path}: the box {file.box} has nothing of the image, which is {whole.size}.")
    resized = whole.resize((side, side), Image.Resampling.LANCZOS, box)
    return np.asarray(resized, dtype=np.uint8)


def _need(folder: Path, there: bool, what: str) -> None:
    if not there:
        raise ValueError(
            f"{folder}: no test part ({what}); the best configuration is tested on images that no decision has seen, "
            "so hold some out."
        )
