"""Train with a schedule that is given: from each place on, the knobs that stand in a list.

Use when   a population or a policy has found a schedule, and a training afresh is to follow it: `orchestrator
           export --schedule` prints it, `Scheduled.of` reads it.
Costs      nothing.
Settings   stretches: (first step, knobs) in order; the knobs hold from that step on, the first also before it.
           by: "steps" (evaluations, the first is 1), or "samples": from so many samples seen on.
Not for    settings that are no knobs (dropout, augmentation): only learning rate, batch size, momentum and
           weight decay can be turned while a model trains.
Differs    what a fork takes over is the parent's state, data order included; a training afresh has its own
           order, so its numbers are close to the population's, not equal. What a policy decided is followed to
           the sample; what it turned a little after every update (a warm-up, a cosine), once an epoch.
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
    by: str = "steps"

    turns = frozenset({"learning_rate", "batch_size", "momentum", "weight_decay"})

    def __post_init__(self) -> None:
        firsts = [first for first, _ in self.stretches]
        if not firsts or firsts != sorted(set(firsts)):
            raise ValueError(
                f"Scheduled(stretches={self.stretches!r}): must be (first step, knobs) with growing steps."
            )
        if self.by not in ("steps", "samples"):
            raise ValueError(f"Scheduled(by={self.by!r}): must be 'steps' or 'samples'.")

    @classmethod
    def of(cls, workload: Workload, stretches: Iterable[Mapping[str, Any]]) -> Scheduled:
        """From what `orchestrator export --schedule` prints.

        Of a population [{"first": 1, "last": 10, "config": {...}}, ...], of a policy [{"samples": 0, "knobs": {...}}, ...].
        """
        given = list(stretches)
        if given and "samples" in given[0]:
            return cls(tuple((int(each["samples"]), Knobs(**each["knobs"])) for each in given), by="samples")
        return cls(tuple((int(each["first"]), workload.knobs(each["config"])) for each in given))

    def start(self, signals: Signals) -> tuple[int, Action]:
        return 0, Action(knobs=self.stretches[0][1])

    def act(self, state: int, signals: Signals) -> tuple[int, Action]:
        place, here = state, signals.samples if self.by == "samples" else signals.step + 1
        while place + 1 < len(self.stretches) and self.stretches[place + 1][0] <= here:
            place += 1
        return place, NOTHING if place == state else Action(knobs=self.stretches[place][1])
