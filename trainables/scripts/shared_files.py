"""Find the checkpoints that a script writes: in its own folder, or in the working folder, where its trials overwrite each
other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".npz", ".pkl", ".pickle", ".joblib", ".msgpack", ".bin")  # fmt: skip
IN_OWN_FOLDER = (*SUFFIXES, ".zip", ".index", ".distcp", ".eqx")  # where nobody unpacks data
LOOKS = 5  # times for each start of a script, one after each report
MOST = 2000  # entries of the working folder that are looked at
_NOT = {"node_modules", "__pycache__", "site-packages"}


def has_checkpoint(folder: Path) -> bool:
    """Whether a file below the trial's folder is a checkpoint, as far as its ending tells."""
    return any(path.suffix in IN_OWN_FOLDER and path.is_file() for path in folder.rglob("*"))


def checkpoints_here(since: float, run: Path) -> list[str]:
    """The checkpoint files below the working folder, but not in the folder of the run or of all runs, that are
    as new as the time `since`."""
    return [
        str(path)
        for path in _files(Path.cwd(), {run, run.parent})
        if path.suffix in SUFFIXES and _written(path) >= since
    ]


def _files(root: Path, apart: set[Path]) -> Iterator[Path]:
    """The files among the first entries, folder by folder: a working folder may hold a million images."""
    waiting, seen = [root], 0
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop(0)) as entries:  # removed meanwhile, or not readable
            for entry in entries:
                seen += 1
                if seen > MOST:
                    return
                path = Path(entry.path)
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif entry.name[0] != "." and entry.name not in _NOT and path not in apart:
                    waiting.append(path)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
