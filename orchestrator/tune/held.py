"""Seats that get no work, because their node cannot train now: its disk is full, or its code another version."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from orchestrator.errors import BadInput, OrchestratorError, StorageError
from orchestrator.tune.home import DISK

PATIENCE = 30.0  # seconds without any seat that can train, until the sweep ends


class Held:
    """`tell` gets a message once for each node and trouble."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._seats: dict[str, tuple[str, str]] = {}  # Tune's id → kind of trouble, and the node with its trouble
        self._told: set[tuple[str, str]] = set()
        self._since: float | None = None  # there is no other seat since then
        self._tries: set[tuple[int, int, str]] = set()  # trial, its step, and a node on which it could not write

    def __contains__(self, seat: str) -> bool:
        return seat in self._seats

    def add(self, seat: str, node: str, trouble: tuple[str, str], *, is_told: bool = False) -> None:
        """`node`: its name. `trouble`: the kind, and a sentence without its subject."""
        kind, why = trouble
        self._seats[seat] = kind, f"node {node}: {why}"
        if not is_told and (node, kind) not in self._told:
            self._told.add((node, kind))
            self._tell(f"node {node} gets no trials until this is mended: {why}")

    def release(self, seat: str) -> None:
        self._seats.pop(seat, None)

    def is_first(self, trial: int, step: int, node: str) -> bool:
        """Whether a trial meets a full disk for the first time: it may go elsewhere. Else the trial itself is too large."""
        is_first = (trial, step, node) not in self._tries
        self._tries.add((trial, step, node))
        return is_first

    def error(self, seats: Collection[str]) -> OrchestratorError | None:
        """With what the sweep ends, if none of its seats has been able to train for a while."""
        if not seats or not set(seats) <= set(self._seats):
            self._since = None
            return None
        at = self._clock()
        self._since = at if self._since is None else self._since
        if at - self._since < PATIENCE:
            return None
        kinds = {kind for kind, _ in self._seats.values()}
        text = (
            f"no node can train now: {'; '.join(sorted({why for _, why in self._seats.values()}))}. Nothing that was "
            "recorded is lost; mend this, then run the same command again."
        )
        return StorageError(text) if kinds == {DISK} else BadInput(text)
