"""Why the program of a command cannot be started: it is missing, not executable, or its first line names no interpreter; or
there is no such module."""

from __future__ import annotations

import difflib
import importlib.util
import os
import shlex
import shutil
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from trainables.scripts.entry_point import entry_point, is_program, roots
from trainables.scripts.flags import nearest

RUNNERS = {  # of scripts, by their endings
    ".py": "python", ".sh": "bash", ".bash": "bash", ".R": "Rscript", ".jl": "julia", ".js": "node", ".lua": "lua",
    ".pl": "perl", ".rb": "ruby",
}  # fmt: skip
MAKES = ("make", "gmake")


def why_not_started(program: str) -> str:
    """What is wrong with the file that is a command's program, and what to write; empty if nothing is, or there is none."""
    found = shutil.which(program)
    path = Path(found or program)
    if not os.path.isfile(path):
        return ""
    runner, first = RUNNERS.get(path.suffix), _first_line(path)
    run = f"{runner or 'bash'} {shlex.quote(program)}"
    if runner and not first.startswith("#!"):
        return f"{program!r} cannot be started by itself, as its first line names no interpreter (#!…). Write '{run}'."
    if found is None and not os.access(path, os.X_OK):
        return f"{program!r} exists but is not executable: chmod +x {shlex.quote(program)}"
    if missing := _missing_interpreter(first):
        other = f", or write '{run}'" if runner else ""
        return f"{program!r} cannot be started: its first line names {missing}. Correct the line{other}."
    return ""


def no_program(program: str) -> str:
    """That a program is missing, where it was looked for, and the one that was probably meant."""
    if "/" not in program:
        return f"there is no program {program!r} on the PATH; install it, or give its path, such as ./{program}."
    place = Path(program).parent
    beside = [path.name for path in place.glob("*") if path.is_file() and os.access(path, os.X_OK)]
    close = difflib.get_close_matches(Path(program).name, beside, n=1)
    remedy = (
        f"Did you mean {os.path.join(os.path.dirname(program), close[0])!r}?"
        if close
        else f"Give its full path{'' if os.path.isabs(program) else ', or start in the folder of the script'}."
    )
    return f"there is no program {program!r} in {Path.cwd()}. {remedy}"


def refuse_missing_module(words: Sequence[str]) -> None:
    """Raise ValueError if a module of a package that is in this folder is not there; of other packages nobody knows."""
    before = list(takewhile(lambda word: word != "-m", words))
    if len(words) < len(before) + 2 or entry_point(before) is not None:  # -m is an option of the script
        return
    module = words[len(before) + 1]
    package, *others = module.split(".")
    root = next((root for root in roots() if any((root / package).glob("*.py"))), None)
    if not others or not package or root is None:  # "./model" is no module
        return
    installed = importlib.util.find_spec(package)
    if installed is not None and installed.origin is not None and not (root / package / "__init__.py").is_file():
        return  # it comes before a folder of its name without that file
    place = root.joinpath(*module.split("."))
    if any(place.parent.glob(f"{place.name}.*")) or place.is_dir():  # an extension of Python is a module, too
        return
    found = sorted(path.stem for path in place.parent.glob("*.py") if path.stem != "__init__")
    near = nearest(place.name, found)
    hint = f" Did you mean {'.'.join([*module.split('.')[:-1], near])!r}?" if near else ""
    raise ValueError(f"there is no module {module!r} in {Path.cwd() / root}.{hint}")


def _first_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.readline(1000).decode(errors="replace").rstrip("\n")
    except OSError:  # executable, and not readable
        return "#!"


def _missing_interpreter(first: str) -> str:
    """In words, the interpreter that a first line `#!…` names and that is not there; empty if it is, or none is named."""
    words = first.removeprefix("#!").strip(" \t").split(" ") if first.startswith("#!") else [""]
    name = words[0]
    if name and not Path(name).exists():
        missing = f"the interpreter {name!r}, which is not there"
    elif Path(name).name == "env" and len(words) == 2 and shutil.which(words[1]) is None:
        missing = f"the program {words[1]!r}, which is not on the PATH"
    else:
        return ""
    return missing + " (the file has line ends of Windows)" * first.endswith("\r")


def refused_by_make(command: str, names: Sequence[str]) -> str:
    """What is wrong if the command is make's, which takes no flags but its own; else empty. `names`: parameters for flags."""
    words = shlex.split(command)
    makes = [place for place, word in enumerate(words) if Path(word).name in MAKES]
    if not names or not any(is_program(words, place) for place in makes):
        return ""
    return (
        f"{command!r}: make takes variables and no flags, so the parameter {names[0]!r} would be refused. "
        "Write Script(flag='{name}={value}')."
    )
