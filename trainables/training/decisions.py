"""Record a policy's decisions: each one with its reason, and once in a while the knobs that it turns gradually."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from search.work import Decision
from trainables.values import Averaging, Knobs

WARNING = "policy: "  # the warnings begin so


class Decisions:
    """The decisions of one training; `knobs`: its knobs at the start."""

    def __init__(self, knobs: Knobs) -> None:
        self.waiting: list[Decision] = []  # recorded, not taken yet
        self.told_knobs = knobs  # as last recorded, without explorations
        self.found: dict[str, float] = {}  # metrics of each report from here on

    def take(self) -> list[Decision]:
        """The decisions since the last call, in order."""
        taken, self.waiting = self.waiting, []
        return taken

    def tell(
        self, why: str, epoch: int, samples: int, position: int | None, before: Knobs, after: Knobs,
        evidence: Mapping[str, float], cost_seconds: float, begun: Averaging | None = None, warns: bool = False,
    ) -> None:  # fmt: skip
        """Record the change from `before` to `after`. `begun`: averaging that begins. `position` None: exploring.

        `warns`: also a warning of Python's, which shows a text once. In a sweep it goes to the trial's log, and the
        sweep shows the decision.
        """
        if warns:
            warnings.warn(f"{WARNING}{why}", stacklevel=2)
        self.waiting.append(Decision(
            epoch, samples, position, why, metrics=dict(evidence), cost_seconds=cost_seconds, warns=warns,
            before=asdict(before), after=asdict(after) | ({"averaging": asdict(begun)} if begun else {}),
        ))  # fmt: skip
        if position is not None:
            self.told_knobs = after

    @staticmethod
    def meanwhile(begun: int, ended: int) -> str:
        """What the epochs report that ended amid an exploration, which began after `begun` of the `ended` epochs."""
        if ended == begun:
            return ""
        which = f"epoch {ended} ended during the search: its metrics are"
        if ended > begun + 1:
            which = f"epochs {begun + 1} to {ended} ended during the search: their metrics are"
        return f"{which} those of the weights before it, or of the best candidate so far"

    def state_dict(self) -> dict[str, Any]:
        waiting = [asdict(decision) for decision in self.waiting]
        return {"waiting": waiting, "told_knobs": asdict(self.told_knobs), "found": dict(self.found)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.waiting = [Decision(**decision) for decision in state["waiting"]]
        self.told_knobs = Knobs(**state["told_knobs"])
        self.found = dict(state.get("found", {}))
