"""The user's own files that a command starts, so that a resume can say which of them were edited since."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from pathlib import Path

from trainables.scripts.entry_point import entry_point, is_program, module_file
from trainables.scripts.flags import SHELLS
from trainables.scripts.programs import MAKES, RUNNERS
from trainables.source_files import source

_ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # in the folder of one


def started_files(command: str) -> list[Path]:
    """The files of the user's that a command starts, as far as they can be read: its own program, the scripts and modules
    that it names, by a console script, too, and those that its shell script or makefile names."""
    words = shlex.split(command)
    found = [Path(word) for word in words if Path(word).suffix in RUNNERS and os.path.isfile(word)]
    if (entry := entry_point(words)) is not None:
        found.append(entry.path)
    found += _program(words)
    texts = [(source(path) or "", Path()) for path in found if path.suffix != ".py"]
    texts += [(word, Path()) for word in words if " " in word]  # sh -c '…'
    if (makefile := _makefile(words)) is not None:
        path, folder = makefile
        found.append(path)
        texts.append((source(path) or "", folder))
    found += [path for text, folder in texts for path in _started_by(text, folder)]
    return [path for path in dict.fromkeys(found) if os.path.isfile(path) and os.access(path, os.R_OK)]


def _started_by(text: str, folder: Path) -> list[Path]:
    """The Python files that the text of a shell script or a makefile names, which runs in `folder`."""
    files = [folder / word for word in re.findall(r"[\w./-]+\.py\b", text)]
    modules = [module_file(word) for word in re.findall(r"(?<=\s-m )\s*([\w.]+)", text)]
    return [*files, *(path for path in modules if path is not None)]


def _program(words: list[str]) -> list[Path]:
    """The program of the command, if it is the user's: below the working folder, and of no environment."""
    named = [
        Path(word)
        for place, word in enumerate(words)
        if "/" in word and (is_program(words, place) or Path(words[place - 1]).name in SHELLS)
    ]
    found = [path for path in named if not path.is_absolute() and os.path.isfile(path) and os.access(path, os.X_OK)]
    return [
        path for path in found[:1] if not any((each / mark).exists() for each in path.parents for mark in _ENVIRONMENT)
    ]


def _makefile(words: list[str]) -> tuple[Path, Path] | None:
    """The makefile of `make …`, and the folder in which it runs."""
    if not any(Path(word).name in MAKES for word in words):
        return None
    after = dict(itertools.pairwise(words))
    folder = Path(after.get("-C", "."))
    names = [after["-f"]] if "-f" in after else ["GNUmakefile", "makefile", "Makefile"]
    return next(((folder / name, folder) for name in names if os.path.isfile(folder / name)), None)
