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
import secrets
import shutil
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driving.places import CHECKPOINTS, PREPARED, TRIALS
from orchestrator.record.storage import FILE as LEDGER
from orchestrator.tune.keeper import LOOPBACK
from orchestrator.worker.limits import EXIT_FILE, SILENCE_FILE

SEEN = "seen-by-nodes"  # the file in the run's folder by which a node knows that it sees it
WORKERS = "workers.lock"  # in the copy of the run's folder: held by the workers of the node
COPIED = ".copied"  # in a trial's folder on another node: the driver's machine has had this trial's files
CHUNK, AT_ONCE = 2**24, 4  # bytes in one message, and messages under way
SMALL, MOST = 2**18, 1000  # bytes: smaller files share messages, of so many
FEW = 16  # files that are synchronised with the disk one by one
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
                    found[str(path.relative_to(folder))] = _stamp(status)
    return found


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))


class FileServer:
    """An actor on the driver's machine that reads and writes the run's folder for nodes that do not see it."""

    def __init__(self, folder: Path, pause: Path) -> None:
        self._folder, self._pause = folder, pause

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
    unfinished = path.with_name(path.name + UNFINISHED)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if data else os.O_TRUNC), 0o600)
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
    for name, stamp in arrived.items():
        if not stamp.link:
            with open((folder / name).with_name(Path(name).name + UNFINISHED), "rb+") as file:
                file.truncate(stamp.bytes)
                os.fchmod(file.fileno(), stamp.mode)
                os.utime(file.fileno(), ns=(stamp.changed, stamp.changed))
                if len(arrived) <= FEW:
                    os.fsync(file.fileno())
    if len(arrived) > FEW:
        os.sync()  # once, in place of thousands of single ones
    for name in sorted(arrived, key=lambda name: (_is_late(name), name)):
        path, link = folder / name, arrived[name].link
        unfinished = path.with_name(path.name + UNFINISHED)
        if link:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            unfinished.unlink(missing_ok=True)
            unfinished.symlink_to(link)
        unfinished.replace(path)
    for name in gone:
        path = folder / name
        path.unlink(missing_ok=True)
        for parent in path.parents:
            if parent == folder / part or next(parent.iterdir(), None) is not None:
                break
            parent.rmdir()
    for parent in {(folder / name).parent for name in arrived} if len(arrived) <= FEW else set():
        handle = os.open(parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    if len(arrived) > FEW:
        os.sync()


@dataclass(frozen=True)
class Home:
    """Where a run lives, for its workers on any node. `token` is empty if no other node can be there."""

    folder: Path
    pause: Path
    here: str  # the driver's working folder
    token: str = ""

    @property
    def is_seen(self) -> bool:
        """Whether this node sees the run's folder. Raises FileExistsError if it has another run's in that place."""
        if not self.token:
            return True
        with contextlib.suppress(OSError):
            if (self.folder / SEEN).read_text() == self.token:
                return True
        if (self.folder / LEDGER).exists():
            raise FileExistsError(
                f"{self.folder} on this node's own disk holds the record of a run; move it away, or share the disk."
            )
        return False

    def enter(self) -> None:
        """Work in the driver's working folder, if this node has it: relative paths mean there what they mean here."""
        if self.token and os.path.isdir(self.here):
            os.chdir(self.here)


@contextlib.contextmanager
def at_home(folder: Path, pause: Path) -> Iterator[Home]:
    """Serve the run's folder to nodes that do not see it; Ray is up. On this machine's own Ray nothing is served."""
    context = ray.get_runtime_context()
    if context.gcs_address.rpartition(":")[0] == LOOPBACK:
        yield Home(folder, pause, os.getcwd())
        return
    home = Home(folder, pause, os.getcwd(), secrets.token_hex(16))
    (folder / SEEN).write_text(home.token)
    server = ray.remote(FileServer).options(
        name=_name(home), num_cpus=0, max_concurrency=8, max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(context.get_node_id(), soft=False),
    ).remote(folder, pause)  # fmt: skip
    try:
        yield home
    finally:
        (folder / SEEN).unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # Ray may be gone
            ray.kill(server)


def _name(home: Home) -> str:
    return f"files of {home.token}"


class FileSync:
    """The worker's side, on a node that does not see the run's folder. Parts are names of folders in it."""

    def __init__(self, home: Home) -> None:
        self._folder = home.folder
        self._server: Any = ray.get_actor(_name(home))
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
        try:
            changed = {each: stamp for each, stamp in ours.items() if theirs.get(each) != stamp}
            arrived: dict[str, Stamp] = {}
            for late in (
                False,
                True,
            ):  # a script may go on meanwhile: its reports must not be older than its checkpoint
                some = {each: stamp for each, stamp in changed.items() if _is_late(each) == late}
                for names in _in_messages(some):
                    arrived |= self._upload_small(names)
                for each, stamp in some.items():
                    if not _is_small(stamp):
                        arrived |= self._upload(each, stamp)
            if arrived or gone:
                _get(self._server.put.remote(name, arrived, gone))
        except OSError:  # the record needs the room
            ray.get(self._server.forget.remote(name))
            raise
        if arrived or gone:
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
            for name in (TRIALS, PREPARED):
                shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / WORKERS).unlink(missing_ok=True)
            self._folder.rmdir()

    def _upload(self, name: str, stamp: Stamp) -> dict[str, Stamp]:
        """Send a file; returns its stamp as it was sent, nothing if it is gone by now."""
        if stamp.link:
            return {name: stamp}
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
        return {name: _stamp(status)._replace(bytes=offset)}

    def _upload_small(self, names: Sequence[str]) -> dict[str, Stamp]:
        sent, contents = dict[str, Stamp](), dict[str, bytes]()
        for name in names:
            with contextlib.suppress(FileNotFoundError), open(self._folder / name, "rb") as file:
                status, contents[name] = os.fstat(file.fileno()), file.read()
                sent[name] = _stamp(status)._replace(bytes=len(contents[name]))
        _get(self._server.write_whole.remote(contents))
        return sent

    def _download(self, part: str, wanted: Mapping[str, Stamp], gone: Collection[str]) -> None:
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
        put(self._folder, part, wanted, gone)


def _is_late(name: str) -> bool:
    return any(late in Path(name).parts for late in LATE)


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
