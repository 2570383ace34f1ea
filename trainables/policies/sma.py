"""Average replicas of the model while they train, each on its own small batch (SMA)."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.contract import Policy
from trainables.values import NOTHING, Action, Averaging, Signals


@dataclass(frozen=True)
class Sma(Policy[None]):
    """Trains several replicas of the model, tied together by a central average.

    Use when   the batch should grow (more samples per round) at the same learning rate: the batch of one replica, which
               sets the rate, stays as it is.
    Costs      the memory of `replicas` models and optimisers. Small models are computed all at once, others one after the
               other. Several workers share the replicas, and exchange one model's size in each round. With a small learning
               rate it learns more slowly per epoch than one model.
    Settings   replicas: they share `batch_size`. alpha: how fast they give up their distance to the central model (None: 1
               / replicas). momentum: the central model's, beside the optimiser's. period: rounds (updates) from one
               exchange to the next. One replica: plain training.
               outer="nesterov": in place of the corrections, the central model moves by Nesterov's momentum along the
               replicas' mean displacement in a period, at the rate outer_rate (0.7), and the replicas restart from it; their
               optimisers' states stay. That is DiLoCo, for machines that talk slowly: period=10 to 50, so that workers
               exchange one model's size in so many updates. With one replica it is SNOO.
    Not for    a gain in quality by itself: with the corrections, the central model moves as one model with the whole batch and
               an unscaled rate does; its momentum amplifies nothing. What is measured is the central model, which stands
               still within a period: let periods end with the epochs.
               Fewer replicas than workers, and optimisers with norms of whole tensors (LARS, LAMB): refused.
               `Execution(compile=True)` speeds up only the evaluations.
    Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019;
               Douillard et al., DiLoCo, 2023 (rate 0.7 and momentum 0.9 are its).
    Differs    several replicas may live in one process (`trainables.training.replicas` has the formulas).

    >>> policy = Sma(replicas=4)
    """

    replicas: int
    alpha: float | None = None
    momentum: float = 0.9
    period: int = 1
    outer: str | None = None
    outer_rate: float = 0.7

    writes = frozenset({"average"})
    finds_rate = False

    def __post_init__(self) -> None:
        self._averaging()

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action(average=self._averaging())

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING

    def _averaging(self) -> Averaging:
        return Averaging(self.replicas, self.alpha, self.momentum, self.period, self.outer, self.outer_rate)
