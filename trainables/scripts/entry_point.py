"""The Python file that a command starts: a script, a module after -m, or a console script of the project.

A command may start it in another environment (`uv run train.py`, `.venv/bin/python -m pkg.train`, `poetry run my-train`).
What is found is the file that a user edits, below the working folder or its src/, not an installed copy of it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.import_places import places_of_command
from trainables.source_files import imported_files, source

_LAUNCHERS = {  # programs that start the one behind their options
    "uv", "poetry", "pipenv", "pdm", "pixi", "rye", "hatch", "conda", "mamba", "micromamba",
    "env", "nice", "nohup", "stdbuf", "time", "timeout", "numactl", "srun", "mpirun", "mpiexec",
}  # fmt: skip
_NAMES_ANOTHER = {"-n", "--name", "-e", "--env", "--environment", "--extra", "--group", "--package"}  # their options


@dataclass(frozen=True)
class EntryPoint:
    """`place`: the index of its word in the command's `words`. `path`: the file, which may be missing."""

    words: Sequence[str]
    place: int
    path: Path

    @property
    def text(self) -> str:
        """Its source; empty if there is no such file."""
        return source(self.path) or ""

    @property
    def texts(self) -> list[str]:
        """Its source, then those of the project's files that it imports."""
        script = self.path.absolute()
        places = [script.parent, *(place.absolute() for place in roots()), *places_of_command(self.words, script)]
        return [self.text, *(source(path) or "" for path in imported_files(script, places))]


def entry_point(words: Sequence[str]) -> EntryPoint | None:
    """The first Python script, module or console script among the words of a command."""
    scripts: Mapping[str, str] | None = None
    for place, word in enumerate(words):
        if word.endswith(".py") and not word.startswith("-"):
            return EntryPoint(words, place, Path(word))
        if word == "-c" and any(map(is_python, words[:place])):
            return None  # its own text trains
        if word == "-m" and place + 1 < len(words) and (path := module_file(words[place + 1])) is not None:
            return EntryPoint(words, place + 1, path)
        if is_program(words, place) and Path(word).parent.name in ("", "bin"):
            scripts = _console_scripts() if scripts is None else scripts
            module = scripts.get(Path(word).name, "").partition(":")[0]
            if module and (path := module_file(module)) is not None:
                return EntryPoint(words, place, path)
    return None


def is_python(program: str) -> bool:
    return bool(re.fullmatch(r"(?:python|pypy)[\d.]*", Path(program).name))


def is_program(words: Sequence[str], place: int) -> bool:
    """Whether the word there may be a program that the command starts, directly or by one such as `env` or `uv run`."""
    return place == 0 or (Path(words[0]).name in _LAUNCHERS and words[place - 1] not in _NAMES_ANOTHER)


def module_file(name: str) -> Path | None:
    """The file of a module of the project; None: it is no such module."""
    if not re.fullmatch(r"\w+(?:\.\w+)*", name):
        return None
    inside = Path(*name.split("."))
    files = (root / path for root in roots() for path in (inside.with_suffix(".py"), inside / "__main__.py"))
    return next((path for path in files if os.path.isfile(path)), None)


def module_name(path: Path) -> str:
    """The module of the project whose file it is, such as "pkg.train"; empty if it is no such module."""
    places = [(path.with_suffix("").absolute(), root.absolute()) for root in roots()]
    names = [".".join(file.relative_to(root).parts) for file, root in places if root in file.parents]
    return min((name for name in names if module_file(name) is not None), key=len, default="")


def roots() -> list[Path]:
    """The folders in which a project's own modules lie: the working folder, its src/, those of PYTHONPATH below it."""
    here = Path.cwd()
    named = [Path(place).absolute() for place in os.environ.get("PYTHONPATH", "").split(os.pathsep) if place]
    return [Path(), Path("src"), *(place.relative_to(here) for place in named if here in place.parents)]


def _console_scripts() -> Mapping[str, str]:
    """The commands that the project in the working folder installs, such as {"my-train": "my.cli:main"}."""
    if sys.version_info >= (3, 11):  # older ones have no tomllib
        import tomllib

        try:
            project: Any = tomllib.loads(Path("pyproject.toml").read_text())
            tables = (project.get("project", {}), project.get("tool", {}).get("poetry", {}))
            scripts = [script for table in tables for script in table.get("scripts", {}).items()]
            return {name: place for name, place in scripts if isinstance(place, str)}
        except (OSError, ValueError, AttributeError):
            pass
    return {}
