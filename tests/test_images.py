"""Images and digits from files: read as they are meant, refused with a remedy."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from tests.imaging import archives
from trainables.data import idx
from trainables.data.image_files import listing
from trainables.data.images import PARTS, Images, load, split
from trainables.models.lstm import RowLstm
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

pytestmark = pytest.mark.usefixtures("one_thread")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def class_folders(folder: Path, parts: tuple[str, ...] = ("train", "test")) -> str:
    for part in parts:
        for name, colour in (("cat", (250, 0, 0)), ("dog", (0, 250, 0))):
            (folder / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (10 + number, 12), colour).save(folder / part / name / f"{number}.png")
    return str(folder)


def cars(folder: Path, *, official_test: bool = False) -> str:
    """Two classes of eight; the box of each holds its class's colour, the rest is black."""
    (folder / "devkit").mkdir(parents=True)
    _annotated(folder / "devkit" / "cars_train_annos.mat", folder / "cars_train")
    if official_test:
        _annotated(folder / "cars_test_annos_withlabels.mat", folder / "cars_test")
    names = np.array(["Acura", "BMW"], dtype=object)
    scipy.io.savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    return str(folder)


def _annotated(path: Path, images: Path) -> None:
    kinds = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    images.mkdir()
    rows = []
    for number in range(16):
        image = Image.new("RGB", (20, 10))
        image.paste((255, 0, 0) if number % 2 else (0, 0, 255), (5, 2, 15, 8))
        name = f"{number + 1:05d}.jpg"
        image.save(images / name, quality=100, subsampling=0)
        rows.append((6, 3, 15, 8, number % 2 + 1, name))
    scipy.io.savemat(path, {"annotations": np.array(rows, dtype=kinds)})


def mnist(folder: Path) -> str:
    for part, count in (("train", 24), ("test", 6)):
        images, labels = idx.FILES[part]
        header = b"".join(number.to_bytes(4, "big") for number in (0x803, count, 5, 4))
        (folder / images).write_bytes(gzip.compress(header + bytes(range(count)) * 20))
        header = b"".join(number.to_bytes(4, "big") for number in (0x801, count))
        (folder / labels).write_bytes(gzip.compress(header + bytes(number % 10 for number in range(count))))
    return str(folder)


# What is read


