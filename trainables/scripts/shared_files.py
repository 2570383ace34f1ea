"""Find the checkpoints that a script writes: in its own folder, or in the working folder, where its trials overwrite each
other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.scripts.trial_folder import COMPARED, TrialFolder

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


def overwritten(since: float, folder: TrialFolder, memory: dict[str, Any]) -> str:
    """What to tell of a checkpoint written since then that another trial of the sweep writes too; empty if none is known, or
    if it has been told. `memory` keeps what this trial wrote."""
    if memory.get("shares"):
        return ""
    found = checkpoints_here(since, folder.trial.parent.parent)
    if not set(found) - set(memory.get("wrote", [])):
        return ""
    memory["wrote"] = found
    memories = list(folder.memories_of_others(COMPARED))
    others = {path for other in memories for path in other.get("wrote", [])}
    shared = [path for path in found if path in others]
    is_told = any(other.get("shares") for other in memories)
    memory["shares"] = is_told or bool(shared)
    if is_told or not shared:
        return ""
    return (
        f"it writes {shared[0]}, as another trial does, so they overwrite each other: give each its own folder, with {{folder}} in "
        "the command or TRIAL_FOLDER in the script"
    )


def missed(named: str, folder: TrialFolder) -> str:
    """What to tell if there is no checkpoint as `named`, but other files; empty if nothing is named, or nothing there."""
    kept = sorted(str(path.relative_to(folder.path)) for path in folder.files)[:3] if named else []
    if not kept:
        return ""
    return (
        f"there is no {named} so far, but {', '.join(kept)}: `resume` would find nothing, and after an interruption "
        "the trial would start over; name the file there that the script writes"
    )


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
