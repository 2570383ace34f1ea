"""The user's own files that a command starts, so that a resume can say which of them were edited since."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from pathlib import Path

from trainables.scripts.entry_point import entry_point, module_file

ENDINGS = (".py", ".sh", ".bash")
LARGEST = 1_000_000  # bytes of a file that is looked at


def started_files(command: str) -> list[Path]:
    """The files of the user's that a command starts: its own program, the scripts and modules that it names, by a console
    script, too, and those that its shell script or makefile names."""
    words = shlex.split(command)
    found = [Path(word) for word in words if Path(word).suffix in ENDINGS and Path(word).is_file()]
    if (entry := entry_point(words)) is not None and entry.path.is_file():
        found.append(entry.path)
    found += _programs(words)
    if (makefile := _makefile(words)) is not None:
        found.append(makefile)
    for path in list(found):
        if path.suffix != ".py" and path.stat().st_size < LARGEST:
            found += _started_by(path.read_text(errors="replace"))
    for text in (word for word in words if " " in word):  # sh -c '…'
        found += _started_by(text)
    return list(dict.fromkeys(found))


def _started_by(text: str) -> list[Path]:
    """The Python files that the text of a shell script or a makefile names."""
    files = [Path(word) for word in re.findall(r"[\w./-]+\.py\b", text)]
    modules = [module_file(word) for word in re.findall(r"(?<=\s-m )\s*([\w.]+)", text)]
    return [path for path in [*files, *modules] if path is not None and path.is_file()]


def _programs(words: list[str]) -> list[Path]:
    """The programs among the words that are the user's: below the working folder, and of no environment."""
    paths = [Path(word) for word in words if "/" in word and not word.startswith("/")]
    found = [path for path in paths if path.is_file() and os.access(path, os.X_OK)]
    return [path for path in found if not any((each / "pyvenv.cfg").is_file() for each in path.parents)]


def _makefile(words: list[str]) -> Path | None:
    """The makefile of `make …`."""
    if Path(words[0]).name not in ("make", "gmake"):
        return None
    after = dict(itertools.pairwise(words))
    folder = Path(after.get("-C", "."))
    names = [after["-f"]] if "-f" in after else ["GNUmakefile", "makefile", "Makefile"]
    return next((folder / name for name in names if (folder / name).is_file()), None)
