"""The record of what a policy decided: each decision with its reason, and now and then what it turned bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from search.work import Progress
from trainables.values import Averaging, Knobs


class Decisions:
    """Of one training whose knobs are `knobs` at first."""

    def __init__(self, knobs: Knobs) -> None:
        self.waiting: list[Progress] = []  # not taken yet
        self.told_knobs = knobs  # as recorded, without what was only tried

    def take(self) -> list[Progress]:
        """Those since the last call, in order."""
        taken, self.waiting = self.waiting, []
        return taken

    def tell(
        self, why: str, epoch: int, samples: int, position: int | None, before: Knobs, after: Knobs,
        evidence: Mapping[str, float], cost_seconds: float, begun: Averaging | None = None,
    ) -> None:  # fmt: skip
        """The knobs are `after` and no longer `before`; `begun`: the averaging that begins. `position` None: a trial."""
        self.waiting.append(Progress(
            "decision", epoch, dict(evidence), cost_seconds, text=why, samples=samples, position=position,
            before=asdict(before), after=asdict(after) | ({"averaging": asdict(begun)} if begun else {}),
        ))  # fmt: skip
        if position is not None:
            self.told_knobs = after

    def state_dict(self) -> dict[str, Any]:
        return {"waiting": [asdict(decision) for decision in self.waiting], "told_knobs": asdict(self.told_knobs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting = [Progress(**decision) for decision in state["waiting"]]
        self.told_knobs = Knobs(**state["told_knobs"])
