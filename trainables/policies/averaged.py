"""Average the weights over time beside the training, and report the better of the averages and the last weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from search.settings import number
from search.wording import instance, shown
from trainables.answers import asked
from trainables.contract import Policy
from trainables.values import NOTHING, Action, Signals


@dataclass(frozen=True)
class Averaged(Policy[Any]):
    """Keeps averages of the weights while another policy trains them; reports and saves the best of all.

    Use when   the gradients are noisy to the end: a constant rate, whose average is about what a decay of the rate would
               reach, without knowing the end. Trials of different length are then one training, and an early report tells
               more about the end, for it does not favour small rates.
    Costs      a pass over the weights after each update, or after each fourth above a million weights; 4 bytes for each
               weight and exponent, as much again in a snapshot and in a checkpoint; one more evaluation for each exponent.
    Settings   policy: the inner policy, which turns the knobs; None: they stay. gammas (4, 16): after t updates an average
               reaches back over about t / (γ + 1) of them, a fifth and the last 6 %. Other averages: the last s of the
               training in equal shares (LAWA, SWA) has the mean age of γ = 2 / s - 2, the last 10 % that of 18; a fixed
               decay β over T updates that of γ = (1 - β) T - 1 at the end; 0.01 is nearly the mean of all weights.
    Not for    a rate that has decayed to nearly 0, where all averages are the last weights; training sets that are learned
               by heart, where there is no noise to remove.
    Source     Polyak and Juditsky, 1992; Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models,
               2024 (power-function profile); Kaddour, Stop Wasting My Time (LAWA), 2022.
    Differs    the floating buffers of batch normalisation are averaged like weights instead of being estimated anew. The
               inner policy sees the metrics of the chosen weights.

    Each report also has the tuned metric of the last weights ("last_accuracy"), and in "averaged" the exponent of the
    reported average, 0 for the last weights.

    >>> policy = Averaged(Warmup(1.0))
    """

    policy: Policy[Any] | None = None
    gammas: tuple[float, ...] = (4.0, 16.0)

    def __post_init__(self) -> None:
        if self.policy is not None:
            instance("Averaged", Policy, policy=self.policy)
            if "averages" in self.policy.writes:
                raise ValueError(
                    f"{shown(self)}: {type(self.policy).__name__} keeps averages itself; leave Averaged out."
                )
        if not isinstance(self.gammas, tuple) or not self.gammas or len(set(self.gammas)) < len(self.gammas):
            raise ValueError(
                f"Averaged(gammas={self.gammas!r}): must be a tuple of one number or more, each once; try "
                "gammas=(4.0, 16.0)."
            )
        for gamma in self.gammas:
            number("Averaged", "(0, inf)", gammas=gamma)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.policy is None or self.policy.resumable

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"averages"}) | (self.policy.writes if self.policy else frozenset())

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.policy.needs if self.policy else frozenset()

    @property
    def finds_rate(self) -> bool | None:  # type: ignore[override]
        return self.policy.finds_rate if self.policy else False

    def start(self, signals: Signals) -> tuple[Any, Action]:
        state, action = asked(self.policy, "start", signals) if self.policy else (None, NOTHING)
        return state, replace(action, averages=self.gammas)

    def act(self, state: Any, signals: Signals) -> tuple[Any, Action]:
        return asked(self.policy, "act", signals, state) if self.policy else (None, NOTHING)
