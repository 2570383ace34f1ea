"""How a shell finds the programs of this environment: by their names where its PATH leads to them, else by a path."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

NAME = "orchestrator"
_BY_NAME = ContextVar("by_name", default=False)


@contextmanager
def by_name() -> Iterator[None]:
    """Inside, commands have names without the paths of this machine: for a page that others read."""
    token = _BY_NAME.set(True)
    try:
        yield
    finally:
        _BY_NAME.reset(token)


def is_by_name() -> bool:
    return _BY_NAME.get()


def python_words(folder: Path | str = os.curdir) -> list[str]:
    """This Python, as one types it in a folder: its name, if PATH has it, else its path."""
    own = Path(sys.executable)
    if is_by_name():
        return ["python"]
    for name in ("python", own.name):
        found = Path(shutil.which(name) or "")
        if _is_same(found.parent, own.parent) and _is_same(found, own):  # environments may link to one file
            return [name]
    return [_path(own, folder)]


def orchestrator_words(*words: object) -> list[str]:
    """The command `orchestrator` of this environment with words after it, as one types it in this folder."""
    own, found = Path(sys.executable).with_name(NAME), shutil.which(NAME)
    if is_by_name() or (found and (_is_same(Path(found), own) or not own.exists())):
        program = [NAME]
    else:
        program = [_path(own)] if own.exists() else [*python_words(), "-m", NAME]
    return [*program, *map(str, words)]


def orchestrator_line(*words: object) -> str:
    """The same as text for a shell."""
    return shlex.join(orchestrator_words(*words))


def _is_same(file: Path, other: Path) -> bool:
    return os.path.realpath(file) == os.path.realpath(other)


def _path(file: Path, folder: Path | str = os.curdir) -> str:
    """A file's path: from a folder that it is in or below, else from the root."""
    short = os.path.relpath(file, folder)
    return str(file.absolute()) if short.startswith("..") else short
