"""The global values that a training's code uses: read from the code and from what its names mean now; nothing is called.

Followed are the functions, classes and objects of the user's own, and the modules among them as far as the code names what
is in them; libraries are not.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.source_files import OURS


@dataclass(frozen=True)
class Global:
    """A value that is neither a function, a class nor a module, as the code names it: `CONF`, `conf.RATE`, `Config.width`.

    `module`, `path`: the module that the value is part of, and the names that lead to it there; "" of the main program.
    """

    name: str
    module: str
    path: tuple[str, ...]
    read: Callable[[], Any]


def globals_of(code: Any) -> tuple[list[Global], list[types.FunctionType]]:
    """What a function, a class or a callable object uses, each value once; and the functions that were followed."""
    walk = _Walk()
    walk.follow(code)
    while walk.waiting:
        walk.read(walk.waiting.pop(0))
    return list(walk.found.values()), walk.functions


def is_users(module: str) -> bool:
    """Whether a module of this name is the user's own."""
    root = module.partition(".")[0]
    if root == "__main__":
        return True
    file = getattr(sys.modules.get(root), "__file__", None)
    file = file or next(iter(getattr(sys.modules.get(root), "__path__", ())), None)  # a package without __init__.py
    return file is not None and root not in OURS and not file.startswith(_libraries())


@functools.cache
def _libraries() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[each] for each in ("stdlib", "platstdlib", "purelib", "platlib"))


def is_network(thing: Any) -> bool:
    """Whether it is a module of torch, which is not imported for the question."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


class _Walk:
    def __init__(self) -> None:
        self.found: dict[tuple[int, str], Global] = {}
        self.functions: list[types.FunctionType] = []
        self.waiting: list[types.FunctionType] = []
        self._seen: set[int] = set()
        self._unwrapped: set[int] = set()
        self._named: set[tuple[str, str]] = set()  # module and name in it

    def follow(self, thing: Any) -> None:
        """Note the functions of something that is called."""
        while isinstance(thing, functools.partial):
            thing = thing.func
        if isinstance(thing, types.MethodType):
            self._follow_object("self", thing.__self__)
            thing = thing.__func__
        if isinstance(thing, (staticmethod, classmethod)):
            thing = thing.__func__
        wrapped = inspect.getattr_static(thing, "__wrapped__", None)
        if wrapped is not None and id(thing) not in self._unwrapped:
            self._unwrapped.add(id(thing))
            self.follow(wrapped)
        if isinstance(thing, property):
            for each in filter(None, (thing.fget, thing.fset)):
                self.follow(each)
        elif isinstance(thing, types.FunctionType):
            if is_users(thing.__module__ or ""):
                self._once(thing, lambda: self.waiting.append(thing))
        elif isinstance(thing, type):
            self._follow_class(thing.__name__, thing)
        elif not isinstance(thing, (types.BuiltinFunctionType, types.ModuleType)):
            self._follow_object(type(thing).__name__, thing)

    def read(self, function: types.FunctionType) -> None:
        """Note what a function's names mean."""
        self.functions.append(function)
        names, known, module = _names(function.__code__), function.__globals__, function.__module__ or ""
        for name in sorted(names & known.keys()):
            self._note(name, module, (name,), known, names)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                self._value(
                    name, "", (), cell.cell_contents, functools.partial(getattr, cell, "cell_contents"), id(cell)
                )
            except ValueError:  # nothing in it yet
                continue

    def _note(self, name: str, module: str, path: tuple[str, ...], known: Mapping[str, Any], names: set[str]) -> None:
        value = known[path[-1]]
        if not isinstance(value, types.ModuleType):
            self._value(name, module, path, value, functools.partial(known.get, path[-1]), id(known))
        elif is_users(value.__name__):
            inside = vars(value)
            for inner in sorted(names & inside.keys()):
                if (value.__name__, inner) not in self._named:
                    self._named.add((value.__name__, inner))
                    self._note(f"{name}.{inner}", value.__name__, (inner,), inside, names)

    def _value(
        self, name: str, module: str, path: tuple[str, ...], value: Any, read: Callable[[], Any], place: int
    ) -> None:
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self.follow(value)
        elif isinstance(value, type):
            self._follow_class(name, value, module, path)
        else:
            self.found.setdefault((place, path[-1] if path else name), Global(name, module, path, read))
            self._follow_object(name, value)

    def _follow_class(self, name: str, kind: type, module: str = "", path: tuple[str, ...] = ()) -> None:
        if is_users(_module_of(kind)):
            self._once(kind, lambda: self._read_attributes(name, vars(kind), module, path))
            for base in kind.__bases__:
                self._follow_class(base.__name__, base)

    def _follow_object(self, name: str, thing: Any) -> None:
        kind = type(thing)
        if is_users(_module_of(kind)):
            self._follow_class(kind.__name__, kind)
            with contextlib.suppress(TypeError):  # it has no attributes of its own
                own = vars(thing)
                if not is_network(thing):
                    self._once(thing, lambda: self._read_attributes(name, own))

    def _read_attributes(self, name: str, own: Mapping[str, Any], module: str = "", path: tuple[str, ...] = ()) -> None:
        for key, value in list(own.items()):
            if inspect.isroutine(value) or isinstance(value, (property, staticmethod, classmethod)):
                self.follow(value)
            elif not key.startswith("_") and not isinstance(value, (type, types.ModuleType)):
                inner = (*path, key) if path else ()
                self.found[id(value), f"{name}.{key}"] = Global(
                    f"{name}.{key}", module, inner, functools.partial(own.get, key)
                )

    def _once(self, thing: Any, action: Callable[[], Any]) -> None:
        if id(thing) not in self._seen:
            self._seen.add(id(thing))
            action()


def _module_of(kind: type) -> str:
    found: object = getattr(kind, "__module__", "")  # a metaclass may make anything of it
    return found if isinstance(found, str) else ""


def _names(code: types.CodeType) -> set[str]:
    """The names of globals and attributes in a function's code, inner functions included."""
    inner = (_names(each) for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*inner)
