"""What a program has set in a module of the user's does not reach the trials, whose processes import the module anew.

Compared are values of which the module's source gives one literal (`RATE = 1.0`), in the module or in the body of a class,
and that no module changes by itself. What is computed is not looked at.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from textwrap import shorten
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from orchestrator.definition.identity import substance
from trainables.contract import CommandLine, OwnTraining
from trainables.global_values import Global, globals_of, is_users
from trainables.source_files import source

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

_CHANGES = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "sort",
    "update",
}  # fmt: skip
_PLAIN = (bool, int, float, str, bytes, list, tuple, dict, set)
_NOTHING = object()


def warnings(sweep: Sweep, *, simulated: bool = False) -> list[str]:
    """One sentence for each value; of a sweep `simulated` in this process, also for each module that was edited since."""
    workload = sweep.workload
    if isinstance(workload, CommandLine):
        return []
    found, functions = globals_of(getattr(workload, "train", type(workload)))
    is_here = simulated and not (isinstance(workload, OwnTraining) and workload.has_own_process)
    told = [_of_value(*each, is_here) for each in _set_here(found)]
    return [*told, *(_edited_since(functions) if is_here else ())]


def _of_value(name: str, here: Any, file: str, there: Any, is_here: bool) -> str:
    here, there = (shorten(repr(each), 60, placeholder=" …") for each in (here, there))
    if is_here:
        return (
            f"{name} is {here} in this program and {there} in {file}: a simulated sweep trains in this process, with {here}, and "
            f"any other with {there}. Set it inside the training"
        )
    return (
        f"{name} is {here} in this program and {there} in {file}, which the process of each trial imports: trials train with "
        f"{there}. Make it a fixed parameter of the space, or set it inside the training"
    )


def _set_here(found: Iterable[Global]) -> Iterator[tuple[str, Any, str, Any]]:
    """Name, present value, file and literal of each value that differs."""
    for each in found:
        module = _imported_anew(each.module)
        if module is None or not each.path:
            continue
        here, there = each.read(), _literal(_parsed(_text(module)), each.path)
        if there is _NOTHING or type(here) not in _PLAIN or (not there and isinstance(there, (list, dict, set))):
            continue  # a registry begins empty
        if here != there and here == here and not _is_changed_by_a_module(each.path):
            name = ".".join(each.path)
            yield f"{each.module}.{name}", here, Path(str(module.__file__)).name, there


def _imported_anew(name: str) -> ModuleType | None:
    """The module of this name, if a trial's process imports it by the name, and its source is there."""
    module, sent = sys.modules.get(name), ("__main__", *cloudpickle.list_registry_pickle_by_value())
    if (
        isinstance(module, ModuleType)
        and module is not sys.modules["__main__"]  # which may have a second name
        and not any(name == own or name.startswith(f"{own}.") for own in sent)
        and (getattr(module, "__file__", None) or "").endswith(".py")
        and is_users(name)
    ):
        return module
    return None


def _is_changed_by_a_module(path: tuple[str, ...]) -> bool:
    """Whether one of the user's modules changes a value of these names by itself. To parse all of them takes long."""
    modules = (_imported_anew(name) for name in list(sys.modules))
    return any(_changed_by(_text(module)) & set(path) for module in modules if module is not None)


def _text(module: ModuleType) -> str:
    return source(Path(str(module.__file__))) or ""


@lru_cache(maxsize=16)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return ast.Module([], [])


@lru_cache(maxsize=4096)
def _changed_by(text: str) -> frozenset[str]:
    """The names that a source changes, wherever they belong: `global X`, `conf.X = …`, `X[…] = …`, `X.append(…)`."""
    changed: set[str] = set()
    for node in ast.walk(_parsed(text)):
        match node:
            case ast.Global(names=names):
                changed |= set(names)
            case ast.Attribute(value=ast.Name(id=owner), attr=name, ctx=ast.Store()):
                changed |= {name} if owner not in ("self", "cls") else set()
            case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), ctx=ast.Store() | ast.Del()):
                changed.add(name)
            case ast.AugAssign(target=ast.Name(id=name) | ast.Attribute(attr=name)):
                changed.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name) | ast.Attribute(attr=name), attr=method)):
                changed |= {name} if method in _CHANGES else set()
    return frozenset(changed)


def _literal(parsed: ast.Module, path: tuple[str, ...]) -> Any:
    """The value of the one plain assignment to this name; `_NOTHING` if it is bound otherwise."""
    body: list[ast.stmt] = parsed.body
    for name in path[:-1]:
        kinds = [each for each in body if isinstance(each, ast.ClassDef) and each.name == name]
        if len(kinds) != 1:
            return _NOTHING
        body = kinds[0].body
    bound = [each for each in _bindings(body) if each[0] == path[-1]]
    if len(bound) != 1 or bound[0][1] is None:
        return _NOTHING
    try:
        return ast.literal_eval(bound[0][1])
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr | None]]:
    """The names that a body binds, each with the expression of a plain assignment."""
    for each in body:
        match each:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                yield name, value
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, None
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (((alias.asname or alias.name).partition(".")[0], None) for alias in names)
            case _:
                stored = (
                    node for node in ast.walk(each) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                )
                yield from ((node.id, None) for node in stored)


def _edited_since(functions: Iterable[FunctionType]) -> Iterator[str]:
    """A sentence for each file whose functions are others than those that were imported from it."""
    edited: dict[str, ModuleType] = {}
    for function in functions:
        module = _imported_anew(function.__module__ or "")
        if module is not None and function.__code__.co_filename == module.__file__:
            written = _written(source(Path(module.__file__)) or "")
            if written and substance(function.__code__) not in written:
                edited[module.__name__] = module
    for name, module in edited.items():
        file = Path(str(module.__file__)).name
        yield (
            f"{file} was edited after this program had imported it, and a simulated sweep trains in this process, with the code as "
            f"imported: restart the program (the kernel of a notebook), or reload {name}"
        )


@lru_cache(maxsize=64)
def _written(text: str) -> frozenset[str]:
    """What each function of a source is compiled to; empty if it cannot be."""
    try:
        waiting = [compile(text, "<source>", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):
        return frozenset()
    found: set[str] = set()
    while waiting:
        code = waiting.pop()
        found.add(substance(code))
        waiting += [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(found)
