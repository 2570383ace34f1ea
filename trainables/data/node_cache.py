"""Read slow data once per node: the first process writes them to a file that all processes map into memory.

The files are in the folder that ORCHESTRATOR_CACHE names, else in $XDG_CACHE_HOME/orchestrator, else in
~/.cache/orchestrator. You can delete them at any time; files unused for thirty days are deleted when one is added.
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

FORMAT = 1  # increase whenever the same sources and arguments give another result
UNUSED_SECONDS = 30 * 24 * 3600.0
_OURS = re.compile(r"[0-9a-f]{64}\.(safetensors|lock|\d+\.tmp)")

Tensors = Mapping[str, Tensor]


def once(key_parts: Sequence[object], sources: Sequence[Path], make: Callable[[], Tensors]) -> Tensors:
    """The result of `make`, contiguous tensors on the CPU: one process of the node makes it, and all share it.

    The result must depend only on `key_parts` (hashed by repr) and `sources` (path, size and time of change). Processes
    that ask at the same time wait for the one that makes it. The tensors are for reading; a process that writes into
    them changes its own copy. Errors of `make` are raised here, and nothing is kept. If nothing can be kept, a warning
    says so, and each process reads for itself.
    """
    try:
        name = _name(key_parts, sources)
    except OSError:
        return make()  # it can explain a missing source
    try:
        entry = _folder() / f"{name}.safetensors"
        found = _found(entry)
        if found is not None:
            return found
        lock = _locked(entry.with_suffix(".lock"))
    except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home folder
        _warn(error)
        return make()
    with lock:
        found = _found(entry)  # perhaps made while this process waited
        return _kept(make(), entry) if found is None else found


def _name(key_parts: Sequence[object], sources: Sequence[Path]) -> str:
    told = hashlib.sha256(repr((FORMAT, *key_parts)).encode())
    folders: dict[Path, Path] = {}  # resolve each once: a folder may have many files
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
        # Maps the file privately: nothing is copied until it is written to.
        found: Tensors = safetensors.torch.load_file(entry)
    except (OSError, SafetensorError):
        return None  # not there, or damaged
    with suppress(OSError):  # we may not write to a folder that others fill
        os.utime(entry)
    return found


def _locked(path: Path) -> IO[str]:
    """The lock; held until it is closed or the process ends in any way."""
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
        shutil.rmtree(left, ignore_errors=True)  # left by a process that was killed
    unfinished = entry.with_suffix(f".{os.getpid()}.tmp")
    unfinished.mkdir()  # a folder, because safetensors also writes a temporary file of its own beside the given one
    try:
        safetensors.torch.save_file(dict(made), unfinished / entry.name)
        with (unfinished / entry.name).open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished / entry.name, entry)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # other processes may sweep, too
            if _OURS.fullmatch(path.name) and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _warn(error: Exception) -> None:
    try:
        folder = str(_folder())
    except RuntimeError:
        folder = "~/.cache/orchestrator"
    warnings.warn(
        f"cannot keep data in {folder} ({error}), so every process reads it for itself; set "
        "ORCHESTRATOR_CACHE to a folder that is writable and has room.",
        stacklevel=3,
    )
