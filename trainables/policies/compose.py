"""Run several policies side by side, each with knobs of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from search.wording import instance, shown
from trainables.answers import asked
from trainables.contract import Policy
from trainables.values import NOTHING, Action, Knobs, Signals

State = list[tuple[Any, bool]]
"""For each policy its state, and whether it has asked for a measurement, which then goes to no other policy."""


@dataclass(frozen=True, init=False, repr=False)
class Compose(Policy[State]):
    """Runs several policies at once, each with knobs of its own.

    Use when   one policy turns the learning rate and another the batch: Compose(LrSchedule("cosine"), BatchRamp(...)).
    Costs      the sum of their costs.
    Settings   the policies. Each sees all knobs, and turns those that its `writes` names.
    Not for    two policies that turn the same knob: wrap one around the other (Warmup(..., then=...), Watchdog(...)).

    >>> policy = Compose(LrSchedule("cosine"), Sma(replicas=4))
    """

    policies: tuple[Policy[Any], ...]

    def __init__(self, *policies: Policy[Any]) -> None:
        object.__setattr__(self, "policies", policies)
        for policy in policies:
            instance("Compose", Policy, policies=policy)
        if len(policies) < 2:
            raise ValueError(
                f"Compose({', '.join(map(shown, policies))}): needs two policies or more; use a single policy without Compose."
            )
        for one, other in combinations(policies, 2):
            if both := sorted(one.writes & other.writes):
                remedy = (
                    "leave one of them out, or train with one, then with the other from what the first found"
                    if "snapshot" in both
                    else "leave one of them out, or wrap one around the other: Warmup(…, then=…), Watchdog(…); "
                    "BatchRamp(…, decay=None, growth=2) leaves the rate alone"
                )
                raise ValueError(f"Compose: {shown(one)} and {shown(other)} both turn {', '.join(both)}; {remedy}.")

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.policies))})"

    def in_short(self) -> str:
        """As it was written, for messages; the `repr` is for the record."""
        return f"Compose({', '.join(map(shown, self.policies))})"

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return all(policy.resumable for policy in self.policies)

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(policy.writes for policy in self.policies))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset().union(*(policy.needs for policy in self.policies))

    @property
    def finds_rate(self) -> bool | None:  # type: ignore[override]
        answers = {policy.finds_rate for policy in self.policies}
        return True if True in answers else None if None in answers else False

    def start(self, signals: Signals) -> tuple[State, Action]:
        return self._merged([asked(policy, "start", signals) for policy in self.policies], signals.knobs)

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        is_measurement = bool(signals.metrics) and signals.train_loss is None
        answers = [
            asked(policy, "act", signals, inner) if is_waiting or not is_measurement else (inner, NOTHING)
            for policy, (inner, is_waiting) in zip(self.policies, state, strict=True)
        ]
        return self._merged(answers, signals.knobs)

    def _merged(self, answers: list[tuple[Any, Action]], knobs: Knobs) -> tuple[State, Action]:
        changes = {name: value for _, action in answers for name, value in _changes(action, knobs).items()}
        merged = _merged([action for _, action in answers])
        turned = replace(knobs, **changes) if changes else None
        return [(inner, action.measure) for inner, action in answers], replace(merged, knobs=turned)


def _changes(action: Action, knobs: Knobs) -> dict[str, Any]:
    """The knobs that the action turns."""
    before, after = asdict(knobs), asdict(action.knobs or knobs)
    return {name: after[name] for name in before if after[name] != before[name]}


def _merged(actions: list[Action]) -> Action:
    """Everything but the knobs."""
    return Action(
        snapshot=any(action.snapshot for action in actions),
        roll_back=any(action.roll_back for action in actions),
        mark=next((action.mark for action in actions if action.mark), ""),
        roll_back_to=next((action.roll_back_to for action in actions if action.roll_back_to), ""),
        replay=any(action.replay for action in actions),
        explore=any(action.explore for action in actions),
        measure=any(action.measure for action in actions),
        stop=any(action.stop for action in actions),
        average=next((action.average for action in actions if action.average is not None), None),
        averages=next((action.averages for action in actions if action.averages is not None), None),
        why="; ".join(action.why for action in actions if action.why),
        warns=any(action.warns for action in actions),
        evidence={name: number for action in actions for name, number in action.evidence.items()},
        found={name: number for action in actions for name, number in action.found.items()},
    )
