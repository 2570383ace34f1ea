"""The user's files that a training is made of, so that a resume can say which of them were edited since.

A script that the command names, what it imports of the user's modules, the config files that it starts from, and the source
of a function or a class of the user's, with that of the values, functions and classes of its module that it uses. Imports
are read, not carried out: what a program loads by name at run time, and installed packages, are not seen. Nor is what runs
in a container or on another machine.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import inspect
import shlex
import sys
import textwrap
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from orchestrator.definition.cells import python_of
from orchestrator.definition.module_level import top_level
from orchestrator.definition.used import Use, use_of_code, used
from trainables.contract import CommandLine, OwnTraining, Policy
from trainables.import_places import places_here, places_of_command
from trainables.source_files import OURS, imported_files, source

EDITED = "edited"  # kind of the events that say with which other files than its sweep's a trial has started

Source = dict[str, str]
"""The file's "path" ("" for a function of a notebook), and the "sha256" of its content; of Python, the digest of its "code"
without comments, docstrings and layout; the "text" of a short value; the "rules" by which its text was found."""

_RULES, _NEW_RULES = "1", "2"  # as release 0.1.0 did, which noted none, and in another way
_OF_NOTHING = hashlib.sha256(b"").hexdigest()  # what older releases noted of an object that is called


def sources_of(workload: Any) -> dict[str, Source]:
    """Name → file: scripts by their names, the modules beside them by their paths from there, functions by "name()"."""
    if isinstance(workload, CommandLine):
        paths = list(dict.fromkeys(workload.files()))
        found: dict[str, Source] = {}
        for path in paths:  # of two files of one name, the second goes by its path
            is_other = path.name in found and found[path.name]["path"] != str(path.absolute())
            found[path.as_posix() if is_other else path.name] = _of_file(path)
        for path in paths:
            places = places_of_command(shlex.split(workload.command), path)
            found |= _beside(path, places) if path.suffix == ".py" else {}
        return found
    code = getattr(workload, "train", None) if isinstance(workload, OwnTraining) else None
    return sources_of_code(code if callable(code) else type(workload))


def sources_of_policy(policy: Any) -> dict[str, Source]:
    """The same of a policy, or of the function that makes it, and of the policies that it wraps; empty for ours."""
    if policy is None:
        return {}
    found = sources_of_code(type(policy) if isinstance(policy, Policy) else policy)
    for each in fields(policy) if is_dataclass(policy) and not isinstance(policy, type) else ():
        inner = getattr(policy, each.name)
        found |= sources_of_policy(inner) if isinstance(inner, Policy) else {}
    return found


def sources_of_code(code: Any) -> dict[str, Source]:
    """The same of a function, a class or an object that is called; empty for ours."""
    given: dict[str, Any] = {}
    while isinstance(code, functools.partial):
        given = _arguments(code) | given
        code = code.func
    if not hasattr(code, "__qualname__"):
        code = type(code)
    if (getattr(code, "__module__", None) or "").partition(".")[0] in OURS:
        return {}
    place = _place(code)
    module = top_level(_texts(code, place))
    if isinstance(code, types.MethodType) and not isinstance(code.__self__, type):
        given["self"] = code.__self__
    uses = {f"{code.__qualname__}()": use_of_code(code, module), **used(code, module, given)}
    found = {name: _of_use(place, use) for name, use in uses.items()}
    return found | (_beside(Path(place), places_here()) if place else {})


def _arguments(given: functools.partial[Any]) -> dict[str, Any]:
    """Argument → value."""
    names: list[str] = []
    with contextlib.suppress(TypeError, ValueError):  # it has no signature
        names = list(inspect.signature(given.func).parameters)
    names += [str(place) for place in range(len(names) + 1, len(given.args) + 1)]
    return dict(zip(names, given.args, strict=False)) | given.keywords


def _place(code: Any) -> str:
    """The file that a function or class is written in; empty if it was typed at a prompt or in a notebook."""
    with contextlib.suppress(OSError, TypeError):
        file = inspect.getsourcefile(code)
        if file and Path(file).is_file():
            return str(Path(file).absolute())
    return ""


def _texts(code: Any, place: str) -> tuple[tuple[str, bool], ...]:
    """The module's text; of a notebook, its cells in the order in which they ran, and whether a magic runs code there."""
    if place:
        return ((source(Path(place)) or "", False),)
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    is_cell = shell is not None and getattr(code, "__module__", None) == "__main__"
    return (
        tuple(python_of(each, shell.transform_cell) for each in shell.history_manager.input_hist_parsed)
        if is_cell
        else ()
    )


def edited(before: Mapping[str, Source], after: Mapping[str, Source]) -> dict[str, tuple[Source, Source]]:
    """The files in both whose content differs, in Python by more than comments, docstrings and layout: name → before, after."""
    both = {name: (old, after[name]) for name, old in before.items() if name in after}
    return {
        name: (old, new)
        for name, (old, new) in both.items()
        if old["sha256"] != new["sha256"]
        and not ("code" in old and old["code"] == new.get("code"))
        and not (old["sha256"] == _OF_NOTHING and name.isidentifier())
        and not (new.get("rules") == _NEW_RULES and "rules" not in old)
    }


def edits_told(edits: Mapping[str, tuple[Source, Source]]) -> list[str]:
    """What was edited, each in words: with its values if they are short.

    >>> edits_told({"RATE": ({"text": "0.1"}, {"text": "0.2"}), "train()": ({}, {})})
    ['RATE: 0.1 → 0.2', 'train() was edited']
    """
    return [
        f"{name}: {old['text']} → {new['text']}"
        if "text" in old and "text" in new and old["text"] != new["text"]
        else f"{name} was edited"
        for name, (old, new) in edits.items()
    ]


def _beside(script: Path, places: list[Path]) -> dict[str, Source]:
    """The user's modules that it imports, and those that they do: from the script's folder, or the package that it is part
    of, and from the `places`. Of two with one name the second goes by its path."""
    script = script.absolute()
    own = _roots(script)
    roots = list(dict.fromkeys([*own, *places]))
    found: dict[str, Source] = {}
    for path in imported_files(script, roots):
        name = _short(path, roots)
        is_new = not any(root in path.parents for root in own)
        found[path.as_posix() if is_new and name in found else name] = _of_file(path)
    return found


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
    content = path.read_bytes()
    found = {"path": str(path.absolute()), "sha256": hashlib.sha256(content).hexdigest()}
    return found | (_code(content.decode(errors="replace")) if path.suffix == ".py" else {})


def _of_use(place: str, use: Use) -> Source:
    found = {"path": place, "sha256": hashlib.sha256(use.text.encode()).hexdigest()}
    found["rules"] = _NEW_RULES if use.is_new else _RULES
    return found | _code(textwrap.dedent(use.text)) | ({"text": use.value} if use.value else {})


@functools.lru_cache(maxsize=4096)  # 20 ms for a file
def _code(text: str) -> Source:
    """The digest of the parsed text, docstrings only where one is read (docopt's); nothing if it is no complete Python."""
    try:
        parsed = ast.parse(text)
        if "__doc__" not in text:
            _drop_docstrings(parsed)
        return {"code": hashlib.sha256(ast.dump(parsed).encode(errors="replace")).hexdigest()}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _drop_docstrings(parsed: ast.Module) -> None:
    for node in ast.walk(parsed):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                    node.body = rest
