"""A searcher or a scheduler that decides for long, maybe without end: the sweep and its dry run say so, and where it is."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.definition.bad_input import is_users

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

FIRST_SECONDS = 20.0  # of one decision, before it is told (the first may import torch); then each time it has doubled
LOOK_SECONDS = 1.0  # between two looks at what the thread does


class Decision(NamedTuple):
    """A call of the searcher or the scheduler that has not returned yet."""

    call: FrameType
    method: str  # "MySearcher.suggest()"
    place: str  # " (mine.py, line 12)": where in the user's code it is now; "" if it is in none


def decision(frame: FrameType | None, sweep: Sweep) -> Decision | None:
    """The decision that a thread makes, by its innermost frame; None: it makes none."""
    kinds = (type(sweep.searcher), type(sweep.scheduler))
    found, place = None, ""
    while frame is not None:
        code = frame.f_code
        if not place and is_users(code.co_filename):
            place = f" ({code.co_filename}, line {frame.f_lineno})"
        if code.co_varnames[:1] == ("self",) and type(author := frame.f_locals.get("self")) in kinds:
            found = Decision(frame, f"{type(author).__name__}.{code.co_name}()", place)
        frame = frame.f_back
    return found


@contextmanager
def slow_decisions_told(sweep: Sweep, listen: Callable[[str, str], None]) -> Iterator[None]:
    """Meanwhile another thread calls `listen("notice", line)` for each decision of this thread that takes long."""
    thread, ended = threading.get_ident(), threading.Event()

    def watch() -> None:
        known, since, due = None, 0.0, 0.0
        while not ended.wait(LOOK_SECONDS):
            now, found = time.monotonic(), decision(sys._current_frames().get(thread), sweep)
            if found is None or found.call is not known:
                known, since, due = None if found is None else found.call, now, FIRST_SECONDS
            elif now - since >= due:
                listen("notice", f"{found.method} has been deciding for {now - since:.0f} s{found.place}")
                due *= 2

    watcher = threading.Thread(target=watch, name="slow decisions", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
