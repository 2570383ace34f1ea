"""Find the checkpoints that a script writes: in its own folder, or in the working folder, where its trials overwrite each
other, and may go on from each other's.

Nothing tells which process wrote a file. What changes in the working folder while a trial runs counts as its own, also
what another trial writes at the same time. So a file of two trials is shared only if each trial cannot have its own: if its
path has no number, as `lr0.1_7/last.pt` has, and no sibling, as `sgd/last.pt` is beside `adam/last.pt`.
"""

from __future__ import annotations

import contextlib
import operator
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.scripts.trial_folder import COMPARED, TrialFolder

SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".npz", ".pkl", ".pickle", ".joblib", ".msgpack", ".bin")  # fmt: skip
IN_OWN_FOLDER = (*SUFFIXES, ".zip", ".index", ".distcp", ".eqx")  # where nobody unpacks data
LOOKS = 5  # times for each start of a script, one after each report
MOST = 2000  # entries of the working folder that are looked at
LONGEST = 220  # characters of an error before what is added to it
REMEDY = "give each its own folder, with {folder} in the command or TRIAL_FOLDER in the script"

_NOT = {"node_modules", "__pycache__", "site-packages"}
# In the names of what a training goes on from.
_TO_GO_ON = re.compile(r"backup|ckpt|checkpoint|last|latest|resum|state", re.I)
_OF_STEPS = re.compile(r"epoch|step|checkpoint|ckpt|iter", re.I)  # in names that one training gives to several files
_NUMBER = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{6,}|\d[\d.,:e_+-]*", re.I)
_LOADING = re.compile(
    r"load|restor|resum|checkpoint|ckpt|state_dict|weights|shape|mismatch|lock|hdf5|corrupt|truncated", re.I
)


def has_checkpoint(folder: Path) -> bool:
    """Whether a file below the trial's folder is a checkpoint, as far as its ending tells."""
    return any(path.suffix in IN_OWN_FOLDER and path.is_file() for path in folder.rglob("*"))


def look_for_shared(folder: TrialFolder, memory: dict[str, Any], since: float) -> list[str]:
    """The checkpoints outside the trial's own folder that another trial writes too and of which no trial has told yet.

    Looks at what is as new as the time `since`. `memory`: "wrote" is all that this trial writes, "shares" what it has
    told of; both change.
    """
    known = set(memory.get("wrote", []))
    found = set(_checkpoints_here(since, folder.trial.parent.parent))
    if found <= known:
        return []
    memory["wrote"] = sorted(known | found)
    told = {path for each in [memory, *folder.memories_of_others(COMPARED)] for path in _told(each)}
    new = [path for path in shared(folder, memory) if path not in told]
    memory["shares"] = [*_told(memory), *new]
    return new


def shared(folder: TrialFolder, memory: Mapping[str, Any]) -> list[str]:
    """The checkpoints outside their own folders that two trials of the sweep write; those to go on from come first."""
    wrote = [set(each.get("wrote", [])) for each in (memory, *folder.memories_of_others(COMPARED))]
    all_paths: set[str] = set().union(*wrote)
    common = [path for path in all_paths if sum(path in each for each in wrote) > 1 and not _may_be_its_own(path)]
    return _in_order(path for path in common if not any(_are_siblings(path, other) for other in all_paths))


def at_one_place(memories: Iterable[Mapping[str, Any]], error: str = "") -> list[str]:
    """The checkpoints outside the trials' own folders that have no number in their path, so that all trials may use them:
    those to go on from, and those that an error names."""
    wrote = {path for memory in memories for path in memory.get("wrote", [])}
    fixed = [path for path in wrote if not _may_be_its_own(path)]
    return _in_order(path for path in fixed if _is_to_go_on(path) or Path(path).name in error)


def with_others(error: str, folder: TrialFolder, memory: Mapping[str, Any]) -> str:
    """The error, and which checkpoint of another trial the script may have met; the error alone if there is none."""
    paths = shared(folder, memory)
    if not paths and _LOADING.search(error):
        paths = at_one_place([memory, *folder.memories_of_others(COMPARED)], error)
    if not paths:
        return error
    said = error if len(error) <= LONGEST else f"{error[:LONGEST].rstrip()} …"
    return f"{said.rstrip('.')}. Trials write {paths[0]}, and this one may have met another's: {REMEDY}"


def _told(memory: Mapping[str, Any]) -> list[str]:
    told = memory.get("shares")
    return told if isinstance(told, list) else []  # earlier versions noted only whether there are some


def _in_order(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: (not _is_to_go_on(path), path))


def _is_to_go_on(path: str) -> bool:
    return bool(_TO_GO_ON.search(os.path.relpath(path)))


def _is_numbered(name: str) -> bool:
    """Whether a folder or file has a number that is none of steps."""
    stem, suffix = os.path.splitext(name)
    return bool(_NUMBER.search(stem if suffix in SUFFIXES else name)) and not _OF_STEPS.search(name)


def _may_be_its_own(path: str) -> bool:
    """Whether a folder or file in the path has a number by which each trial may have its own.

    >>> _may_be_its_own("logs/version_0/last.ckpt"), _may_be_its_own("out/epoch1.pt")
    (True, False)
    """
    return any(map(_is_numbered, os.path.relpath(path).split(os.sep)))


def _are_siblings(one: str, other: str) -> bool:
    """Whether two files of one name lie in two folders beside each other.

    >>> _are_siblings("out/sgd/last.pt", "out/adam/last.pt"), _are_siblings("out/best.pt", "out/last.pt")
    (True, False)
    """
    mine, its = one.split(os.sep), other.split(os.sep)
    return len(mine) == len(its) and mine[-1] == its[-1] and sum(map(operator.ne, mine, its)) == 1


def _checkpoints_here(since: float, run: Path) -> list[str]:
    """The checkpoint files below the working folder, but not in the folder of the run or of all runs, that are
    as new as the time `since`."""
    return [
        str(path)
        for path in first_files(Path.cwd(), {run, run.parent})
        if path.suffix in SUFFIXES and _written(path) >= since
    ]


def missed(named: str, folder: TrialFolder) -> str:
    """What to tell if there is no checkpoint as `named`, but other files; empty if nothing is named, or nothing there."""
    kept = sorted(str(path.relative_to(folder.path)) for path in folder.files)[:3] if named else []
    if not kept:
        return ""
    return (
        f"there is no {named} so far, but {', '.join(kept)}: `resume` would find nothing, and after an interruption "
        "the trial would start over; name the file there that the script writes"
    )


def first_files(root: Path, apart: Collection[Path] = ()) -> Iterator[Path]:
    """The files among the first entries below, folder by folder: a working folder may hold a million images."""
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
