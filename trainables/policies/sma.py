"""Average replicas of the model while they train, each on its own small batch (SMA).

Use when   the batch should grow (more samples per round) at the same learning rate: the batch of one replica, which
           sets the rate, stays as it is.
Costs      the memory of `replicas` models and optimisers. Small models are computed all at once, others one after the
           other. Several workers share the replicas, and exchange one model's size in each round. With a small learning
           rate it learns more slowly per epoch than one model.
Settings   replicas: they share `batch_size`. alpha: how fast they give up their distance to the central model (None: 1
           / replicas). momentum: the central model's, beside the optimiser's. One replica: plain training.
Not for    fewer replicas than workers, and optimisers with norms of whole tensors (LARS, LAMB): refused.
           `Execution(compile=True)` speeds up only the evaluations.
Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019.
Differs    several replicas may live in one process (`trainables.training.replicas` has the formulas).
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.contract import Policy
from trainables.values import NOTHING, Action, Averaging, Signals


@dataclass(frozen=True)
class Sma(Policy[None]):
    """Trains several replicas of the model, tied together by a central average.

    >>> policy = Sma(replicas=4)
    """

    replicas: int
    alpha: float | None = None
    momentum: float = 0.9

    writes = frozenset({"average"})

    def __post_init__(self) -> None:
        self._averaging()

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, Action(average=self._averaging())

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING

    def _averaging(self) -> Averaging:
        return Averaging(self.replicas, self.alpha, self.momentum)
