"""A checkpoint is a folder that is either complete and undamaged, or absent.

It contains tensors in `tensors.safetensors`, everything else in `state.json`, sizes and SHA-256 of both in
`manifest.json`. It contains no pickle, and we never open any other file in the folder.

    write    files, fsync, manifest, fsync, rename from `.tmp`, fsync of the parent: a kill leaves a complete one
    load     compares every hash before it uses a byte
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch

from trainables.training.codec import pack, unpack

FORMAT = 1
STATE, TENSORS = FILES = ("state.json", "tensors.safetensors")
MANIFEST = "manifest.json"
PIECE = 2**20  # bytes read at once


class DamagedCheckpoint(Exception):
    """The checkpoint must not be used; the message names the file and the damage."""


class Written(NamedTuple):
    """A checkpoint as the ledger records it."""

    sha256: str  # of the manifest
    bytes: int  # of the files that the manifest lists


def load(path: Path, recorded: str | None = None) -> dict[str, Any]:
    """The state saved at `path`. Raises DamagedCheckpoint if any byte differs from what was written.

    `recorded`: the recorded SHA-256 of the manifest; a checkpoint with another one counts as damaged.
    """
    if recorded is not None and _sha256(_bytes(path / MANIFEST)) != recorded:
        raise DamagedCheckpoint(f"{path / MANIFEST} does not have the SHA-256 that is on record")
    check(path)
    state = json.loads(_bytes(path / STATE))
    with safetensors.safe_open(path / TENSORS, framework="pt") as file:  # mapped into memory, so copied one by one
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
    unpacked = unpack(state, tensors)
    assert isinstance(unpacked, dict)
    return unpacked


def write(path: Path, state: dict[str, Any]) -> Written:
    """Write `state` durably to `path`; replaces an older checkpoint there.

    Raises OSError if it cannot be written (full disk, …); the older one then stays as it is.
    """
    try:
        return _write(path, state)
    except OSError as error:
        shutil.rmtree(_unfinished(path), ignore_errors=True)
        reason = f"checkpoint not written, earlier ones are kept: {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error


def written(path: Path) -> Written:
    """What `write` returned for the checkpoint at `path`. Raises DamagedCheckpoint."""
    size = sum(entry["bytes"] for entry in _manifest(path)["files"].values())
    return Written(_sha256(_bytes(path / MANIFEST)), size)


def check(path: Path) -> None:
    """Raise DamagedCheckpoint if any byte differs from what was written."""
    for name, entry in _manifest(path)["files"].items():
        try:
            size = (path / name).stat().st_size
            if size == entry["bytes"] and _hashed(path / name) != entry["sha256"]:
                raise DamagedCheckpoint(f"{path / name} does not have the SHA-256 that was written")
        except OSError as error:
            raise DamagedCheckpoint(f"{path / name} cannot be read: {error.strerror}") from error
        if size != entry["bytes"]:
            raise DamagedCheckpoint(f"{path / name} has {size} bytes instead of {entry['bytes']}")


def delete(path: Path) -> None:
    """Delete a checkpoint, the manifest first: after a kill halfway, the rest is recognised as damaged."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _write(final: Path, state: dict[str, Any]) -> Written:
    packed, tensors = pack(state)
    unfinished = _unfinished(final)
    final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _write_file(unfinished / STATE, json.dumps(packed, allow_nan=False).encode())
    _write_tensors(unfinished / TENSORS, tensors)
    sizes = {name: (unfinished / name).stat().st_size for name in FILES}
    entries = {name: {"bytes": size, "sha256": _hashed(unfinished / name)} for name, size in sizes.items()}
    manifest = sealed({"format": FORMAT, "files": entries})
    _write_file(unfinished / MANIFEST, manifest)
    _sync(unfinished)
    if final.exists():
        delete(final)
    unfinished.rename(final)
    _sync(final.parent)
    return Written(_sha256(manifest), sum(sizes.values()))


def _unfinished(final: Path) -> Path:
    return final.with_name(final.name + ".tmp")


def _write_file(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Without a copy of all tensors in memory, which a large network may not have the room for."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        safetensors.torch.save_file(tensors, path)
    except safetensors.SafetensorError as error:
        if (number := re.search(r"os error (\d+)", str(error))) is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _manifest(path: Path) -> dict[str, Any]:
    data = _bytes(path / MANIFEST)
    try:
        manifest = json.loads(data)
        intact = sealed(manifest) == data and set(manifest["files"]) == set(FILES)
    except (ValueError, TypeError, KeyError):
        intact = False
    if not intact:
        raise DamagedCheckpoint(f"{path / MANIFEST} is not what was written")
    if manifest["format"] != FORMAT:
        raise DamagedCheckpoint(f"{path / MANIFEST} has format {manifest['format']}, not {FORMAT}")
    return dict(manifest)


def sealed(manifest: dict[str, Any]) -> bytes:
    """The manifest's only valid spelling, with a hash of itself, so that any flipped bit shows."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(content, sort_keys=True)
    return json.dumps({**content, "sha256": _sha256(text.encode())}, sort_keys=True, indent=1).encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error


def _hashed(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
