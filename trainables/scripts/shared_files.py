"""Notice checkpoints that a script writes into the working folder, where its trials overwrite each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".npz", ".pkl", ".pickle", ".joblib", ".msgpack", ".bin")  # fmt: skip
LOOKS = 5  # times for each start of a script, one after each report
MOST = 2000  # entries of the working folder that are looked at
_NOT = {"node_modules", "__pycache__", "site-packages"}


def checkpoints_here(since: float, run: Path) -> list[str]:
    """The checkpoint files below the working folder, but not in the folder of the run or of all runs, that are
    as new as the time `since`."""
    return [
        str(path)
        for path in _files(Path.cwd(), {run, run.parent})
        if path.suffix in SUFFIXES and _written(path) >= since
    ]


def _files(root: Path, apart: set[Path]) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(root):
        inner = Path(folder)
        folders[:] = sorted(
            each for each in folders if each[0] != "." and each not in _NOT and inner / each not in apart
        )
        for name in sorted(names):
            yield inner / name
        seen += len(names) + len(folders)
        if seen > MOST:
            return


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
