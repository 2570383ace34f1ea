"""Multiply the learning rate by the gain of a larger batch, measured from the gradient while the model trains."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.settings import number, whole
from trainables.contract import Policy
from trainables.estimates.noise_scale import NO_ESTIMATE, NoiseScale, gain, noise_scale, observed
from trainables.values import NOTHING, Action, Signals

_DECAY = 0.99  # of the averages, per update

State = tuple[float, NoiseScale]
"""The configuration's learning rate, and the noise scale's estimate."""


@dataclass(frozen=True)
class AdaScale(Policy[State]):
    """Scales the learning rate by the measured gain of a larger batch.

    Use when   the learning rate was tuned at `base_batch`, and the batch is larger now or another policy enlarges it.
    Costs      the norms of the gradients (`needs`).
    Settings   base_batch: samples per update for which the configuration's learning rate was tuned. power (1): use 0.5 for
               Adam and its relatives. The gain is 1 where signal dominates and B / base_batch where noise does.
    Not for    saving epochs: in the source the sum of the gains also drives the schedule, so training takes fewer epochs;
               here the number of epochs stays the same.
    Source     Johnson et al., AdaScale SGD: A User-Friendly Algorithm for Distributed Training, ICML 2020; the power for
               Adam is AdaptDL's.
    Differs    signal and noise are smoothed separately, over about a hundred updates; an invalid estimate changes nothing;
               Adam's moments are not rescaled.

    >>> policy = AdaScale(base_batch=32)
    """

    base_batch: int
    power: float = 1.0

    writes = frozenset({"learning_rate"})
    needs = frozenset({"gradient"})
    finds_rate = False

    def __post_init__(self) -> None:
        whole("AdaScale", 1, base_batch=self.base_batch)
        number("AdaScale", "(0, 1]", power=self.power)

    def start(self, signals: Signals) -> tuple[State, Action]:
        return (signals.knobs.learning_rate, NO_ESTIMATE), NOTHING

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.gradient is None:
            return state, NOTHING
        rate, estimate = state[0], observed(state[1], signals.gradient, _DECAY)
        scale = noise_scale(estimate)
        if scale is None:
            return (rate, estimate), NOTHING
        worth = gain(signals.knobs.batch_size / self.base_batch, scale / self.base_batch)
        return (rate, estimate), Action(knobs=replace(signals.knobs, learning_rate=rate * worth**self.power))
