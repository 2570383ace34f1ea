"""A node trains with the driver's version of the code, or not at all: it compares the files that it reads from its own disk.

What travels with the trial needs no comparison: a function of the driver's script, or of a module that is sent by value.
A file that the node lacks is none that the training has needed so far.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import socket
import sys
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
from ray.cloudpickle import list_registry_pickle_by_value

from orchestrator.definition.sources import sources_of, sources_of_policy
from trainables.contract import CommandLine
from trainables.source_files import LARGEST, MOST

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

NAMED = 3  # files in a message
Versions = Mapping[str, Collection[str]]
"""Path of a file on the driver's machine → the digests with which a trial may start now."""


class Code:
    """The training's files on the driver's machine. A script is read at each start of a trial, so the present files count;
    what a function imports was read when the sweep began, and by a worker that starts later, as it is now."""

    def __init__(self, sweep: Sweep) -> None:
        is_script = isinstance(sweep.workload, CommandLine)
        self._script = sweep.workload if is_script else None
        self._of_policy = _paths(sources_of_policy(sweep.policy).values()) - _sent()
        self._paths = self._of_policy | (
            _paths(sources_of(sweep.workload).values()) - (set() if is_script else _sent())
        )
        self._stamps = _stamps(self._paths)
        self._first = {} if is_script else _digests(self._paths)

    def versions(self) -> Versions:
        if self._script is not None and (stamps := _stamps(self._paths)) != self._stamps:
            self._stamps = stamps
            with contextlib.suppress(OSError):  # a file is being replaced: the next start looks again
                self._paths = self._of_policy | _paths(sources_of(self._script).values())
        now = _digests(self._paths)
        return {path: list(dict.fromkeys((self._first.get(path, digest), digest))) for path, digest in now.items()}


def other_versions(versions: Versions) -> str:
    """What this node should have another version of, in a sentence without its subject; empty if all is the same."""
    files = [path for path, digests in versions.items() if _is_other(path, digests)]
    if not files:
        return ""
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    it = "it" if len(files) == 1 else "them"
    return (
        f"its {', '.join(files[:NAMED])}{more} {'differs' if len(files) == 1 else 'differ'} from the driver's. Copy {it} there: "
        f"rsync -aR {shlex.join(files[:NAMED])} {socket.gethostname()}:/"
    )


def _is_other(path: str, digests: Collection[str]) -> bool:
    try:
        if _digest(path, *_state(path)) in digests:
            return False
        # Over a network disk the state of a file may be old; who opens it gets the present one.
        return _read(path) not in digests
    except OSError:
        return False


def _paths(sources: Iterable[Mapping[str, str]]) -> set[str]:
    return {each["path"] for each in sources if each["path"]}


def _sent() -> set[str]:
    """The files of the modules whose functions and classes are pickled themselves, not by their names."""
    names = {"__main__", *list_registry_pickle_by_value()}
    modules = [
        module for name, module in list(sys.modules.items())
        if any(name == own or name.startswith(f"{own}.") for own in names)
    ]  # fmt: skip
    return {str(Path(file).absolute()) for each in modules if (file := getattr(each, "__file__", None))}


def _digests(paths: Iterable[str]) -> dict[str, str]:
    found = {}
    for path in sorted(paths):
        with contextlib.suppress(OSError):
            time, size = _state(path)
            if size < LARGEST:
                found[path] = _digest(path, time, size)
    return found


def _stamps(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            found[path] = _state(path)
    return found


def _state(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2 * MOST)
def _digest(path: str, time: int, size: int) -> str:
    """`time`, `size`: the state of the file, which is read again in another one."""
    return _read(path)


def _read(path: str) -> str:
    """The digest of its text: the ends of lines may differ between two copies."""
    return hashlib.sha256(Path(path).read_bytes().replace(b"\r\n", b"\n")).hexdigest()
