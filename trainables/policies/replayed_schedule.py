"""Train with a schedule that is given: from each place on, the knobs that stand in a list.

Use when   a population or a policy has found a schedule, and a training afresh is to follow it: `orchestrator
           export --schedule` prints it, `ReplayedSchedule.of` reads it.
Costs      nothing.
Settings   stretches: (first step, knobs) in order; the knobs hold from that step on, the first also before it.
           by: "steps" (evaluations, the first is 1), or "samples": from so many samples seen on. averaging: (first
           sample, what begins there, or begins again), of a schedule in which replicas were averaged.
Not for    settings that are no knobs (dropout, augmentation): only learning rate, batch size, momentum and
           weight decay can be turned while a model trains.
Differs    what a fork takes over is the parent's state, data order included; a training afresh has its own
           order, so its numbers are close to the population's, not equal. What a policy decided is followed to
           the sample; what it turned a little after every update (a warm-up, a cosine), once an epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainables.contract import Policy, Workload
from trainables.values import NOTHING, Action, Averaging, Knobs, Signals

KNOBS = frozenset({"learning_rate", "batch_size", "momentum", "weight_decay"})


@dataclass(frozen=True)
class ReplayedSchedule(Policy[tuple[int, int]]):
    """The state is the place in either list: so many of their entries are behind.

    >>> policy = ReplayedSchedule(((0, Knobs(0.1, 32)), (500, Knobs(0.01, 32))))
    """

    stretches: tuple[tuple[int, Knobs], ...]
    by: str = "steps"
    averaging: tuple[tuple[int, Averaging], ...] = ()

    def __post_init__(self) -> None:
        for name, given in (("stretches", self.stretches), ("averaging", self.averaging)):
            firsts = [entry[0] for entry in given]
            if firsts != sorted(set(firsts)) or (name == "stretches" and not firsts):
                raise ValueError(
                    f"ReplayedSchedule({name}={given!r}): must be (first step, what holds then) with growing steps."
                )
        if self.by not in ("steps", "samples"):
            raise ValueError(f"ReplayedSchedule(by={self.by!r}): must be 'steps' or 'samples'.")

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return KNOBS | {"average"} if self.averaging else KNOBS

    @classmethod
    def of(cls, workload: Workload, stretches: Iterable[Mapping[str, Any]]) -> ReplayedSchedule:
        """From what `orchestrator export --schedule` prints.

        Of a population [{"first": 1, "last": 10, "config": {...}}, ...], of a policy [{"samples": 0, "knobs": {...}}, ...].
        """
        given = list(stretches)
        if not given or "samples" not in given[0]:
            return cls(tuple((int(each["first"]), workload.knobs(each["config"])) for each in given))
        return cls(
            tuple((int(each["samples"]), Knobs(**each["knobs"])) for each in given),
            by="samples",
            averaging=tuple(
                (int(each["samples"]), Averaging(**each["averaging"])) for each in given if "averaging" in each
            ),
        )

    def start(self, signals: Signals) -> tuple[tuple[int, int], Action]:
        averaging, action = self._averaged(0, signals)
        return (1, averaging), replace(action, knobs=self.stretches[0][1])

    def act(self, state: tuple[int, int], signals: Signals) -> tuple[tuple[int, int], Action]:
        behind = _behind(self.stretches, state[0], signals.samples if self.by == "samples" else signals.step + 1)
        averaging, action = self._averaged(state[1], signals)
        if behind > state[0]:
            action = replace(action, knobs=self.stretches[behind - 1][1])
        return (behind, averaging), action

    def _averaged(self, behind: int, signals: Signals) -> tuple[int, Action]:
        reached = _behind(self.averaging, behind, signals.samples)
        return reached, Action(average=self.averaging[reached - 1][1]) if reached > behind else NOTHING


def _behind(entries: Sequence[tuple[int, Any]], behind: int, here: int) -> int:
    while behind < len(entries) and entries[behind][0] <= here:
        behind += 1
    return behind
