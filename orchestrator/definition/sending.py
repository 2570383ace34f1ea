"""Refuse, before anything starts, a sweep that cannot be sent to the processes of its trials.

The error names what stands in the way: the global variable, the default or the attribute that cannot be pickled, and
the function that refers to it.
"""

from __future__ import annotations

import dis
import functools
import inspect
import io
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import cloudpickle

from orchestrator.errors import BadInput
from search.wording import shown
from trainables.contract import OwnTraining

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

SLOTS = ("__dict__", "__weakref__")  # descriptors that each class has
CONTAINERS = (list, tuple, set, frozenset, dict)


def check_sending(sweep: Sweep, *, simulated: bool = False) -> None:
    """Raise BadInput for what a worker cannot get. A simulated sweep sends only functions that report, each to a process."""
    if not simulated:
        sent = {name: getattr(sweep, name) for name in ("workload", "policy", "searcher", "scheduler", "tasks")}
    else:
        has_process = isinstance(sweep.workload, OwnTraining) and sweep.workload.has_own_process
        sent = {"workload": sweep.workload} if has_process else {}
    for name, part in sent.items():
        if (why := _why_not(part)) is not None:
            raise BadInput(f"Sweep({name}): {_told(part, why)}")


class _Nowhere(io.RawIOBase):
    """Takes what a pickler writes and keeps none of it: a function may refer to large data."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


def _why_not(thing: Any) -> Exception | None:
    """The error with which it cannot be pickled."""
    try:
        cloudpickle.Pickler(_Nowhere(), protocol=5, buffer_callback=lambda _: None).dump(thing)
    except Exception as error:
        return error
    return None


def _told(part: Any, why: Exception) -> str:
    owner, place, thing = _culprit(part)
    kind = type(thing)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    error = " ".join(str(_why_not(thing) or why).split())
    where = f"{owner} {place}" if owner else shown(thing)
    return f"{where}, of type {name}, which cannot be sent to the process of a trial ({error}). {_remedy(owner, place, thing)}"


def _remedy(owner: str, place: str, thing: Any) -> str:
    if "get_ipython" in place:
        return (
            "A trial's process has no notebook: leave out get_ipython(), and the lines that begin with % or !, "
            "which call it."
        )
    within = f"inside {owner}" if owner.endswith("()") else "inside the function that uses it"
    if isinstance(thing, io.IOBase):
        return f"Keep the name of the file instead, and open it {within}."
    return f"Create it {within}."


def _culprit(part: Any) -> tuple[str, str, Any]:
    """(owner, place, thing): the innermost part that cannot be pickled, and what refers to it, in words."""
    owner, place, thing, seen = "", "", part, {id(part)}
    while not _is_librarys(thing):
        parts = ((words, each) for words, each in _parts(thing) if id(each) not in seen)
        found = next(((words, each) for words, each in parts if _why_not(each) is not None), None)
        if found is None:
            break
        words, inner = found
        if words:
            owner, place = _named(thing), words
        thing = inner
        seen.add(id(thing))
    return owner, place, thing


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object refers to, and in words how; "" if the way there needs no words."""
    if isinstance(thing, functools.partial):
        yield "", thing.func
        yield from (("binds an argument", each) for each in thing.args)
        yield from ((f"binds {name!r}", each) for name, each in thing.keywords.items())
    elif isinstance(thing, types.MethodType):
        yield "", thing.__func__
        yield "", thing.__self__
    elif isinstance(thing, types.FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, (staticmethod, classmethod)):
        yield "", thing.__func__
    elif isinstance(thing, property):
        yield from (("", each) for each in (thing.fget, thing.fset, thing.fdel) if each is not None)
    elif isinstance(thing, CONTAINERS):
        yield from (("", each) for each in (thing.values() if isinstance(thing, Mapping) else thing))
    else:
        held = dict(getattr(thing, "__dict__", {}))
        yield from ((_attribute(name, each), each) for name, each in held.items() if name not in SLOTS)
        if not isinstance(thing, type):
            yield "", type(thing)


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    yield from ((f"uses the global variable {name!r}", function.__globals__[name])
                for name in _globals_of(function.__code__) if name in function.__globals__)  # fmt: skip
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"uses {name!r}, a variable of the function around it", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name, parameter in inspect.signature(function, follow_wrapped=False).parameters.items():
        if parameter.default is not parameter.empty:
            yield f"has a default of {name!r}", parameter.default
    yield from ((_attribute(name, each), each) for name, each in function.__dict__.items())


def _attribute(name: str, value: Any) -> str:
    """A function that an object has is named itself."""
    return "" if callable(value) else f"has an attribute {name!r}"


def _globals_of(code: types.CodeType) -> list[str]:
    """The global names that a function reads, those of the functions within it included."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names += _globals_of(inner)
    return list(dict.fromkeys(names))


def _named(thing: Any) -> str:
    if isinstance(thing, functools.partial):
        return f"the partial of {_named(thing.func)}"
    if isinstance(thing, types.FunctionType):
        name = thing.__qualname__.rpartition("<locals>.")[2]
        return f"the {name} of line {thing.__code__.co_firstlineno}" if name == "<lambda>" else f"{name}()"
    return thing.__qualname__ if isinstance(thing, type) else type(thing).__qualname__


def _is_librarys(thing: Any) -> bool:
    """Whether it is an object of a library, whose inner parts tell the user nothing."""
    if isinstance(thing, types.MethodType):
        return _is_librarys(thing.__self__)
    if isinstance(
        thing, (types.FunctionType, functools.partial, staticmethod, classmethod, property, type, *CONTAINERS)
    ):
        return False
    root = type(thing).__module__.partition(".")[0]
    return root not in ("__main__", "orchestrator", "search", "trainables") and _is_installed(root)


def _is_installed(root: str) -> bool:
    paths = sysconfig.get_paths()
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is None or any(file.startswith(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
