"""The records that a driver writes: a method for each kind. Secrets are masked on the way."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.record.encoding import (
    USED,
    command_of,
    distributions,
    kind_of,
    suggestion_row,
    to_json,
    used_text,
)
from orchestrator.record.provenance import code, deciders
from orchestrator.secrets import masked, masked_value
from search.records import Status, Suggestion, Used
from search.work import Decision
from trainables.contract import Workload

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep


class Appends(ABC):
    """The writing half of a ledger. Use it inside the ledger's `transaction()`."""

    folder: Path

    def __init__(self) -> None:
        self._sweep: Sweep | None = None  # the sweep that writes

    @abstractmethod
    def _insert(self, table: str, **columns: Any) -> None:
        """Append a row."""

    def add_sweep(self, sweep: Sweep, change: str, command: Sequence[str]) -> None:
        self._sweep = sweep
        parameters = [
            {"name": name, "distribution": distribution, "choices": choices}
            for name, distribution, choices in distributions(sweep.space)
        ]
        self._insert(
            "sweep", description=to_json(sweep.describe() | {"trains_on": isinstance(sweep.workload, Workload)}),
            parameters=to_json(parameters), code=to_json(code() | {"run": str(self.folder.absolute()), "deciders": deciders(sweep)}), command=to_json(masked_value(list(command))),
            change=masked(change),
        )  # fmt: skip

    def add_suggestion(self, trial: int, suggestion: Suggestion, seed: int) -> None:
        columns = suggestion_row(suggestion) | {"trial": trial, "seed": seed}
        command = to_json(masked_value(command_of(self._sweep, suggestion.config)))
        self._insert("suggestion", **columns | {"config": to_json(columns["config"]), "command": command})

    def add_report(
        self, trial: int, step: int, value: float, cost_seconds: float, metrics: Mapping[str, float]
    ) -> None:
        self._insert(
            "report", trial=trial, step=step, value=value if math.isfinite(value) else None, kind=kind_of(value),
            cost_seconds=cost_seconds, metrics=to_json(dict(metrics)),
        )  # fmt: skip

    def add_verdict(self, trial: int, step: int, verdict: str, scheduler: str) -> None:
        self._insert("verdict", trial=trial, step=step, verdict=verdict, scheduler=scheduler)

    def add_ending(self, trial: int, status: Status, step: int, reason: str, detail: str = "") -> None:
        self._insert(
            "ending", trial=trial, status=status.value, step=step, reason=masked(reason), detail=masked(detail)
        )

    def add_lost(self, trial: int, step: int, reason: str) -> None:
        self._insert("lost", trial=trial, step=step, reason=masked(reason))

    def add_search_end(self, reason: str) -> None:
        self._insert("search_end", reason=masked(reason))

    def add_checkpoint(self, trial: int, step: int, path: str, sha256: str, size: int) -> None:
        self._insert("checkpoint", trial=trial, step=step, path=path, sha256=sha256, bytes=size)

    def add_test(self, trial: int, step: int, metrics: Mapping[str, float]) -> None:
        self._insert("test", trial=trial, step=step, metrics=to_json(dict(metrics)))

    def add_decision(self, trial: int, decision: Decision) -> None:
        self._insert(
            "decision", trial=trial, step=decision.step, samples=decision.samples, position=decision.position,
            why=masked(decision.text), before=to_json(dict(decision.before)),
            after=to_json(dict(decision.after)), metrics=to_json(dict(decision.metrics)),
            cost_seconds=decision.cost_seconds,
        )  # fmt: skip

    def add_used(self, record: Used) -> None:
        self.add_event(USED, used_text(record), record.trial)

    def add_event(self, kind: str, text: str, trial: int | None = None) -> None:
        self._insert("event", kind=kind, trial=trial, text=masked(text))
