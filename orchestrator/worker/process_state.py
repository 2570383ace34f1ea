"""The state of a process that a trial may change: each aspect can be read and restored.

Nothing is imported here for a trial's sake: a library that no trial has loaded has nothing to restore. Two readings
must be equal (`==`) exactly if nothing has changed, and take microseconds: they happen at both ends of each stretch.
"""

from __future__ import annotations

import contextlib
import functools
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

SIGNALS = [
    getattr(signal, name)
    for name in (
        "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGPIPE", "SIGABRT",
    )
    if hasattr(signal, name)
]  # fmt: skip
_getsignal = getattr(signal, "_signal", signal).getsignal  # the public one also looks up an enum, which is slow


class Aspect(NamedTuple):
    """One aspect that a trial may change: how to read it and how to restore it (called only if it differs)."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    fresh: Callable[[], Any] = lambda: None  # the state before a trial loaded the library, if it can be known


State = dict[str, Any]
"""Name of an aspect → its reading."""


def of_a_stretch() -> list[Aspect]:
    """The aspects to swap at both ends of a stretch, for the libraries that are loaded."""
    found = _PLAIN if threading.current_thread() is threading.main_thread() else _PLAIN[:-1]
    return found + _torch() if "torch" in sys.modules else found


def of_a_trial() -> list[Aspect]:
    """The aspects to swap between trials."""
    found = [
        Aspect("logging", _loggers, _set_loggers),
        Aspect("random", random.getstate, random.setstate),
    ]
    if "numpy" in sys.modules:
        found.append(_numpy())
    if "torch" in sys.modules:
        found.append(_torch_random())
    if hasattr(sys.modules.get("matplotlib"), "rcParamsOrig"):  # and not in the middle of its import
        found.append(_matplotlib())
    return found


def read(aspects: list[Aspect]) -> State:
    found = {}
    for aspect in aspects:
        with contextlib.suppress(Exception):  # a deleted working folder, a library in the middle of its import
            found[aspect.name] = aspect.read()
    return found


def write(aspects: list[Aspect], wanted: State, present: State) -> None:
    """Turn the state `present` into `wanted` where the two differ."""
    for aspect in aspects:
        with contextlib.suppress(Exception):  # a deleted folder
            value = wanted[aspect.name] if aspect.name in wanted else aspect.fresh()
            if value is not None and value != present.get(aspect.name):
                aspect.write(value)


def _environment() -> dict[Any, Any]:
    return dict(os.environ._data)  # type: ignore[attr-defined]  # as bytes, because decoding is slow


def _set_environment(wanted: dict[bytes, bytes]) -> None:
    present = os.environb
    for name in [name for name in present if name not in wanted]:
        del present[name]
    for name, value in wanted.items():
        if present.get(name) != value:
            present[name] = value


def _umask() -> int:
    present = os.umask(0o077)  # reading needs a setting; a file that another thread makes meanwhile is private
    os.umask(present)
    return present


def _set_filters(wanted: list[Any]) -> None:
    warnings.filters[:] = wanted  # type: ignore[index]
    getattr(warnings, "_filters_mutated", lambda: None)()


def _loggers() -> dict[str, tuple[Any, ...]]:
    root = logging.root
    found = {"": (root.level, root.disabled, root.propagate, *root.handlers, root.manager.disable)}
    for name, logger in list(root.manager.loggerDict.items()):
        if logger.__class__ is not logging.PlaceHolder and (
            logger.handlers or logger.level or logger.disabled or not logger.propagate  # type: ignore[union-attr]
        ):
            found[name] = (logger.level, logger.disabled, logger.propagate, *logger.handlers)  # type: ignore[union-attr]
    return found


def _set_loggers(wanted: dict[str, tuple[Any, ...]]) -> None:
    present = _loggers()
    for name in {**present, **wanted}:
        if present.get(name) == wanted.get(name):
            continue
        level, disabled, propagate, *handlers = wanted.get(name, (logging.NOTSET, False, True))
        if not name:
            logging.disable(handlers.pop())
        logger = logging.getLogger(name or None)
        logger.setLevel(level)
        logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers


def unused_handlers(left: dict[str, tuple[Any, ...]]) -> list[logging.Handler]:
    """The handlers that a trial had at its end and that no logger uses any more."""
    used = {id(item) for found in _loggers().values() for item in found}
    items = [item for found in left.values() for item in found]
    return [item for item in items if isinstance(item, logging.Handler) and id(item) not in used]


def _signals() -> tuple[Any, ...]:
    return (*map(_getsignal, SIGNALS), signal.getitimer(signal.ITIMER_REAL)[1])


def _set_signals(wanted: tuple[Any, ...]) -> None:
    *handlers, interval = wanted
    for number, handler in zip(SIGNALS, handlers, strict=True):
        if handler is not None and _getsignal(number) != handler:
            signal.signal(number, handler)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)


def _set_start_method(wanted: tuple[str | None]) -> None:
    multiprocessing.set_start_method(wanted[0], force=True)


def _set_hooks(wanted: tuple[Any, Any]) -> None:
    sys.excepthook, threading.excepthook = wanted


_PLAIN = [
    Aspect("working folder", os.getcwd, os.chdir),
    Aspect("environment", _environment, _set_environment),
    Aspect("sys.path", lambda: list(sys.path), lambda wanted: sys.path.__setitem__(slice(None), wanted)),
    Aspect("sys.argv", lambda: list(sys.argv), lambda wanted: sys.argv.__setitem__(slice(None), wanted)),
    Aspect("recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Aspect("excepthooks", lambda: (sys.excepthook, threading.excepthook), _set_hooks),
    Aspect("umask", _umask, os.umask),
    Aspect("locale", lambda: locale.setlocale(locale.LC_ALL), lambda wanted: locale.setlocale(locale.LC_ALL, wanted)),
    Aspect("warnings", lambda: list(warnings.filters), _set_filters),
    Aspect("start method", lambda: (multiprocessing.get_start_method(allow_none=True),), _set_start_method),
    Aspect("signals", _signals, _set_signals),  # the last one: only in the main thread
]  # fmt: skip


def _numpy() -> Aspect:
    numpy = sys.modules["numpy"]

    def read() -> Any:
        state = numpy.random.get_state()
        return (state[0], state[1].tobytes(), *state[2:])

    def write(wanted: Any) -> None:
        numpy.random.set_state((wanted[0], numpy.frombuffer(wanted[1], dtype=numpy.uint32), *wanted[2:]))

    return Aspect("numpy.random", read, write)


def _torch_random() -> Aspect:
    torch = sys.modules["torch"]

    def read() -> tuple[bytes, ...]:
        states = [torch.get_rng_state()]
        if torch.cuda.is_initialized():
            states += torch.cuda.get_rng_state_all()
        return tuple(state.numpy().tobytes() for state in states)

    def write(wanted: tuple[bytes, ...]) -> None:
        first, *others = (torch.frombuffer(bytearray(state), dtype=torch.uint8) for state in wanted)
        torch.set_rng_state(first)
        if torch.cuda.is_initialized():
            for index, state in enumerate(others):
                torch.cuda.set_rng_state(state, index)

    return Aspect("torch's random", read, write)


@functools.cache
def _torch() -> list[Aspect]:
    torch = sys.modules["torch"]
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    kinds = ("cpu", "cuda")
    precisions = [(kind, use) for kind in ("cuda", "mkldnn") for use in ("all", "matmul", "conv", "rnn")]

    def set_deterministic(wanted: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(wanted[0], warn_only=wanted[1])

    def precision() -> tuple[Any, ...]:
        try:
            whole = torch.get_float32_matmul_precision()
        except RuntimeError:  # set in torch's newer way, per operation
            whole = None
        return (
            whole,
            torch.backends.fp32_precision,
            *(torch._C._get_fp32_precision_getter(*each) for each in precisions),
        )

    def set_precision(wanted: tuple[Any, ...]) -> None:
        whole, of_all, *others = wanted
        if whole is not None:
            torch.set_float32_matmul_precision(whole)
        torch.backends.fp32_precision = of_all
        for each, value in zip(precisions, others, strict=True):
            if torch._C._get_fp32_precision_getter(*each) != value:
                torch._C._set_fp32_precision_setter(*each, value)

    def set_libraries(wanted: tuple[bool, ...]) -> None:
        cudnn.benchmark, cudnn.deterministic, cudnn.enabled, mkldnn.enabled = wanted

    def set_autocast(wanted: list[tuple[bool, Any]]) -> None:
        for kind, (enabled, dtype) in zip(kinds, wanted, strict=True):
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, dtype)

    return [
        Aspect("torch's dtype", torch.get_default_dtype, torch.set_default_dtype),
        Aspect(
            "torch's device",
            lambda: (getattr(sys.modules.get("torch.utils._device"), "CURRENT_DEVICE", None),),
            lambda wanted: torch.set_default_device(*wanted),
        ),
        Aspect("torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled),
        Aspect("torch's anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        Aspect("torch's threads", torch.get_num_threads, torch.set_num_threads),
        Aspect(
            "torch's determinism",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            set_deterministic,
        ),
        Aspect("torch's precision", precision, set_precision),
        Aspect(
            "torch's libraries",
            lambda: (cudnn.benchmark, cudnn.deterministic, cudnn.enabled, mkldnn.enabled),
            set_libraries,
        ),
        Aspect(
            "torch's autocast",
            lambda: [(torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in kinds],
            set_autocast,
        ),
    ]


def _matplotlib() -> Aspect:
    matplotlib = sys.modules["matplotlib"]
    settings = matplotlib.rcParams

    def write(wanted: dict[str, Any]) -> None:
        backend, pyplot = wanted["backend"], sys.modules.get("matplotlib.pyplot")
        if pyplot is not None and isinstance(backend, str) and dict.__getitem__(settings, "backend") != backend:
            pyplot.switch_backend(backend)
        dict.update(settings, wanted)

    return Aspect(
        "matplotlib", lambda: dict(dict.items(settings)), write, lambda: dict(dict.items(matplotlib.rcParamsOrig))
    )
