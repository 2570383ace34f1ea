"""What a function or a class of the user's uses of its own module: functions, classes and values, and what these use."""

from __future__ import annotations

import contextlib
import inspect
import sys
import tokenize
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.definition.identity import substance
from orchestrator.definition.module_level import Statement, TopLevel, global_names

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Use:
    """`text` stands for what is used: if it changes, that was edited. `value`: of a short assignment, to be shown."""

    text: str
    value: str = ""


@dataclass(frozen=True)
class _Name:
    """A name, what it means now (None: unknown), and where it is bound: in the module, or in a function around its user."""

    name: str
    meaning: Any
    scope: TopLevel


def used(code: Any, module: TopLevel) -> dict[str, Use]:
    """Name → use. The names of a module are followed, as far as its source is known; attributes are not."""
    found: dict[str, Use] = {}
    waiting, seen = list(_names(code, module)), set[tuple[str, int]]()
    while waiting:
        each = waiting.pop(0)
        if (key := (each.name, id(each.scope))) in seen or any(
            each.meaning is one for one in (code, *_functions(code))
        ):
            continue
        seen.add(key)
        name, statements = each.name, each.scope.binding(each.name)
        waiting += _read({read for one in statements for read in one.reads}, each.scope, code, module)
        if _is_code(each.meaning) and getattr(each.meaning, "__module__", None) == getattr(code, "__module__", ""):
            found.setdefault(name, Use(source_of(each.meaning)))
            waiting += _names(each.meaning, module)
            if statements and hasattr(each.meaning, "__wrapped__"):  # step = compiled(step, fast=True)
                found.setdefault(f"{name} = …", _use_of(statements))
        elif statements:
            found.setdefault(name, _use_of(statements))
        elif definition := each.scope.definition(name):  # by a decorator no longer a function of this module
            found.setdefault(name, Use(definition))
            waiting += _read(each.scope.reads(name), each.scope, code, module)
        elif each.scope is not module and type(each.meaning) in PLAIN:  # what the function around it was given
            found.setdefault(name, Use(repr(each.meaning), repr(each.meaning)))
    return found


def source_of(code: Any) -> str:
    """The source of a function or class; where there is none, what Python has compiled of it."""
    try:
        return inspect.getsource(code)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        return "\n".join(f"{method.__name__}{substance(method.__code__)}" for method in _functions(code))


def _use_of(statements: list[Statement]) -> Use:
    return Use("\n".join(each.text for each in statements), statements[0].value if len(statements) == 1 else "")


def _is_code(meaning: Any) -> bool:
    """Whether it is a function or a class; asks no object of the user's, which may answer anything with an error."""
    kinds = (type, types.FunctionType)
    return issubclass(type(meaning), kinds) or inspect.getattr_static(meaning, "__wrapped__", None) is not None


def _names(code: Any, module: TopLevel) -> Iterator[_Name]:
    """The names that a function or a class uses directly."""
    functions = _functions(code)
    names = {name for each in functions for name in global_names(each.__code__)}
    qualname = getattr(code, "__qualname__", "")
    place, _, inner = qualname.partition(".")
    if "<locals>" not in qualname:
        names |= module.reads(place) | ({place} if inner else set())
    yield from _read(names, module, code, module)
    for each in functions:
        around = module.inside(each.__qualname__)
        for name, cell in zip(each.__code__.co_freevars, getattr(each, "__closure__", None) or (), strict=False):
            with contextlib.suppress(ValueError):  # nothing in it yet
                if cell.cell_contents is not getattr(each, "__wrapped__", None):
                    yield _Name(name, cell.cell_contents, around)


def _read(names: set[str] | frozenset[str], scope: TopLevel, code: Any, module: TopLevel) -> Iterator[_Name]:
    """The `names` as they are read in a scope: of a function's own, or of the module."""
    known = _globals(code)
    for name in sorted(names):
        if scope is not module and scope.knows(name):
            yield _Name(name, None, scope)
        else:
            yield _Name(name, known.get(name), module)


def _globals(code: Any) -> dict[str, Any]:
    name = getattr(code, "__module__", None) or ""
    for each in _functions(code):
        if each.__globals__.get("__name__") == name:  # not of a wrapper from another module
            return dict(each.__globals__)
    return dict(vars(sys.modules[name])) if name in sys.modules else {}


def _functions(code: Any) -> list[Any]:
    """The methods of a class, or the function itself, and what is wrapped in it."""
    each = list(vars(code).values()) if isinstance(code, type) else [code]
    with contextlib.suppress(ValueError):  # a circle of wrappers
        each += [inspect.unwrap(code)] if hasattr(code, "__wrapped__") else []
    return [method for method in each if isinstance(getattr(method, "__code__", None), types.CodeType)]
