"""What a function or a class of the user's uses of its own module: functions, classes and values, and what these use."""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
import textwrap
import tokenize
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.definition.content import PLAIN, content
from orchestrator.definition.identity import substance
from orchestrator.definition.module_level import Statement, TopLevel, global_names
from orchestrator.secrets import is_secret

_LONGEST = 40  # characters of a value that is shown
_GIVEN = TopLevel()  # the scope of what a function was given: arguments and their defaults


@dataclass(frozen=True)
class Use:
    """`text` stands for what is used: if it changes, that was edited. `value`: of a short assignment, to be shown.
    `is_new`: release 0.1.0 took another text."""

    text: str
    value: str = ""
    is_new: bool = False


@dataclass(frozen=True)
class _Name:
    """A name, what it means now (None: unknown), and where it is bound: in the module, or in a function around its user."""

    name: str
    meaning: Any
    scope: TopLevel


def used(code: Any, module: TopLevel, given: Mapping[str, Any]) -> dict[str, Use]:
    """Name → use. The names of a module are followed, as far as its source is known; attributes are not.
    `given`: the arguments that `code` was given before, by `functools.partial` or as a bound method."""
    found: dict[str, Use] = {}
    waiting, seen = [*_names(code, module), *_given(code, given)], set[tuple[str, int]]()
    while waiting:
        each = waiting.pop(0)
        if (key := (each.name, id(each.scope))) in seen or any(
            each.meaning is one for one in (code, *_functions(code))
        ):
            continue
        seen.add(key)
        name, statements = each.name, each.scope.binding(each.name)
        is_new = each.scope.is_new(name)
        waiting += _read({read for one in statements for read in one.reads}, each.scope, code, module)
        if _is_code(each.meaning) and getattr(each.meaning, "__module__", None) == getattr(code, "__module__", ""):
            is_class = isinstance(each.meaning, type)
            changes = [
                one for one in statements if one.is_repeatable or (is_class and not one.is_fresh)
            ]  # CFG.gain = 2.0
            use = use_of_code(each.meaning, module, statements)
            waiting += _names(each.meaning, module)
            if statements and hasattr(each.meaning, "__wrapped__"):  # step = compiled(step, fast=True)
                found.setdefault(f"{name} = …", _use_of(statements, is_new))
            elif changes:
                use = Use("\n".join([use.text, *(one.text for one in changes)]), is_new=True)
            found.setdefault(name, use)
        elif statements:
            found.setdefault(name, _use_of(statements, is_new))
        elif definition := each.scope.definition(name):  # by a decorator no longer a function of this module
            found.setdefault(name, Use(definition))
            waiting += _read(each.scope.reads(name), each.scope, code, module)
        elif each.scope is not module:  # what it was given, or the function around it
            found.setdefault(name, _use_of_value(each.meaning, name))
            kind = type(each.meaning)
            if kind.__module__ == getattr(code, "__module__", ""):
                waiting.append(_Name(kind.__name__, kind, module))
    return found


def use_of_code(code: Any, module: TopLevel, statements: Sequence[Statement] = ()) -> Use:
    """The source of a function or class; where Python finds none, that of its definition, the `statements` that bind it, or
    what Python has compiled of it."""
    try:
        text = inspect.getsource(code)
        if getattr(code, "__name__", "") == "<lambda>":
            return Use(_lambda(text), is_new=True)
        return Use(text)
    except (OSError, TypeError, SyntaxError, tokenize.TokenError):
        _, _, name = code.__qualname__.rpartition(".<locals>.")
        scope = module if name == code.__qualname__ else module.inside(code.__qualname__)
        if definition := scope.definition(name.partition(".")[0]):
            return Use(definition, is_new=True)
        if statements:
            return replace(_use_of(statements), is_new=True)
        return Use("\n".join(f"{method.__name__}{substance(method.__code__)}" for method in _functions(code)))


def _lambda(text: str) -> str:
    """The lambda in its statement; the whole text if there are several, or the text is no statement."""
    text = textwrap.dedent(text)
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda)]
        return (ast.get_source_segment(text, found[0]) or text) if len(found) == 1 else text
    return text


def _use_of(statements: Sequence[Statement], is_new: bool = False) -> Use:
    text = "\n".join(each.text for each in statements)
    return Use(text, statements[0].value if len(statements) == 1 else "", is_new)


def _use_of_value(value: Any, name: str) -> Use:
    text = content(value).text
    is_shown = type(value) in PLAIN and len(text) <= _LONGEST and not is_secret(name.partition(" ")[0])
    return Use(text, text if is_shown else "")


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
    values = {name: value for each in functions for name, value in _default_values(each, module).items()}
    if "<locals>" not in qualname:
        names |= module.reads(place, values) | ({place} if inner else set())
    yield from _read(names, module, code, module)
    yield from _given(code, values)
    for each in functions:
        if isinstance(code, type) and not _is_written(each, code):
            continue
        around = module.inside(each.__qualname__)
        for name, cell in zip(each.__code__.co_freevars, getattr(each, "__closure__", None) or (), strict=False):
            with contextlib.suppress(ValueError):  # nothing in it yet
                if name == "__class__":  # of a method that calls super()
                    yield _Name(cell.cell_contents.__name__, cell.cell_contents, around)
                elif cell.cell_contents is not getattr(each, "__wrapped__", None):
                    yield _Name(name, cell.cell_contents, around)


def _is_written(method: Any, code: type) -> bool:
    """Not generated, as those of a dataclass or of a namedtuple."""
    is_own: bool = method.__globals__.get("__name__") == code.__module__
    return is_own and method.__code__.co_filename != "<string>"


def _given(code: Any, values: Mapping[str, Any]) -> Iterator[_Name]:
    for name, value in values.items():
        yield _Name(f"{name} of {code.__qualname__.rpartition('<locals>.')[2]}()", value, _GIVEN)


def _default_values(function: Any, module: TopLevel) -> dict[str, Any]:
    """The arguments of a function whose default is a name, and what it was when the function was defined. Where that cannot
    be read completely, the name is followed instead."""
    qualname, code = function.__qualname__, function.__code__
    outer, _, name = qualname.rpartition(".<locals>.")
    named = (module.inside(qualname) if outer else module).defaults(name)
    given, defaults = code.co_varnames[: code.co_argcount], function.__defaults__ or ()
    values = dict(zip(given[len(given) - len(defaults) :], defaults, strict=True)) | (function.__kwdefaults__ or {})
    return {name: value for name, value in values.items() if name in named and content(value).is_complete}


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
