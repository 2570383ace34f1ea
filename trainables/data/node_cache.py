"""What takes long to read is read once per node: the first process keeps it in a file that all of them map into memory.

The files are in the folder that ORCHESTRATOR_CACHE names, else in $XDG_CACHE_HOME/orchestrator, else in
~/.cache/orchestrator. They can be removed at any time; what nobody used for thirty days goes when something is added.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

FORMAT = 1  # to be raised whenever the same sources and arguments give something else than before
UNUSED_SECONDS = 30 * 24 * 3600.0
_OURS = re.compile(r"[0-9a-f]{64}\.(safetensors|lock|\d+\.tmp)")

Tensors = Mapping[str, Tensor]


def once(key_parts: Sequence[object], sources: Sequence[Path], make: Callable[[], Tensors]) -> Tensors:
    """What `make` returns, contiguous tensors on the CPU, made by one process of the node and shared by all.

    `key_parts` (of a telling repr) and the `sources` (path, size and time of change) must determine it. Processes that
    ask together wait for the one that makes. The tensors are for reading: a process that writes into them changes a copy
    of its own. What `make` raises is raised here, and nothing is kept. Where nothing can be kept there is a warning, and
    each process reads for itself.
    """
    try:
        name = _name(key_parts, sources)
    except OSError:
        return make()  # which knows what to say about a source that is not there
    try:
        entry = _folder() / f"{name}.safetensors"
        found = _found(entry)
        if found is not None:
            return found
        lock = _locked(entry.with_suffix(".lock"))
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
        _warn(error)
        return make()
    with lock:
        found = _found(entry)  # made while this process waited
        return _kept(make(), entry) if found is None else found


def _name(key_parts: Sequence[object], sources: Sequence[Path]) -> str:
    told = hashlib.sha256(repr((FORMAT, *key_parts)).encode())
    folders: dict[Path, Path] = {}  # resolved once each: files of a folder may be many
    for path in sources:
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve()
        state = path.stat()
        told.update(os.fsencode(folders[path.parent] / path.name))
        told.update(f"\0{state.st_size} {state.st_mtime_ns}\0".encode())
    return told.hexdigest()


def _folder() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "orchestrator"
    return Path(os.environ.get("ORCHESTRATOR_CACHE") or default).expanduser()


def _found(entry: Path) -> Tensors | None:
    try:
        # Maps the file, privately: nothing is copied until it is written to.
        found: Tensors = safetensors.torch.load_file(entry)
    except (OSError, SafetensorError):
        return None  # not there, or damaged
    with suppress(OSError):  # a folder that others fill may be closed to us
        os.utime(entry)
    return found


def _locked(path: Path) -> IO[str]:
    """The lock, held until it is closed or the process is gone, however it went."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = path.open("a")
    try:
        os.utime(path)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        lock.close()
        raise
    return lock


def _kept(made: Tensors, entry: Path) -> Tensors:
    try:
        _write(made, entry)
        _sweep(entry.parent)
    except (OSError, SafetensorError) as error:
        _warn(error)
        return made
    found = _found(entry)
    return made if found is None else found


def _write(made: Tensors, entry: Path) -> None:
    for left in entry.parent.glob(f"{entry.stem}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # by a process that was killed
    unfinished = entry.with_suffix(f".{os.getpid()}.tmp")
    unfinished.mkdir()  # a folder, as safetensors writes to a temporary name of its own choice beside the given one
    try:
        safetensors.torch.save_file(dict(made), unfinished / entry.name)
        with (unfinished / entry.name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished / entry.name, entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # others may sweep as well
            if _OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _warn(error: Exception) -> None:
    try:
        folder = str(_folder())
    except RuntimeError:
        folder = "~/.cache/orchestrator"
    warnings.warn(
        f"what was read cannot be kept in {folder} ({error}), so every process reads it for itself; let "
        "ORCHESTRATOR_CACHE name a folder that can be written and has room.",
        stacklevel=3,
    )
