"""A workload whose chosen trials go wrong, on purpose and for real."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search.work import Run
from trainables.carry_out import carry_out, measured_on_test
from trainables.contract import OwnTraining
from trainables.workloads.quadratic import Quadratic


@dataclass(frozen=True)
class Troubled(OwnTraining):
    """A quadratic whose chosen trials go wrong: {trial: kind}. Everything else is the real workload."""

    trouble: tuple[tuple[int, str], ...] = ()
    inner: Quadratic = field(default_factory=lambda: Quadratic(horizon=4))

    metric = "loss"
    mode = "min"
    metrics = ("loss",)
    baseline = None

    @property
    def horizon(self) -> int:
        return self.inner.horizon

    def prepare(self, folder: Path) -> None:
        self.inner.prepare(folder)

    def test(self, assignment: Any) -> Any:
        return measured_on_test(self.inner, assignment)

    def run(self, policy: Any, assignment: Any, should_pause: Any = None) -> Any:
        return _TroubledRun(
            carry_out(self.inner, policy, assignment, should_pause),
            dict(self.trouble).get(assignment.trial, ""),
            assignment,
        )


class _TroubledRun(Run):
    def __init__(self, run: Any, trouble: str, assignment: Any) -> None:
        self._run, self._trouble, self._assignment = run, trouble, assignment

    def save(self) -> Any:
        return self._run.save()

    def close(self) -> None:
        self._run.close()

    def __next__(self) -> Any:
        item = next(self._run)
        if item is None or item.kind != "report" or item.step != 2 or not self._trouble:
            return item
        return self._spoil(item)

    def _spoil(self, item: Any) -> Any:
        trouble = self._trouble
        if trouble in ("nan", "inf", "-inf"):
            return replace(item, metrics={"loss": float(trouble)})
        if trouble == "typo":
            return replace(item, metrics={"lose": 1.0})
        if trouble == "string":
            return replace(item, metrics={"loss": "low"})
        if trouble == "other":
            return replace(item, metrics={"loss": item.metrics["loss"] + 1e-9})
        if trouble == "memory":
            raise MemoryError("no more")
        if trouble == "allocate":
            return bytearray(2**34)
        if trouble == "hang":
            marker = self._assignment.folder.parent / "hung"
            if not marker.exists():
                marker.touch()
                time.sleep(600)
            return item
        if trouble == "die":
            marker = self._assignment.folder.parent / "died"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), 9)
            return item
        if trouble == "die always":
            os.kill(os.getpid(), 9)
        raise RuntimeError(f"trial {self._assignment.trial} is broken by design")
