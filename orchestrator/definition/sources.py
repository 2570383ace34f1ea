"""The user's files that a training is made of, so that a resume can say which of them were edited since.

A script that the command names, what it imports from its own folder, the config files that it starts from, and the source of
a function or a class of the user's. Imports are read, not carried out: what a program loads by name at run time, and
installed packages, are not seen. Nor is what runs in a container or on another machine.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import tokenize
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.definition.identity import substance
from trainables.contract import CommandLine, OwnTraining
from trainables.source_files import OURS, imported_files

EDITED = "edited"  # kind of the events that say with which other files than its sweep's a trial has started

Source = dict[str, str]
"""The file's "path" ("" for a function of a notebook), and the "sha256" of its content."""


def sources_of(workload: Any) -> dict[str, Source]:
    """Name → file: scripts by their names, the modules beside them by their paths from there, functions by "name()"."""
    if isinstance(workload, CommandLine):
        paths = list(dict.fromkeys(workload.files()))
        found: dict[str, Source] = {}
        for path in paths:  # of two files of one name, the second goes by its path
            is_other = path.name in found and found[path.name]["path"] != str(path.absolute())
            found[path.as_posix() if is_other else path.name] = _of_file(path)
        for path in paths:
            found |= _beside(path) if path.suffix == ".py" else {}
        return found
    code = getattr(workload, "train", None) if isinstance(workload, OwnTraining) else None
    code = code if callable(code) else type(workload)
    while isinstance(code, functools.partial):
        code = code.func
    if not hasattr(code, "__qualname__"):  # an object that is called
        code = type(code)
    return sources_of_code(code)


def sources_of_code(code: Any) -> dict[str, Source]:
    """The same of a function or a class; empty for ours."""
    if (getattr(code, "__module__", None) or "").partition(".")[0] in OURS:
        return {}
    place, found = _place(code), {}
    for name, each in {f"{code.__qualname__}()": code, **_used(code)}.items():
        found[name] = {"path": place, "sha256": hashlib.sha256(_text(each).encode()).hexdigest()}
    return found | (_beside(Path(place)) if place else {})


def _place(code: Any) -> str:
    """The file that a function or class is written in; empty if it was typed at a prompt or in a notebook."""
    with contextlib.suppress(OSError, TypeError):
        file = inspect.getsourcefile(code)
        if file and Path(file).is_file():
            return str(Path(file).absolute())
    return ""


def _text(code: Any) -> str:
    """The source of a function or class; where there is none, what Python has compiled of it."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return "\n".join(f"{method.__name__}{substance(method.__code__)}" for method in _functions(code))


def _functions(code: Any) -> list[Any]:
    """The methods of a class, or the function itself."""
    each = vars(code).values() if isinstance(code, type) else [code]
    return [method for method in each if hasattr(method, "__code__")]


def _used(code: Any) -> dict[str, Any]:
    """The functions and classes of the same module that a function uses, and those that these use: name → object."""
    found: dict[str, Any] = {}
    waiting = [code]
    while waiting:
        each = waiting.pop()
        for function in _functions(each):
            for name in _names(function.__code__):
                other = function.__globals__.get(name)
                own = callable(other) and getattr(other, "__module__", None) == getattr(code, "__module__", "")
                if own and other is not code and name not in found:
                    found[name] = other
                    waiting.append(other)
    return found


def _names(code: types.CodeType) -> set[str]:
    """The global names in a function's code, inner functions included."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def edited(before: Mapping[str, Source], after: Mapping[str, Source]) -> dict[str, tuple[Source, Source]]:
    """The files in both whose content differs: name → before, after."""
    both = {name: (old, after[name]) for name, old in before.items() if name in after}
    return {name: (old, new) for name, (old, new) in both.items() if old["sha256"] != new["sha256"]}


def _beside(script: Path) -> dict[str, Source]:
    """The modules in the script's folder, or in the package that it is part of, that it imports, and those that they do."""
    script = script.absolute()
    roots = _roots(script)
    return {_short(path, roots): _of_file(path) for path in imported_files(script, roots)}


def _roots(script: Path) -> list[Path]:
    """The folders in which its imports are looked up: its own; of a module in a package, also the one above the package."""
    above = script.parent
    while (above / "__init__.py").is_file() and above != above.parent:
        above = above.parent
    more = [Path.cwd(), Path.cwd() / "src"]  # for -m with a package without __init__.py
    return list(dict.fromkeys([script.parent, above, *(root for root in more if root in above.parents)]))


def _short(path: Path, roots: list[Path]) -> str:
    return next(path.relative_to(root).as_posix() for root in roots if root in path.parents)


def _of_file(path: Path) -> Source:
    return {"path": str(path.absolute()), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
