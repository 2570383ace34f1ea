"""What takes long to read is read once per node, whatever happens to the process that reads it."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables.data import images, text
from trainables.data.image_files import listing
from trainables.data.images import PARTS, load, split
from trainables.data.node_cache import UNUSED_SECONDS, once
from trainables.workloads.bert_mlm import all_packed, packed, vocabulary_of
from trainables.workloads.resnet_pretrain import ResNetPretrain


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(bytes([7] * 10))
    return path


PROCESSES = multiprocessing.get_context("forkserver")  # torch is imported once for all of them
PROCESSES.set_forkserver_preload(["trainables.data.node_cache"])


@pytest.fixture(autouse=True, scope="module")
def _no_helper_is_left() -> Iterator[None]:
    """Other tests count the children of this process: what multiprocessing keeps running for its own use has to end."""
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def started(do: Callable[..., None], *arguments: object) -> tuple[BaseProcess, Connection]:
    """A process that does something with its end of a pipe, and ours."""
    ours, its = PROCESSES.Pipe()
    process = PROCESSES.Process(target=_do, args=(os.environ["ORCHESTRATOR_CACHE"], do, its, *arguments))
    process.start()
    its.close()
    return process, ours


def _do(folder: str, do: Callable[..., None], *arguments: object) -> None:
    os.environ["ORCHESTRATOR_CACHE"] = folder
    do(*arguments)


def kept(source: Path, before: Callable[[], object] = lambda: None) -> torch.Tensor:
    """The bytes of `source`; whoever reads them does something `before`."""

    def read() -> dict[str, torch.Tensor]:
        before()
        return {"bytes": torch.frombuffer(bytearray(source.read_bytes()), dtype=torch.uint8)}

    return once(("test",), [source], read)["bytes"]


def here(source: Path) -> list[int]:
    return kept(source).tolist()


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_processes_that_ask_together_read_once_and_share_the_pages(source: Path, tmp_path: Path) -> None:
    source.write_bytes(bytes([7] * 2**24))
    count = tmp_path / "count"
    processes = [started(_count_and_hold, source, count) for _ in range(3)]
    for _, pipe in processes:
        assert pipe.recv() == "ready"
    for _, pipe in processes:
        pipe.send("read")
    assert [pipe.recv() for _, pipe in processes] == [7 * 2**24] * 3
    assert count.read_text() == "made "
    processes[0][1].send("measure")  # while the others have it mapped, too
    if sys.platform == "linux":
        sizes = processes[0][1].recv()
        assert sizes["Rss"] >= 2**14  # KiB
        assert sizes["Pss"] < 0.4 * sizes["Rss"]
        assert sizes["Private_Clean"] + sizes["Private_Dirty"] < 0.05 * sizes["Rss"]
    for process, pipe in processes:
        pipe.send("end")
        process.join(60)
        assert process.exitcode == 0


def _count_and_hold(pipe: Connection, source: Path, count: Path) -> None:
    def before() -> None:
        with count.open("a") as file:
            file.write("made ")
        time.sleep(0.5)

    pipe.send("ready")
    pipe.recv()
    found = kept(source, before)
    pipe.send(int(found.sum()))
    if pipe.recv() == "measure" and sys.platform == "linux":
        mapped = Path("/proc/self/smaps").read_text().split(".safetensors\n")[1]
        pipe.send(
            {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB$", mapped.split("VmFlags")[0], re.M)}
        )
        pipe.recv()


def test_a_changed_source_is_read_anew(source: Path, folder: Path) -> None:
    assert here(source) == [7] * 10
    stat = source.stat()
    source.write_bytes(bytes([8] * 10))
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert here(source) == [8] * 10
    assert len(entries(folder)) == 2


def test_what_is_asked_for_differently_is_another_entry(source: Path) -> None:
    for number in (1, 2):
        made = once(("test", number), [source], lambda number=number: {"number": torch.tensor(number)})
        assert made["number"].item() == number


def test_what_was_kept_is_not_made_again_and_a_write_stays_in_its_process(source: Path) -> None:
    first = once((), [source], lambda: {"numbers": torch.arange(4)})["numbers"]
    first[0] = 9
    assert once((), [source], lambda: pytest.fail("made again"))["numbers"].tolist() == [0, 1, 2, 3]


def test_a_maker_that_is_killed_while_it_reads_leaves_the_next_one_working(source: Path, folder: Path) -> None:
    killed, its = started(_hang, source)
    assert its.recv() == "in the middle"
    waits, pipe = started(_tell, source)
    assert pipe.recv() == "ready"
    assert not pipe.poll(0.2)
    assert not entries(folder)
    killed.kill()
    assert pipe.recv() == [7] * 10
    waits.join(60)
    assert len(entries(folder)) == 1


def _hang(pipe: Connection, source: Path) -> None:
    kept(source, lambda: (pipe.send("in the middle"), time.sleep(60)))


def test_a_maker_that_is_killed_while_it_writes_leaves_the_next_one_working(source: Path, folder: Path) -> None:
    source.write_bytes(bytes([7] * 2**17))
    killed, _ = started(_die_of_the_first_64_kib, source)
    killed.join(60)
    assert killed.exitcode == -signal.SIGXFSZ
    assert not entries(folder)
    assert list(folder.glob("*.tmp"))
    assert here(source) == [7] * 2**17
    assert sorted(path.suffix for path in folder.iterdir()) == [".lock", ".safetensors"]


def _die_of_the_first_64_kib(_: Connection, source: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
    kept(source)


def _tell(pipe: Connection, source: Path) -> None:
    pipe.send("ready")
    pipe.send(here(source))


def test_a_damaged_entry_is_made_again(source: Path, folder: Path) -> None:
    here(source)
    entries(folder)[0].write_bytes(b"damaged")
    assert here(source) == [7] * 10
    assert entries(folder)[0].stat().st_size > 10


def test_where_nothing_can_be_kept_each_process_reads_and_is_warned(source: Path, folder: Path) -> None:
    folder.write_text("a file, where the folder should be")
    with pytest.warns(UserWarning, match=rf"cannot keep data in {re.escape(str(folder))} .*ORCHESTRATOR_CACHE"):
        assert here(source) == [7] * 10


def test_a_full_disk_leaves_nothing_behind(source: Path, folder: Path) -> None:
    source.write_bytes(bytes([7] * 2**20))
    process, pipe = started(_tell_without_room, source)
    total, messages = pipe.recv()
    assert total == 7 * 2**20
    assert len(messages) == 1
    assert "ORCHESTRATOR_CACHE" in messages[0]
    process.join(60)
    assert [path.suffix for path in folder.iterdir()] == [".lock"]


def _tell_without_room(pipe: Connection, source: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        total = int(kept(source).sum())
    pipe.send((total, [str(warning.message) for warning in caught]))


@pytest.mark.filterwarnings("error")
def test_an_error_of_the_reader_comes_out_and_nothing_is_kept(source: Path, folder: Path) -> None:
    def broken() -> dict[str, torch.Tensor]:
        raise OSError("source: broken")

    with pytest.raises(OSError, match="source: broken"):
        once(("test",), [source], broken)
    assert not entries(folder)
    assert here(source) == [7] * 10


def test_a_source_that_is_not_there_is_for_the_reader_to_tell(source: Path) -> None:
    source.unlink()
    with pytest.raises(FileNotFoundError, match="source"):
        here(source)


def test_what_nobody_used_for_a_month_goes_and_other_peoples_files_stay(source: Path, folder: Path) -> None:
    here(source)
    used, long_ago = entries(folder)[0], time.time() - UNUSED_SECONDS - 60
    unused, theirs = folder / f"{'0' * 64}.safetensors", folder / "model.safetensors"
    for path in (unused, theirs):
        path.write_bytes(b"")
    for path in (used, unused, theirs):
        os.utime(path, (long_ago, long_ago))
    here(source)  # now it was used
    once(("another",), [source], lambda: {"zero": torch.zeros(1)})
    assert used.exists()
    assert theirs.exists()
    assert not unused.exists()


# What is read through it


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Class folders of JPEGs and PNGs, of noise."""
    random = np.random.default_rng(1)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for number in range(5):
                picture = Image.fromarray(random.integers(0, 256, (20, 16 + number, 3), dtype=np.uint8))
                picture.save(tmp_path / "photos" / part / name / f"{number}.{('jpg', 'png')[number % 2]}")
    return str(tmp_path / "photos")


