"""The identity of a setting in the ledger: the same text for the same setting, in every process.

A frozen dataclass is identified by its fields, a function by its name, a partial by its function and arguments, an array
by its content, any other object by its `repr`, or by its attributes if the `repr` only gives an address.
"""

from __future__ import annotations

import functools
import hashlib
import re
import shlex
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

ADDRESS = " at 0x"
_DEEPEST = 6  # levels of objects within objects; deeper ones are identified by their class alone


def identity(thing: object) -> str:
    """The text; it contains an `ADDRESS` only if nothing better is known."""
    return _of(thing, 0)


def function_name(thing: Any) -> str:
    """The qualified name of a function; a lambda, which has no name of its own, also gets a digest of its code."""
    name = str(thing.__qualname__)
    code = getattr(thing, "__code__", None)
    return f"{name}:{_digest(substance(code))}" if name.endswith("<lambda>") and code else name


def without_digests(text: str) -> str:
    """The text without the digests of lambdas: for a record of another Python, whose bytecode differs."""
    return re.sub(r"(<lambda>):[0-9a-f]{8}", r"\1", text)


def as_before(thing: Any, before: str) -> str:
    """The identity of `thing`, without settings at their defaults that the recorded text `before` does not know.

    A release may add a setting; who leaves it at its default has the training of before.
    """
    text = identity(thing)
    for name, shown in _defaults(thing, 0):
        if f"{name}=" not in before:
            text = text.replace(f", {name}={shown}", "")
    return text


def _defaults(thing: Any, depth: int) -> Iterator[tuple[str, str]]:
    """Name and text of each field at its default, in dataclasses within it, too."""
    if isinstance(thing, type) or not is_dataclass(thing) or depth > _DEEPEST:
        return
    for each in fields(thing):
        value = getattr(thing, each.name)
        if each.repr and each.default is not MISSING and _of(value, depth + 1) == _of(each.default, depth + 1):
            yield each.name, _of(value, depth + 1)
        yield from _defaults(value, depth + 1)


def _of(thing: Any, depth: int) -> str:
    if isinstance(thing, functools.partial):
        given = [_of(each, depth + 1) for each in thing.args]
        given += [f"{name}={_of(value, depth + 1)}" for name, value in thing.keywords.items()]
        return f"partial({', '.join([_of(thing.func, depth + 1), *given])})"
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f"{function_name(thing)}()"
    if type(thing) in (list, tuple, set, frozenset, dict):
        return _of_container(thing, depth)
    if (array := _array(thing)) is not None:
        content = _digest(repr(array.tolist()) if array.dtype.hasobject else array.tobytes())
        return f"{type(thing).__name__}({array.dtype}, {list(array.shape)}, {content})"
    if is_dataclass(thing) and hasattr(type(thing).__repr__, "__wrapped__"):  # its repr is the generated one
        return _of_fields(thing, {f.name: getattr(thing, f.name) for f in fields(thing) if f.repr}, depth)
    text = repr(thing)
    if ADDRESS in text and depth < _DEEPEST:
        own = {f.name: getattr(thing, f.name) for f in fields(thing)} if is_dataclass(thing) else _attributes(thing)
        if own is not None:
            return _of_fields(thing, own, depth)
    return text


def _of_fields(thing: Any, own: Mapping[str, Any], depth: int) -> str:
    return f"{type(thing).__qualname__}({', '.join(f'{name}={_of(value, depth + 1)}' for name, value in own.items())})"


def _of_container(thing: Any, depth: int) -> str:
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{_of(key, depth)}: {_of(value, depth)}" for key, value in thing.items()) + "}"
    inner = [_of(each, depth) for each in thing]
    if isinstance(thing, (set, frozenset)):  # their order differs from process to process
        return f"{type(thing).__name__}({{{', '.join(sorted(inner))}}})"
    if isinstance(thing, list):
        return f"[{', '.join(inner)}]"
    return f"({inner[0]},)" if len(inner) == 1 else f"({', '.join(inner)})"


def _attributes(thing: Any) -> Mapping[str, Any] | None:
    """The attributes of an object whose class has no `repr` of its own; None if Python cannot see them."""
    return vars(thing) if hasattr(thing, "__dict__") else None


def _array(thing: Any) -> np.ndarray[Any, Any] | None:
    if type(thing).__module__.partition(".")[0] == "torch" and hasattr(thing, "detach"):
        thing = thing.detach().cpu()
    elif not isinstance(thing, np.ndarray):
        return None
    return np.asarray(thing)


def substance(code: types.CodeType) -> str:
    """What a function was compiled to, inner functions included; another for another release of Python."""
    constants = [substance(each) if isinstance(each, types.CodeType) else repr(each) for each in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def _digest(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:8]


def same_command(command: str) -> str:
    """The command without the path of Python and of the script, which do not change the training."""
    return shlex.join(_plain_word(index, word) for index, word in enumerate(shlex.split(command)))


SCRIPTS = (".py", ".sh", ".bash")


def _plain_word(index: int, word: str) -> str:
    name = Path(word).name
    if re.fullmatch(r"python(\d+(\.\d+)*)?", name):
        return "python"
    return name if index == 0 or Path(word).suffix in SCRIPTS else word
