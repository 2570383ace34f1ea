"""Keep the changes that a trial makes in its process from the trials after it.

Trials share processes: a seat runs one after the other, and a simulation runs all of them in turns. A trial's
`Surroundings` are swapped in for each stretch of its work, so the trial finds its own changes and no other trial does.

Restored     working folder, environment, sys.path, sys.argv, recursion limit, excepthooks, signal handlers and timers,
             umask, locale, warning filters, logging (levels, handlers), multiprocessing's start method, random
             states of Python, NumPy and torch, context variables (decimal's context, NumPy's errstate), torch's
             defaults (dtype, device, gradients, autocast, determinism, precision, cuDNN, oneDNN, threads),
             matplotlib's settings and backend.
Ended        processes that the trial started and left running, and their descendants; no others. A notice names them.
Reported     threads, and files open for writing, that it left: they cannot be taken away from outside.
Kept         changes that a module makes on import: it is imported only once, for all trials.
Not covered  modules and their contents (worker/inherited.py tells of some), patched functions, memory, torch's number of interop threads.
"""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import decimal
import importlib.util
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from orchestrator.worker.leftovers import children, end, written_files
from orchestrator.worker.process_state import State, of_a_stretch, of_a_trial, read, unused_handlers, write


class Surroundings:
    """One trial's surroundings; they start as those of the process that it was started in.

    State that is cheap to read, or that matters to the process between two stretches (its folder, its signals), is
    swapped at both ends of a stretch. The rest stays until another trial begins a stretch, or this trial is over.
    """

    def __init__(self) -> None:
        global _begun
        _begun += 1
        self._number, self._was_alone = _begun, not _alive
        _alive.add(self)
        self._own: State = {}
        self._rest: State = {}
        self._context = contextvars.copy_context()
        self._context.run(decimal.setcontext, decimal.getcontext().copy())  # else the copies share one
        self._children: dict[int, psutil.Process] = {}
        self._threads: set[threading.Thread] = set()
        self._files = written_files()
        self._is_over = False

    @contextlib.contextmanager
    def entered(self) -> Iterator[Callable[..., Any]]:
        """Enter a stretch of the trial's work; yields a function that calls another with the trial's context variables."""
        self._take_rest()
        aspects = of_a_stretch()
        before = read(aspects)
        running, threads = children(), set(threading.enumerate())
        write(aspects, self._own, before)
        original = builtins.__import__
        builtins.__import__ = _Importing(original, before, running, threads)
        try:
            yield self._context.run
        finally:
            if isinstance(builtins.__import__, _Importing):
                builtins.__import__ = original
            aspects = of_a_stretch()  # the stretch may have loaded a library
            self._own = read(aspects)
            write(aspects, before, self._own)
            self._threads |= set(threading.enumerate()) - threads
            for child in children() - running:
                with contextlib.suppress(psutil.Error):
                    self._children[child] = psutil.Process(child)

    def leave(self) -> list[str]:
        """End the trial's surroundings and the processes that it left running; returns notices of what it left."""
        global _holder
        if self._is_over:
            return []
        self._is_over = True
        if _holder is self:
            rest = of_a_trial()
            self._rest = read(rest)
            write(rest, _base, self._rest)
            _holder = None
        told = end(list(self._children.values()))
        left = [thread.name for thread in self._threads if thread.is_alive() and not thread.daemon]
        if left:
            told.append(f"it left {_count(left, 'thread')} running in its worker: {', '.join(sorted(left)[:5])}")
        for handler in unused_handlers(self._rest.get("logging", {})):
            with contextlib.suppress(Exception):
                handler.close()
        files = sorted(written_files() - self._files) if self._was_alone and _begun == self._number else []
        if files:
            told.append(f"it left {_count(files, 'file')} open in its worker: {', '.join(files[:3])}")
        _alive.discard(self)
        return told

    def _take_rest(self) -> None:
        global _holder, _base
        if _holder is self:
            return
        rest = of_a_trial()
        present = read(rest)
        if _holder is None:
            _base = present
        else:
            _holder._rest = present
        write(rest, {**_base, **self._rest}, present)
        _holder = self


_holder: Surroundings | None = None  # the trial whose rest is in force
_base: State = {}  # the process's own rest
_begun = 0
_alive: weakref.WeakSet[Surroundings] = weakref.WeakSet()


class _Importing:
    """The `import` statement within a stretch: changes that a module makes on import belong to the process.

    `before`, `running` and `threads` are those of the process outside the stretch.
    """

    def __init__(self, original: Any, before: State, running: set[int], threads: set[threading.Thread]) -> None:
        self._original = original
        self._before, self._running, self._threads = before, running, threads
        self._is_inside = False

    def __call__(self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        if self._is_inside or _is_loaded(name, globals, fromlist, level):
            return self._original(name, globals, locals, fromlist, level)
        self._is_inside = True
        old, running, threads = _everything(), children(), set(threading.enumerate())
        try:
            return self._original(name, globals, locals, fromlist, level)
        finally:
            self._is_inside = False
            new = _everything()
            for state in (self._before, _base, *(s for each in _alive for s in (each._own, each._rest) if s)):
                _adopt(state, old, new)
            self._running |= children() - running
            self._threads |= set(threading.enumerate()) - threads


def _is_loaded(name: str, globals: Any, fromlist: Any, level: int) -> bool:
    try:
        if level:
            name = importlib.util.resolve_name("." * level + name, globals["__package__"])
        module = sys.modules[name]
        return not fromlist or all(each == "*" or hasattr(module, each) for each in fromlist)
    except Exception:  # not loaded, or a wrong name, which the original import reports
        return False


def _everything() -> State:
    found = read([*of_a_stretch(), *of_a_trial()])
    return {name: value for name, value in found.items() if "random" not in name}  # drawing changes those


def _adopt(state: State, old: State, new: State) -> None:
    """Apply to `state` the changes from `old` to `new`; in lists and dicts, item by item."""
    for name, after in new.items():
        before = old.get(name)
        if before == after:
            continue
        ours = state.get(name, before)
        if ours == before:
            state[name] = after
        elif isinstance(after, dict) and isinstance(ours, dict) and isinstance(before, dict):
            state[name] = {**ours, **{key: value for key, value in after.items() if before.get(key) != value}}
        elif isinstance(after, list) and isinstance(ours, list) and isinstance(before, list):
            state[name] = [item for item in after if item not in before and item not in ours] + ours


def _count(things: list[str], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
