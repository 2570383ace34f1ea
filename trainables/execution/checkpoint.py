"""A checkpoint is a folder that is either complete and undamaged or absent.

`step-000012+000128/` holds the state after 12 evaluations and 128 samples of the next epoch: tensors in
`tensors.safetensors`, everything else in `state.json`, sizes and SHA-256 of both in `manifest.json`. It contains no
pickle, and we never open any other file in the folder.

    save     files, fsync, manifest, fsync, rename from `.tmp`, fsync of the parent: a kill leaves a complete one
    load     compares every hash before it uses a byte
    newest   returns the last undamaged one, and a sentence for each that it skipped
    prune    deletes older ones only after it has read the newest back and found it undamaged
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch

from search.work import Progress
from trainables.execution.codec import pack, unpack

FORMAT = 1
FILES = ("state.json", "tensors.safetensors")
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})\+(\d{6,})")


class DamagedCheckpoint(Exception):
    """The checkpoint must not be used; the message names the file and the damage."""


class Found(NamedTuple):
    """A checkpoint's place in the training and in the file system."""

    step: int
    cursor: int  # samples into the next epoch
    path: Path


def save(folder: Path, state: dict[str, Any], *, step: int, cursor: int = 0) -> Progress:
    """Write `state` durably under `folder`; replaces an older checkpoint of the same place.

    Raises OSError if it cannot be written (full disk, …); the other checkpoints then stay as they are.
    """
    final = folder / f"step-{step:06d}+{cursor:06d}"
    try:
        return _write(final, state, step)
    except OSError as error:
        shutil.rmtree(_unfinished(final), ignore_errors=True)
        reason = f"checkpoint not written, earlier ones are kept: {error.strerror}"
        raise OSError(error.errno, reason, str(final)) from error


def load(path: Path) -> dict[str, Any]:
    """The state saved at `path`. Raises DamagedCheckpoint if any byte differs from what was written."""
    files = _read(path)
    state = json.loads(files["state.json"])
    tensors = safetensors.torch.load(files["tensors.safetensors"])
    unpacked = unpack(state, tensors)
    assert isinstance(unpacked, dict)
    return unpacked


def newest(
    folder: Path, recorded: int, *, on_the_way: bool = True, digests: Mapping[str, str] = {}
) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest undamaged state at a step <= `recorded`, and a notice for each checkpoint skipped.

    `on_the_way`: allow one that has already seen a part of the epoch after `recorded`. `digests`: the recorded SHA-256
    of each checkpoint's manifest, by path; an undamaged checkpoint with another digest is skipped, too.
    """
    notices: list[str] = []
    for found in reversed(find(folder)):
        if found.step > recorded or (found.step == recorded and found.cursor and not on_the_way):
            continue
        try:
            _compare(found.path, digests.get(str(found.path)))
            return load(found.path), notices
        except DamagedCheckpoint as damage:
            notices.append(f"damaged checkpoint passed over: {damage}")
    return None, notices


def _compare(path: Path, recorded: str | None) -> None:
    if recorded is not None and _sha256(_bytes(path / MANIFEST)) != recorded:
        raise DamagedCheckpoint(f"{path / MANIFEST} does not have the SHA-256 that is on record")


def find(folder: Path) -> list[Found]:
    """All checkpoints in `folder`, oldest first; loading them shows whether they are undamaged."""
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(Found(int(match[1]), int(match[2]), folder / match[0]) for match in matches)


def describe(found: Found) -> Progress:
    """The checkpoint as a worker reports it; raises DamagedCheckpoint."""
    manifest = _manifest(found.path)
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    digest = _sha256(_bytes(found.path / MANIFEST))
    return Progress("checkpoint", found.step, path=str(found.path), sha256=digest, bytes=size)


def prune(folder: Path, keep: int = 2, recorded: int | None = None, pinned: Collection[int] = ()) -> None:
    """Delete all but the `keep` newest checkpoints, the newest at a step <= `recorded`, and those at `pinned` steps.

    Deletes nothing if the newest one is damaged.
    """
    checkpoints = find(folder)
    kept = checkpoints[-max(keep, 1) :]
    if recorded is not None:
        kept += [found for found in checkpoints if found.step <= recorded][-1:]
    superfluous = [found for found in checkpoints if found not in kept and found.step not in pinned]
    if superfluous:
        try:
            _read(checkpoints[-1].path)
        except DamagedCheckpoint:
            return
        delete(superfluous)


def clean(folder: Path, step: int, cursor: int) -> None:
    """Delete what a training that continues from here cannot use: later checkpoints and unfinished folders."""
    delete([found for found in find(folder) if (found.step, found.cursor) > (step, cursor)])
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def delete(checkpoints: Sequence[Found]) -> None:
    for found in checkpoints:
        # Delete the manifest first: after a kill halfway, the rest is recognised as damaged.
        (found.path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(found.path, ignore_errors=True)


def _write(final: Path, state: dict[str, Any], step: int) -> Progress:
    packed, tensors = pack(state)
    files = {
        "state.json": json.dumps(packed, allow_nan=False).encode(),
        "tensors.safetensors": safetensors.torch.save(tensors),
    }
    entries = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()}
    manifest = sealed({"format": FORMAT, "files": entries})

    unfinished = _unfinished(final)
    final.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    for name, data in {**files, MANIFEST: manifest}.items():
        _write_file(unfinished / name, data)
    _sync_folder(unfinished)
    if final.exists():
        delete([Found(step, 0, final)])
    unfinished.rename(final)
    _sync_folder(final.parent)
    size = sum(len(data) for data in files.values())
    return Progress("checkpoint", step, path=str(final), sha256=_sha256(manifest), bytes=size)


def _unfinished(final: Path) -> Path:
    return final.with_name(final.name + ".tmp")


def _write_file(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, bytes]:
    """The files that the manifest lists, after comparing size and hash."""
    files: dict[str, bytes] = {}
    for name, entry in _manifest(path)["files"].items():
        data = files[name] = _bytes(path / name)
        if len(data) != entry["bytes"]:
            raise DamagedCheckpoint(f"{path / name} has {len(data)} bytes instead of {entry['bytes']}")
        if _sha256(data) != entry["sha256"]:
            raise DamagedCheckpoint(f"{path / name} does not have the SHA-256 that was written")
    return files


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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
