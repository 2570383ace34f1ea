"""The text of a source, and the files of the project that a Python script imports by it: none runs, no library is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

LARGEST = 1_000_000  # bytes of a source that is looked at
MOST = 300  # files to look at
OURS = ("orchestrator", "trainables", "search")  # packages whose files are not the user's
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<dots>\.*)(?P<module>[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|(?:.*\\\n)*.*)|import[ \t]+(?P<modules>(?:.*\\\n)*.*))",
    re.M,
)


def source(path: Path) -> str | None:
    """The text of a file; None if there is none that can be read, or it is too large for a source."""
    try:  # a word of a command may be no name of a file: too long, or in a folder that is closed to us
        return path.read_text(errors="replace") if path.is_file() and path.stat().st_size < LARGEST else None
    except OSError:
        return None


def imported_files(script: Path, places: Sequence[Path]) -> list[Path]:
    """The files below the `places` that the script imports, directly or by others of them; only the first of very many.

    Of two modules with one name, that in the first place counts, as for Python.
    """
    found, waiting = dict[Path, None](), [script]
    known: dict[str, tuple[bool, list[Path]]] = {}  # path without an ending → whether it is a folder, and its files
    while waiting and len(found) < MOST:
        path = waiting.pop(0)
        for folder, parts in _imported(path, *_state(path)):
            if folder is None and parts and parts[0] in OURS:
                continue
            if folder is not None and not any(place in (folder, *folder.parents) for place in places):
                continue
            ways = (_files(place, parts, known) for place in (places if folder is None else [folder]))
            new = [file for file in next(filter(None, ways), []) if file != script and file not in found]
            found |= dict.fromkeys(new)
            waiting += new
    return list(found)


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = os.stat(path)
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2 * MOST)
def _imported(path: Path, time: int, size: int) -> list[tuple[Path | None, list[str]]]:
    """The modules that a file imports, part by part, each with the folder that its dots stand for; `time`, `size`: the
    state of the file, which is read again in another one."""
    return list(_imports(source(path) or "", path))


def _imports(text: str, path: Path) -> Iterator[tuple[Path | None, list[str]]]:
    for found in _IMPORT.finditer(text):
        if found["modules"]:
            yield from ((None, name.split(".")) for name in re.findall(r"(?:^|,)[\s\\]*([\w.]+)", found["modules"]))
            continue
        folder = path.parents[min(len(found["dots"]), len(path.parents)) - 1] if found["dots"] else None
        parts = found["module"].split(".") if found["module"] else []
        yield folder, parts  # whose names may be modules in it
        yield from ((folder, [*parts, name]) for name in re.findall(r"\w+", found["names"]))


def _files(place: Path, parts: list[str], known: dict[str, tuple[bool, list[Path]]]) -> list[Path]:
    """The files of a module and of the packages around it; its last part may be a name in it."""
    inside, found = str(place), []
    for part in parts:
        inside = os.path.join(inside, part)
        if inside not in known:
            files = (f"{inside}.py", os.path.join(inside, "__init__.py"))
            known[inside] = os.path.isdir(inside), [Path(file) for file in files if os.path.isfile(file)]
        is_folder, files_here = known[inside]
        found += files_here
        if not is_folder:
            break
    return found