def forget() -> None:
    """As a new process would begin."""
    for known in (split, load, text.streams, text.numbers, text.lines, text.vocabulary):
        known.cache_clear()
    for known in (vocabulary_of, packed, all_packed):
        known.cache_clear()


def test_images_are_the_same_with_and_without(photos: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    ResNetPretrain(data=photos, side=16).check()
    assert not folder.exists()  # nothing is read before it is needed
    direct = images.read_parts(split(photos, 16))
    first = load(split(photos, 16), "cpu")
    forget()
    monkeypatch.setattr("trainables.data.image_files.decoded", lambda *_: pytest.fail("decoded again"))
    again = load(split(photos, 16), "cpu")
    for part in PARTS:
        for found in (first, again):
            assert torch.equal(found.parts[part], direct[part])
            assert torch.equal(found.floats(found.parts[part])[[0, -1]], first.floats(direct[part][[0, -1]]))
    assert len(entries(folder)) == 1


def test_each_choice_of_side_and_classes_is_its_own(photos: str, folder: Path) -> None:
    forget()
    (Path(photos) / "train" / "emu").mkdir()
    (Path(photos) / "test" / "emu").mkdir()
    for part in ("train", "test"):
        for number in range(2):
            Image.new("RGB", (9, 9)).save(Path(photos) / part / "emu" / f"{number}.png")
    shapes = [load(split(photos, *chosen), "cpu").parts["test"].shape for chosen in ((16, 1), (8, 1), (16, 2))]
    assert [tuple(shape) for shape in shapes] == [(12, 3, 16, 16), (12, 3, 8, 8), (7, 3, 16, 16)]
    assert len(entries(folder)) == 3


def test_a_broken_image_is_named_until_it_is_replaced(photos: str, folder: Path) -> None:
    forget()
    broken = Path(photos) / "train" / "cat" / "2.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:50])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"cat/2\.jpg: not an image that can be read"):
            load(split(photos, 8), "cpu")
        assert not entries(folder)
    broken.write_bytes(whole)
    assert load(split(photos, 8), "cpu").parts["test"].shape == (10, 3, 8, 8)


def test_text_is_the_same_with_and_without(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    for part in text.PARTS:
        (tmp_path / f"{part}.txt").write_text("\n".join(text.lines(None, part)[:40]), encoding="utf-8")
    data = str(tmp_path)
    direct = text.numbered(data, "words", 100)
    pieces, rows = vocabulary_of(data, None, 300), packed(data, "train", None, 300, 16, "cpu")
    assert text.entries(data, "words", 100) == len(text.vocabulary(data, "words", 100)) == 100
    forget()
    monkeypatch.setattr(text, "lines", lambda *_: pytest.fail("read again"))
    for part in text.PARTS:
        assert torch.equal(text.numbers(data, part, "words", 100, "cpu"), direct[part])
    assert text.entries(data, "words", 100) == 100
    assert vocabulary_of(data, None, 300) == pieces
    assert torch.equal(packed(data, "train", None, 300, 16, "cpu"), rows)
    assert len(entries(folder)) == 3


def test_small_archives_and_pythons_own_text_are_not_kept(tmp_path: Path, folder: Path) -> None:
    forget()
    for part in ("train", "test"):
        arrays = np.zeros((6, 4, 4, 3), np.uint8), np.arange(6) % 2
        np.savez(tmp_path / f"{part}.npz", images=arrays[0], labels=arrays[1])
    assert not listing(str(tmp_path)).slow
    load(split(str(tmp_path)), "cpu")
    text.numbers(None, "valid", "words", 50, "cpu")
    assert not folder.exists()
