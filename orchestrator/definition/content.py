"""The content of a value that a function was given: plain values, containers, arrays, and the attributes of objects.

Read without a call of the user's code. The same content gives the same text in every process.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import sys
import sysconfig
import types
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

PLAIN = (bool, int, float, str, type(None))
_LARGEST = 1 << 20  # bytes of an array that are read
_DEEPEST = 6  # levels of containers and objects within another
_UNKNOWN = "…"


@dataclass
class Content:
    """`text`: the same for the same content. `is_complete`: nothing was left out."""

    text: str = ""
    is_complete: bool = True
    left: int = 10_000  # values that are still read


def content(thing: Any) -> Content:
    """
    >>> content([1, (2.0, "a")])
    Content(text="[1, (2.0, 'a')]", is_complete=True, left=9995)
    """
    found = Content()
    found.text = _of(thing, 0, found)
    return found


def _of(thing: Any, depth: int, found: Content) -> str:
    found.left -= 1
    kind = type(thing)
    if found.left < 0 or depth > _DEEPEST:
        return _incomplete(_UNKNOWN, found)
    if kind in (*PLAIN, bytes, complex):
        return repr(thing)
    if kind in (list, tuple, set, frozenset):
        inner = _each(thing, depth, found)
        if kind is list:
            return f"[{', '.join(inner)}]"
        return f"({', '.join(inner)})" if kind is tuple else f"{{{', '.join(sorted(inner))}}}"  # sets have no order
    if kind is dict:
        pairs = zip(_each(thing, depth, found), _each(thing.values(), depth, found), strict=False)
        return f"{{{', '.join(f'{name}: {value}' for name, value in pairs)}}}"
    if issubclass(kind, np.generic):
        return repr(thing)
    if kind is np.ndarray:
        return _of_array(thing, found)
    if (kind.__module__, kind.__name__) == ("torch", "Tensor"):
        return _of_tensor(thing, found)
    if issubclass(kind, enum.Enum):
        return f"{kind.__qualname__}.{object.__getattribute__(thing, '_name_')}"
    if issubclass(kind, (type, types.FunctionType, types.BuiltinFunctionType)):
        return _incomplete(f"{thing.__module__}.{thing.__qualname__}", found)  # its source is not
    return _of_object(thing, depth, found)


def _each(things: Iterable[Any], depth: int, found: Content) -> list[str]:
    inner = []
    for each in things:
        inner.append(_of(each, depth + 1, found))
        if found.left < 0:
            break
    return inner


def _incomplete(text: str, found: Content) -> str:
    found.is_complete = False
    return text


def _of_array(array: np.ndarray[Any, Any], found: Content) -> str:
    kind = f"array({array.dtype}, {array.shape}"
    if array.dtype.hasobject or array.nbytes > _LARGEST:
        return _incomplete(f"{kind}, {_UNKNOWN})", found)
    return f"{kind}, {hashlib.sha256(array.tobytes()).hexdigest()})"


def _of_tensor(tensor: Any, found: Content) -> str:
    if tensor.device.type == "cpu" and tensor.numel() * tensor.element_size() <= _LARGEST:
        with contextlib.suppress(RuntimeError, TypeError):  # sparse, or of a type that numpy does not have
            return f"tensor({_of_array(tensor.detach().numpy(), found)})"
    return _incomplete(f"tensor({tensor.dtype}, {tuple(tensor.shape)}, {_UNKNOWN})", found)


def _of_object(thing: Any, depth: int, found: Content) -> str:
    """The class and the attributes; of an object of a library only the class."""
    kind = type(thing)
    own = None
    if kind in (types.SimpleNamespace, Namespace) or _is_users(kind):
        own = _attributes(thing)
    if own is None:
        return _incomplete(f"{kind.__module__}.{kind.__qualname__}", found)
    values = _each(own.values(), depth, found)
    return f"{kind.__qualname__}({', '.join(f'{name}={value}' for name, value in zip(own, values, strict=False))})"


def _attributes(thing: Any) -> dict[str, Any] | None:
    """None if it has none that Python keeps in a dictionary."""
    try:
        return dict(object.__getattribute__(thing, "__dict__"))
    except (AttributeError, TypeError):
        return None


def _is_users(kind: type) -> bool:
    """Whether the class is of no installed package."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return kind.__module__ == "__main__"
    return "-packages" not in file and not file.startswith(sysconfig.get_path("stdlib"))
