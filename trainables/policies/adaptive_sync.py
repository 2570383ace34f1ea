"""Average replicas early, which explores; average gradients late, which converges."""

from __future__ import annotations

from dataclasses import dataclass

from search.settings import number, share, whole
from trainables.contract import Policy
from trainables.estimates.noise_scale import NO_ESTIMATE, NoiseScale, noise_scale, observed
from trainables.values import NOTHING, Action, Averaging, Signals

_DECAYED = 0.5  # of the highest learning rate so far

State = tuple[NoiseScale, int, float] | None
"""The noise scale's estimate, evaluations in a row with it above the batch, the highest rate; None after the switch."""


@dataclass(frozen=True)
class AdaptiveSync(Policy[State]):
    """Averages replicas at first, and switches to plain training when averaging no longer pays.

    Use when   `Sma` trains well at first and loses to plain training at the end.
    Costs      the cost of `Sma` until the switch; with share=None also the norms of the gradients.
    Settings   replicas, alpha, momentum: see `Sma`. share: the share of the training after which one model continues from
               the average. None: switch when the gradient noise scale has exceeded the batch of all replicas for `patience`
               evaluations in a row, so that averaging their gradients pays; or, if earlier, when another policy has lowered
               the learning rate to half of its highest value. decay: of the noise scale's moving averages, per update.
    Not for    share=None if the replicas lie far apart (large learning rates): each gradient is taken at the replica's own
               weights, which adds to the noise and makes the switch early.
    Source     Mai et al., KungFu, OSDI 2020: AdaptiveSGD, with a step given by the user. The rules of share=None are ours.
    Differs    uses a central model with momentum (Crossbow's) instead of KungFu's plain averaging; the switch also averages
               the optimisers' states, where KungFu takes the first worker's.

    >>> policy = AdaptiveSync(replicas=4)
    """

    replicas: int
    share: float | None = 0.5
    alpha: float | None = None
    momentum: float = 0.9
    patience: int = 2
    decay: float = 0.95

    writes = frozenset({"average"})
    finds_rate = False

    def __post_init__(self) -> None:
        self._averaging()
        whole("AdaptiveSync", 2, replicas=self.replicas)
        if self.share is not None:
            share("AdaptiveSync", "(0, 1)", share=self.share)
        whole("AdaptiveSync", 1, patience=self.patience)
        number("AdaptiveSync", "[0, 1)", decay=self.decay)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.share is None

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"gradient"}) if self.share is None else frozenset()

    def start(self, signals: Signals) -> tuple[State, Action]:
        return (NO_ESTIMATE, 0, 0.0), Action(average=self._averaging())

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if state is None:
            return None, NOTHING
        if self.share is not None:
            if signals.progress < self.share:
                return state, NOTHING
            return None, _switch("the averaging's share is over", progress=signals.progress)
        estimate, above, highest = state
        rate, highest = signals.knobs.learning_rate, max(highest, signals.knobs.learning_rate)
        if rate <= _DECAYED * highest:
            return None, _switch("the learning rate has come down", learning_rate=rate, highest=highest)
        estimate = observed(estimate, signals.gradient, self.decay)
        if signals.train_loss is None:
            return (estimate, above, highest), NOTHING
        scale, batch_size = noise_scale(estimate), signals.knobs.batch_size
        above = above + 1 if scale is not None and scale > batch_size else 0
        if scale is None or above < self.patience:
            return (estimate, above, highest), NOTHING
        return None, _switch("the noise scale is above the batch", noise_scale=scale, batch_size=batch_size)

    def _averaging(self) -> Averaging:
        return Averaging(self.replicas, self.alpha, self.momentum)


def _switch(why: str, **evidence: float) -> Action:
    return Action(average=Averaging(1), why=why, evidence=evidence)
