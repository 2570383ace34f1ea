"""The driver's side of the file sync (file_sync.py): files arrive in full, durably, and all at once, or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from orchestrator.driving.places import CHECKPOINTS, TRIALS, Places
from orchestrator.tune.same_code import Code, Versions
from orchestrator.worker.limits import EXIT_FILE, SILENCE_FILE

COPIED = ".copied"  # in a trial's folder on another node: the driver's machine has had this trial's files
FEW = 16  # files or folders that are synchronised with the disk one by one
UNFINISHED = ".incoming"  # ending of a file that has not arrived in full
LATE = (".reports", "manifest.json")  # they speak of other files, so they are read, and put in place, after them
LEFT_OUT = (SILENCE_FILE, EXIT_FILE, COPIED)  # a process's notes for its own machine


class Stamp(NamedTuple):
    """By which a file is known to be the same on both sides."""

    bytes: int
    changed: int  # time of the last change, in ns
    mode: int = 0o600
    link: str = ""  # where a symbolic link leads


def stamps(folder: Path, part: str) -> dict[str, Stamp]:
    """The files and links below `folder / part`, by their names in `folder`; empty folders do not count."""
    found: dict[str, Stamp] = {}
    for parent, folders, files in os.walk(folder / part):
        for name in (*folders, *files):
            path = Path(parent, name)
            if name in LEFT_OUT or name.endswith(UNFINISHED):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                status = path.lstat()
                if stat.S_ISLNK(status.st_mode):
                    found[str(path.relative_to(folder))] = Stamp(0, 0, link=os.readlink(path))
                elif stat.S_ISREG(status.st_mode):
                    found[str(path.relative_to(folder))] = stamp_of(status)
    return found


def stamp_of(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))


class FileServer:
    """An actor on the driver's machine that reads and writes the run's folder for nodes that do not see it."""

    def __init__(self, places: Places, here: str, code: Code) -> None:
        os.chdir(here)
        self._folder, self._pause, self._code = places.folder, places.pause_file, code

    def versions(self) -> Versions:
        """Of the training's files, as they are now."""
        return self._code.versions()

    def is_pausing(self) -> bool:
        return self._pause.exists()

    def stamps(self, part: str) -> dict[str, Stamp]:
        return stamps(self._folder, part)

    def read(self, name: str, offset: int, size: int) -> bytes:
        with open(self._folder / name, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def read_whole(self, names: Sequence[str]) -> list[bytes]:
        return [(self._folder / name).read_bytes() for name in names]

    def write(self, name: str, offset: int, data: bytes) -> None:
        write(self._folder / name, offset, data)

    def write_whole(self, contents: Mapping[str, bytes]) -> None:
        for name, data in contents.items():
            write_whole(self._folder / name, data)

    def put(self, part: str, arrived: Mapping[str, Stamp], gone: Collection[str]) -> None:
        """Put in place what has arrived, all at once; delete what is gone."""
        put(self._folder, part, arrived, gone)

    def forget(self, part: str) -> None:
        """Delete what has not arrived in full."""
        for path in (self._folder / part).rglob(f"*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    def has(self, path: str) -> bool:
        return os.path.exists(path)

    def with_checkpoints(self) -> set[str]:
        """The trials that have checkpoints, by the names of their folders."""
        return {path.parent.name for path in (self._folder / TRIALS).glob(f"*/{CHECKPOINTS}")}


def write(path: Path, offset: int, data: bytes) -> None:
    """Write a piece of a file that is not in place yet; an empty one at 0 begins it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(_unfinished(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if data else os.O_TRUNC), 0o600)
    with open(handle, "wb") as file:
        file.seek(offset)
        file.write(data)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that is not in place yet."""
    write(path, 0, b"")
    if data:
        write(path, 0, data)


def put(folder: Path, part: str, arrived: Mapping[str, Stamp], gone: Iterable[str]) -> None:
    """Move files that have arrived in full to their places, durably; delete `gone` ones and the folders left empty."""
    files = {name: stamp for name, stamp in arrived.items() if not stamp.link}
    for name, stamp in files.items():
        with open(_unfinished(folder / name), "rb+") as file:
            file.truncate(stamp.bytes)
            os.fchmod(file.fileno(), stamp.mode)
            os.utime(file.fileno(), ns=(stamp.changed, stamp.changed))
    _synchronise([_unfinished(folder / name) for name in files])
    for name in sorted(arrived, key=lambda name: (is_late(name), name)):
        path, link = folder / name, arrived[name].link
        if link:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _unfinished(path).unlink(missing_ok=True)
            _unfinished(path).symlink_to(link)
        _unfinished(path).replace(path)
    for name in gone:
        path = folder / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder / part or (parent.exists() and any(parent.iterdir())):
                break
            if parent.exists():  # else an earlier attempt has deleted it
                parent.rmdir()
    _synchronise({(folder / name).parent for name in arrived})


def in_the_way(wanted: Collection[str], gone: Collection[str]) -> set[str]:
    """Of what is gone, a file or link in whose place a folder comes, and what lies in a folder in whose place a file comes.

    Nothing can be written there before it is deleted.
    """
    folders = {str(parent) for name in wanted for parent in Path(name).parents}
    return {name for name in gone if name in folders or any(str(parent) in wanted for parent in Path(name).parents)}


def _synchronise(paths: Collection[Path]) -> None:
    """Wait until files or folders are on the disk."""
    if len(paths) > FEW:
        os.sync()  # once, in place of thousands of single ones
        return
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + UNFINISHED)


def is_late(name: str) -> bool:
    return any(late in Path(name).parts for late in LATE)
