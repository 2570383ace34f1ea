"""The files of the project that a Python script imports, by its text: none of them runs, and no library is looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from trainables.scripts.entry_point import roots, source

MOST = 300  # files to look at
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<dots>\.*)(?P<module>[\w.]*)[ \t]+import[ \t]+(?P<names>\([^)]*\)|.*)|import[ \t]+(?P<modules>.*))",
    re.M,
)


def imported_files(script: Path) -> list[Path]:
    """The script and the project's files that it imports, directly or by others of them; only the first of very many."""
    found, waiting, places = {script: None}, [script], [script.parent, *roots()]
    known: dict[str, bool] = {}  # path without an ending → whether it is a folder, which was looked at
    while waiting and len(found) < MOST:
        path = waiting.pop(0)
        for folder, parts in _imported(path, *_state(path)):
            for place in places if folder is None else [folder]:
                new = [other for other in _files(place, parts, known) if other not in found]
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
            yield from ((None, each.split()[0].split(".")) for each in found["modules"].split(",") if each.strip())
            continue
        folder = path.parents[min(len(found["dots"]), len(path.parents)) - 1] if found["dots"] else None
        parts = found["module"].split(".") if found["module"] else []
        yield folder, parts  # whose names may be modules in it
        yield from ((folder, [*parts, name]) for name in re.findall(r"\w+", found["names"]))


def _files(place: Path, parts: list[str], known: dict[str, bool]) -> Iterator[Path]:
    """The files of a module and of the packages around it, but for those already known; its last part may be a name in it."""
    inside = str(place)
    for part in parts:
        inside = os.path.join(inside, part)
        if inside not in known:
            known[inside] = os.path.isdir(inside)
            files = (f"{inside}.py", os.path.join(inside, "__init__.py"))
            yield from (Path(file) for file in files[: 1 + known[inside]] if os.path.isfile(file))
        if not known[inside]:
            return
