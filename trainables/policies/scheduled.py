"""Train with a schedule that is given: at each step the knobs that stand in a list.

Use when   a population has found a schedule, and a training afresh is to follow it: `orchestrator schedule`
           prints it, `Scheduled.of` reads it.
Costs      nothing.
Settings   stretches: (first step, knobs) in order; the knobs hold from that step on, the first also before it.
Not for    settings that are no knobs (dropout, augmentation): only learning rate, batch size, momentum and
           weight decay can be turned while a model trains.
Differs    what a fork takes over is the parent's state, data order included; a training afresh has its own
           order, so its numbers are close to the population's, not equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainables.base import NOTHING, Action, Knobs, Policy, Signals, Workload


@dataclass(frozen=True)
class Scheduled(Policy[int]):
    """The state is the place in the list."""

    stretches: tuple[tuple[int, Knobs], ...]

    turns = frozenset({"learning_rate", "batch_size", "momentum", "weight_decay"})

    def __post_init__(self) -> None:
        firsts = [first for first, _ in self.stretches]
        if not firsts or firsts != sorted(set(firsts)):
            raise ValueError(
                f"Scheduled(stretches={self.stretches!r}): must be (first step, knobs) with growing steps."
            )

    @classmethod
    def of(cls, workload: Workload, stretches: Iterable[Mapping[str, Any]]) -> Scheduled:
        """From what `orchestrator schedule` prints: [{"first": 1, "last": 10, "config": {...}}, ...]."""
        return cls(tuple((int(stretch["first"]), workload.knobs(stretch["config"])) for stretch in stretches))

    def start(self, knobs: Knobs) -> tuple[int, Action]:
        return 0, Action(knobs=self.stretches[0][1])

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        place = state
        while place + 1 < len(self.stretches) and self.stretches[place + 1][0] <= signals.step + 1:
            place += 1
        return place, NOTHING if place == state else Action(knobs=self.stretches[place][1])
