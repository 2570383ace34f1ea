"""A program that is imported for its sweep hands it over where it would run it, and runs nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

_is_importing = False


class HandedOver(BaseException):
    """Ends the import of a program at its first sweep."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(sweep)
        self.sweep = sweep


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Within this block, run and launch raise HandedOver."""
    global _is_importing
    _is_importing = True
    try:
        yield
    finally:
        _is_importing = False


def hand_over(describe: Callable[[], Sweep]) -> None:
    """For run and launch: if their program is imported for its sweep, end the import with this one."""
    if _is_importing:
        raise HandedOver(describe())
