"""Where a trial was resumed, by its record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from orchestrator.reading.trained_again import trained_again


def restarts(*tables: Iterable[dict[str, Any]], events: Iterable[dict[str, Any]]) -> list[int]:
    """The numbers (`seq`) of the records that a trial was resumed by a decision, lost its worker, or gave another value
    for a step that it repeated. `tables`: its suggestions and losses of a worker."""
    repeated = [row for row in events if trained_again(row["text"]) is not None]
    return [row["seq"] for table in (*tables, repeated) for row in table]


def resumed_after(step: int, recorded: Sequence[dict[str, Any]], restarts: Sequence[int]) -> tuple[int, int] | None:
    """The last step before and the first one after the last resume up to this step; None if there was none.

    `recorded`: the trial's reports. A script that is stopped has often gone on: its last lines are recorded after it is
    resumed, at no cost.
    """
    resumed, has_resumed = [], False
    for last, first in pairwise(recorded):
        is_after = last["epoch"] != first["epoch"] or any(last["seq"] < seq < first["seq"] for seq in restarts)
        if (is_after or has_resumed) and first["cost_seconds"] > 0:
            resumed.append((last["step"], first["step"]))
        has_resumed = (is_after or has_resumed) and first["cost_seconds"] == 0
    return next(((last, first) for last, first in reversed(resumed) if first <= step), None)
