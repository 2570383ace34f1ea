"""Ask now and then whether a training should pause."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

POLL_SECONDS = 0.2  # between two calls of `should_pause`, which may be remote calls


class Pausing:
    """Whether to pause, as `should_pause` last said; None: never."""

    def __init__(self, should_pause: Callable[[], bool] | None) -> None:
        self._should_pause = should_pause
        self._asked, self._said = -math.inf, False

    def __call__(self) -> bool:
        if self._should_pause is not None and (now := time.perf_counter()) - self._asked >= POLL_SECONDS:
            self._asked, self._said = now, self._should_pause()
        return self._said
