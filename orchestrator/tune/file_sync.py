"""File sync between the run's folder and nodes that do not see it.

The run's folder lies on the driver's machine. A node that sees it (it is that machine, or both share a disk) works in it.
Any other node works in a folder of the same path on its own disk: it fetches a trial's files before it trains, and sends
what has changed before the driver hears of a checkpoint. So each recorded checkpoint is on the driver's machine, and the
node may vanish.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray

from orchestrator.driving.places import CHECKPOINTS, FUNCTIONS, PREPARED, TRIALS
from orchestrator.tune.file_server import COPIED, Stamp, in_the_way, is_late, put, stamp_of, stamps, write, write_whole
from orchestrator.tune.home import Home

WORKERS = "workers.lock"  # in the copy of the run's folder: held by the workers of the node
CHUNK, AT_ONCE = 2**24, 4  # bytes in one message, and messages under way
SMALL, MOST = 2**18, 1000  # bytes: smaller files share messages, of so many


class FileSync:
    """The worker's side, on a node that does not see the run's folder. Parts are names of folders in it."""

    def __init__(self, home: Home) -> None:
        self._folder = home.places.folder
        self._server: Any = ray.get_actor(home.server)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._workers = open(self._folder / WORKERS, "w")  # noqa: SIM115 - locked for as long as this worker is here
        fcntl.flock(self._workers, fcntl.LOCK_SH)
        self._there: dict[str, dict[str, Stamp]] = {}  # what the driver's machine has of a part

    def is_pausing(self) -> bool:
        return bool(ray.get(self._server.is_pausing.remote()))

    def is_there(self, path: str) -> bool:
        """Whether the driver's machine has something at this path of the whole machine."""
        return bool(ray.get(self._server.has.remote(path)))

    def fetch(self, part: Path) -> None:
        """Make this node's copy of `part` the same as the driver's."""
        name = str(part.relative_to(self._folder))
        (part / COPIED).unlink(missing_ok=True)
        ray.get(self._server.forget.remote(name))  # of a node that vanished while it sent
        theirs: dict[str, Stamp] = ray.get(self._server.stamps.remote(name))
        ours = stamps(self._folder, name)
        self._download(
            name, {each: stamp for each, stamp in theirs.items() if ours.get(each) != stamp}, set(ours) - set(theirs)
        )
        self._there[name] = theirs

    def add(self, part: Path) -> None:
        """Fetch what this node lacks of a part that another of its workers may be writing."""
        name = str(part.relative_to(self._folder))
        theirs: dict[str, Stamp] = ray.get(self._server.stamps.remote(name))
        ours = stamps(self._folder, name)
        self._download(name, {each: stamp for each, stamp in theirs.items() if each not in ours}, ())

    def fetch_shared(self, part: Path) -> None:
        """`fetch`, one of this node's workers after the other."""
        part.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fetch(part)
        finally:
            os.close(lock)

    def send(self, part: Path) -> None:
        """Make the driver's copy of `part` the same as this node's. Raises OSError if its disk is full."""
        name = str(part.relative_to(self._folder))
        theirs = self._there[name] if name in self._there else ray.get(self._server.stamps.remote(name))
        ours = stamps(self._folder, name)
        gone = set(theirs) - set(ours)
        changed = {each: stamp for each, stamp in ours.items() if theirs.get(each) != stamp}
        try:
            if first := in_the_way(changed, gone):
                _get(self._server.put.remote(name, {}, first))
                gone -= first
            arrived: dict[str, Stamp] = {}
            for late in (False, True):  # a script may go on: its reports must not be older than its checkpoint
                arrived |= self._upload({each: stamp for each, stamp in changed.items() if is_late(each) == late})
            if arrived or gone:
                _get(self._server.put.remote(name, arrived, gone))
        except OSError:  # the record needs the room; how far it got, only the driver's machine knows
            self._there.pop(name, None)
            ray.get(self._server.forget.remote(name))
            raise
        if first or arrived or gone:
            self._there[name] = {each: theirs[each] for each in theirs if each in ours} | arrived
            (part / COPIED).touch()

    def tidy(self) -> None:
        """Delete this node's copies of checkpoints that the driver has deleted."""
        copied = list((self._folder / TRIALS).glob(f"*/{COPIED}"))
        kept = ray.get(self._server.with_checkpoints.remote()) if copied else set()
        for mark in copied:
            if mark.parent.name not in kept:
                shutil.rmtree(mark.parent / CHECKPOINTS, ignore_errors=True)
                mark.unlink(missing_ok=True)

    def close(self) -> None:
        """The last worker of the node deletes its copy."""
        with contextlib.suppress(OSError), self._workers:
            fcntl.flock(self._workers, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while others are here
            for name in (TRIALS, PREPARED, FUNCTIONS):
                shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / WORKERS).unlink(missing_ok=True)
            self._folder.rmdir()

    def _upload(self, files: Mapping[str, Stamp]) -> dict[str, Stamp]:
        """Send files; returns their stamps as they were sent, without those that are gone by now."""
        sent: dict[str, Stamp] = {}
        for names in _in_messages(files):
            sent |= self._upload_small(names)
        for name, stamp in files.items():
            if stamp.link:
                sent[name] = stamp
            elif not _is_small(stamp):
                sent |= self._upload_large(name)
        return sent

    def _upload_large(self, name: str) -> dict[str, Stamp]:
        try:
            file = open(self._folder / name, "rb")  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return {}
        with file:
            status, offset, under_way = os.fstat(file.fileno()), 0, deque[Any]()
            _get(self._server.write.remote(name, 0, b""))  # first, for it empties what an earlier attempt has left
            while data := file.read(min(CHUNK, status.st_size - offset)):
                under_way.append(self._server.write.remote(name, offset, data))
                offset += len(data)
                if len(under_way) >= AT_ONCE:
                    _get(under_way.popleft())
            while under_way:
                _get(under_way.popleft())
        return {name: stamp_of(status)._replace(bytes=offset)}

    def _upload_small(self, names: Sequence[str]) -> dict[str, Stamp]:
        sent, contents = dict[str, Stamp](), dict[str, bytes]()
        for name in names:
            with contextlib.suppress(FileNotFoundError), open(self._folder / name, "rb") as file:
                status, contents[name] = os.fstat(file.fileno()), file.read()
                sent[name] = stamp_of(status)._replace(bytes=len(contents[name]))
        _get(self._server.write_whole.remote(contents))
        return sent

    def _download(self, part: str, wanted: Mapping[str, Stamp], gone: Collection[str]) -> None:
        first = in_the_way(wanted, gone)
        put(self._folder, part, {}, first)
        for names in _in_messages(wanted):
            for name, data in zip(names, _get(self._server.read_whole.remote(names)), strict=True):
                write_whole(self._folder / name, data)
        for name, stamp in wanted.items():
            if stamp.link or _is_small(stamp):
                continue
            write(self._folder / name, 0, b"")
            for offset in range(0, stamp.bytes, CHUNK):
                size = min(CHUNK, stamp.bytes - offset)
                write(self._folder / name, offset, _get(self._server.read.remote(name, offset, size)))
        put(self._folder, part, wanted, set(gone) - first)


def _is_small(stamp: Stamp) -> bool:
    return not stamp.link and stamp.bytes <= SMALL


def _in_messages(files: Mapping[str, Stamp]) -> Iterator[list[str]]:
    """The names of the small ones, in groups that fit into messages."""
    names, size = list[str](), 0
    for name, stamp in files.items():
        if _is_small(stamp):
            names.append(name)
            size += stamp.bytes
        if size > CHUNK - SMALL or len(names) >= MOST:
            yield names
            names, size = [], 0
    if names:
        yield names


def _get(reference: Any) -> Any:
    """The answer; an OSError on the driver's machine is raised as such."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, OSError):
            raise error.cause from None
        raise
