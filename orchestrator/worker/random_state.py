"""The caller's random numbers stay as they are: libraries that we load (rich, Ray) draw from Python's global stream."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def random_kept() -> Iterator[None]:
    """Restore the state of `random` at the end. In another thread, leave it: the main one may have drawn since."""
    before = random.getstate()
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            random.setstate(before)
