"""Train with a given schedule: a list says which knobs hold from which place on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trainables.contract import Policy, Workload
from trainables.values import NOTHING, Action, Averaging, Knobs, Signals

KNOBS = frozenset({"learning_rate", "batch_size", "momentum", "weight_decay"})


@dataclass(frozen=True)
class ReplayedSchedule(Policy[tuple[int, int]]):
    """Follows a given schedule. The state counts the entries of each of the two lists that are done.

    Use when   a population or a policy has found a schedule, and a new training should follow it: `orchestrator
               export --schedule` prints it, `ReplayedSchedule.of` reads it.
    Costs      nothing.
    Settings   stretches: (first step, knobs) in order; the knobs hold from that step on, the first also before it.
               by: "steps" (evaluations, the first is 1), or "samples" (samples seen). averaging: (first sample, the
               averaging that begins or restarts there), for a schedule that averaged replicas.
    Not for    settings that are no knobs (dropout, augmentation): only learning rate, batch size, momentum and
               weight decay can change while a model trains.
    Differs    a fork takes over its parent's state, data order included. A new training has its own order, so its numbers
               are close to the population's, not equal. The replay follows a policy's decisions to the sample; it follows
               gradual changes (a warm-up, a cosine) once per epoch.

    >>> policy = ReplayedSchedule(((0, Knobs(0.1, 32)), (500, Knobs(0.01, 32))))
    """

    stretches: tuple[tuple[int, Knobs], ...]
    by: str = "steps"
    averaging: tuple[tuple[int, Averaging], ...] = ()

    finds_rate = False

    def __post_init__(self) -> None:
        for name, given in (("stretches", self.stretches), ("averaging", self.averaging)):
            firsts = [entry[0] for entry in given]
            if firsts != sorted(set(firsts)) or (name == "stretches" and not firsts):
                raise ValueError(
                    f"ReplayedSchedule({name}={given!r}): must be (first step, what holds then) with rising steps."
                )
        if self.by not in ("steps", "samples"):
            raise ValueError(f"ReplayedSchedule(by={self.by!r}): must be 'steps' or 'samples'.")

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return KNOBS | {"average"} if self.averaging else KNOBS

    @classmethod
    def of(cls, workload: Workload, stretches: Iterable[Mapping[str, Any]]) -> ReplayedSchedule:
        """Read the output of `orchestrator export --schedule`.

        For a population [{"first": 1, "last": 10, "config": {...}}, ...], for a policy [{"samples": 0, "knobs": {...}},
        ...].
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