def test_archives_are_read_class_by_class_and_as_they_are(tmp_path: Path) -> None:
    images = read(archives(tmp_path))
    assert {part: tuple(images.parts[part].shape) for part in PARTS} == {
        "train": (24, 3, 8, 8),
        "valid": (6, 3, 8, 8),
        "test": (15, 3, 8, 8),
    }
    assert images.labels["train"].tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert images.labels["valid"].tolist() == [0, 0, 1, 1, 2, 2]
    for part in PARTS:
        assert torch.equal(images.parts[part].amin(dim=(1, 2, 3)) // 60, images.labels[part])
    with np.load(tmp_path / "test.npz") as archive:
        assert np.array_equal(images.parts["test"].permute(0, 2, 3, 1), archive["images"])


def read(data: str, side: int | None = None, classes_every: int = 1) -> Images:
    return load(split(data, side, classes_every), "cpu")


def test_what_the_model_sees_is_normalised_by_the_training_part(tmp_path: Path) -> None:
    images = read(archives(tmp_path))
    floats = images.floats(images.parts["train"])
    assert floats.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert floats.square().mean(dim=(0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    smaller = read(str(tmp_path), side=4)
    assert smaller.floats(smaller.parts["valid"]).shape == (6, 3, 4, 4)


def test_images_of_one_colour_are_no_division_by_zero(tmp_path: Path) -> None:
    images = read(class_folders(tmp_path), side=8)
    assert torch.isfinite(images.floats(images.parts["test"])).all()


def test_class_folders_are_read_in_the_order_of_their_names_and_squeezed(tmp_path: Path) -> None:
    found = listing(class_folders(tmp_path), 8)
    assert found.class_names == ("cat", "dog")
    images = read(str(tmp_path), side=8)
    assert images.parts["test"].shape == (8, 3, 8, 8)
    red = images.parts["test"][images.labels["test"] == 0]
    assert red[:, 0].float().mean() == 250
    assert red[:, 1:].float().mean() == 0


def test_a_validation_part_of_ones_own_is_taken(tmp_path: Path) -> None:
    images = read(class_folders(tmp_path, ("train", "valid", "test")), side=8)
    assert [len(images.labels[part]) for part in PARTS] == [8, 8, 8]
    assert images.labels["train"].tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("official_test", [True, False])
def test_cars_are_cut_to_their_boxes(official_test: bool, tmp_path: Path) -> None:
    place = (
        tmp_path / f"cars-{official_test}"
    )  # a listing is kept by its path, and a passed test's folder is used again
    images = read(cars(place, official_test=official_test), side=8)
    assert [len(images.labels[part]) for part in PARTS] == ([12, 4, 16] if official_test else [10, 2, 4])
    for part in PARTS:
        colours = images.parts[part].float().mean(dim=(2, 3))
        assert colours[images.labels[part] == 0, 2].min() > 240  # nothing black came with it
        assert colours[images.labels[part] == 1, 0].min() > 240
    assert listing(str(place), 8).class_names == ("Acura", "BMW")


def test_every_nth_class_can_be_taken(tmp_path: Path) -> None:
    images = read(archives(tmp_path, classes=4), classes_every=2)
    assert set(images.labels["test"].tolist()) == {0, 1}
    assert torch.equal(images.parts["test"].amin(dim=(1, 2, 3)) // 120, images.labels["test"])


@pytest.mark.parametrize("make", [archives, class_folders, cars])
def test_validation_never_overlaps_training_or_test(make: Callable[[Path], str], tmp_path: Path) -> None:
    """Each image is in exactly one part, and test is what it would be without any validation."""
    data = make(tmp_path / "data")
    found = listing(data, 8)
    rows = {part: [] for part in PARTS}
    marked = {
        part: listed._replace(read=lambda chosen, part=part: _marked(rows, part, chosen))
        for part, listed in found.parts.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainables.data.images.listing", lambda *_: replace(found, parts=marked))
        images = split.__wrapped__(data, 8, 1)
    for part in PARTS:
        images.read[part]()
    cut, kept = rows["train"]
    assert sorted([*cut, *kept]) == list(range(len(found.parts["train"].labels)))
    assert rows["test"] == [list(range(len(found.parts["test"].labels)))]


def _marked(rows: dict[str, Any], part: str, chosen: Any) -> Any:
    rows[part].append(chosen.tolist())
    return np.zeros((len(chosen), 8, 8, 3), np.uint8)


def test_mnist_is_validated_on_the_end_of_its_training_part(tmp_path: Path) -> None:
    workload = LstmMnist(data=mnist(tmp_path), hidden=4)
    workload.check()
    parts = idx.read(str(tmp_path))
    assert parts["train"].images.shape == (24, 5, 4)
    held, labels = workload.part("valid", "cpu")
    assert np.array_equal(held, parts["train"].images[-2:])
    assert labels.tolist() == [2, 3]
    assert workload.samples() == 22
    assert replace(workload, data_share=0.5).samples() == 11
    assert len(workload.part("test", "cpu")[1]) == 6


def test_a_layer_before_the_lstm_makes_its_rows_wider() -> None:
    model = RowLstm(columns=4, hidden=6, classes=3, projection=5)
    assert model.lstm.input_size == 5
    assert model(torch.randn(2, 7, 4)).shape == (2, 3)


# What is refused


def rewritten(part: str, **arrays: Any) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        data = archives(folder)
        with np.load(folder / f"{part}.npz") as archive:
            whole = {**archive, **arrays}
        np.savez(folder / f"{part}.npz", **{key: value for key, value in whole.items() if value is not None})
        return data

    return make


def damaged(make: Callable[[Path], str], name: str, content: bytes | None = b"abc") -> Callable[[Path], str]:
    def damage(folder: Path) -> str:
        folder.mkdir(exist_ok=True)
        data = make(folder)
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        return data

    return damage


def without_images(folder: Path) -> str:
    data = class_folders(folder)
    (folder / "train" / "bird").mkdir()
    return data


def with_an_unknown_class(folder: Path) -> str:
    data = class_folders(folder)
    (folder / "test" / "emu").mkdir()
    return data


def empty(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


BAD = {
    "no folder": (str, r"data'.*no such folder.*train\.npz and test\.npz"),
    "an empty folder": (empty, r"nothing in this folder.*Download the data"),
    "no test archive": (damaged(archives, "test.npz", None), r"no test part \(test\.npz\).*hold some out"),
    "no test folder": (lambda folder: class_folders(folder, ("train",)), r"no test part \(test/<class>"),
    "no archive": (damaged(archives, "train.npz"), r"train\.npz: not a whole \.npz archive"),
    "half an archive": (damaged(archives, "test.npz", b"PK\x03\x04abc"), r"test\.npz: not a whole \.npz archive"),
    "floats": (rewritten("train", images=np.zeros((30, 8, 8, 3))), r"float64; must be uint8"),
    "channels first": (rewritten("train", images=np.zeros((30, 3, 8, 8), np.uint8)), r"\(30, 3, 8, 8\).*channels last"),
    "another size": (rewritten("test", images=np.zeros((15, 9, 9, 3), np.uint8)), r"test\.npz: images are \(9, 9, 3\)"),
    "too few labels": (rewritten("train", labels=np.zeros(3, int)), r"\(3,\) of int64; must be \(30,\) integers"),
    "no labels": (rewritten("train", labels=None), r"has no array 'labels'; write np\.savez"),
    "a high label": (rewritten("test", labels=np.arange(15)), r"label 3 of the test part is out of range.*0 to 2"),
    "a low label": (rewritten("train", labels=np.arange(30) // 10 - 1), r"label -1 of the train part is out of range"),
    "an empty class": (rewritten("train", labels=np.arange(30) // 10 * 2), r"class '1' has no training images"),
    "one image": (rewritten("train", labels=np.r_[0, [1] * 19, [2] * 10]), r"class 0 has one training image"),
    "an empty class folder": (without_images, r"class 'bird' has no training images; add some"),
    "an unknown class": (with_an_unknown_class, r"test/emu: a class that train/ does not have"),
    "a missing car": (damaged(cars, "cars_train/00003.jpg", None), r"00003\.jpg: named in .*unpack cars_train\.tgz"),
    "no annotations": (damaged(cars, "devkit/cars_train_annos.mat"), r"not a MATLAB file with 'annotations'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_are_refused_before_anything_starts(name: str, tmp_path: Path) -> None:
    make, message = BAD[name]
    workload = ResNetPretrain(data=make(tmp_path / "data"))
    with pytest.raises(ValueError, match=message):
        workload.check()


def test_too_few_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes_every=3: leaves fewer than two of 3 classes"):
        ResNetPretrain(data=archives(tmp_path), classes_every=3).check()


def test_an_unreadable_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    data = damaged(class_folders, "train/cat/2.png")(tmp_path / "data")
    ResNetPretrain(data=data).check()
    with pytest.raises(ValueError, match=r"cat/2\.png: not an image that can be read .*replace or remove it"):
        read(data)


def test_a_box_beside_the_image_is_named(tmp_path: Path) -> None:
    data = cars(tmp_path / "cars")
    Image.new("RGB", (3, 3)).save(tmp_path / "cars" / "cars_train" / "00001.jpg")
    with pytest.raises(ValueError, match=r"00001\.jpg: the box \(5, 2, 15, 8\) has nothing of the image"):
        read(data)


IMAGES, LABELS = idx.FILES["train"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, None, r"lacks train-images-idx3-ubyte\.gz\. Expected are MNIST's four \.gz files"),
        (IMAGES, b"abc", r"not a whole gzip file"),
        (IMAGES, gzip.compress(b"\0\0\x08\x01" + b"\0" * 30, mtime=0), r"says it is 0x801"),
        (LABELS, gzip.compress(b"\0\0\x08\x01\0\0\0\x02\1\2", mtime=0), r"has 24 images, and .* 2 labels"),
        (LABELS, gzip.compress(b"\0\0\x08\x01\0\0\0\x18" + b"\x0b" * 24, mtime=0), r"label 11 is out of range"),
    ],
)
def test_bad_idx_files_are_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    data = damaged(mnist, name, content)(tmp_path)
    with pytest.raises(ValueError, match=message):
        LstmMnist(data=data).samples()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scope": "body"}, r"scope='body': must be one of 'all', 'head'"),
        ({"scope": "head", "weights": "none"}, r"a frozen body must be pre-trained"),
        ({"network": "vgg"}, r"network='vgg': must be one of 'small', 'resnet18'"),
        ({"network": "resnet18", "blocks": 2}, r"settings of network='small'"),
        ({"network": "resnet18", "widths": (8,) * 5}, r"four widths at most"),
        ({"widths": ()}, r"widths=\(\): must be channels"),
        ({"data_share": 0.0}, r"data_share=0.0: must be more than 0"),
        ({"per_class": 101}, r"per_class=101: of the digits must be 1 to 100"),
        ({"classes_every": 2}, r"classes_every=2: is for folders"),
        ({"data": "somewhere"}, r"weights=None: the pre-training on digits is for digits only"),
        ({"weights": "nothing.safetensors"}, r"nothing\.safetensors'.*checkpoint folder of a trial"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(ResNetFinetune.smallest(), **settings).check()


# The real data, where they are


def real(name: str) -> str:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{name} is not among the shared data")
    return str(SHARED / name)


def test_the_real_cars_are_read_by_every_fourth_class() -> None:
    images = read(real("stanford-cars-32"), classes_every=4)
    assert int(images.labels["test"].max()) == 48
    assert len(images.labels["test"]) == 494
    assert len(images.labels["train"]) + len(images.labels["valid"]) == 1551
    same = set(map(bytes, images.parts["valid"].numpy())) & set(map(bytes, images.parts["test"].numpy()))
    assert not same


def test_the_real_mnist_is_read() -> None:
    workload = LstmMnist(data=real("mnist"))
    workload.check()
    assert workload.samples() == 55_000
    assert [len(workload.part(part, "cpu")[1]) for part in ("valid", "test")] == [5_000, 10_000]
