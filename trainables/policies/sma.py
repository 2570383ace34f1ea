"""Average replicas of the model while they train, each on a small batch of its own (SMA).

Use when   batches are to grow (more samples a round) without another learning rate: the batch of a replica, on which
           the rate depends, stays as it is.
Costs      the memory of `replicas` models and optimisers; small models are computed all at once, others one after the
           other. Several workers share the replicas, and add up one model's size in each round. Slower per epoch than one
           model where the learning rate is small.
Settings   replicas: `batch_size` is shared by them. alpha: how fast they give up their distance to the central model
           (None: 1 / replicas). momentum: of the central model, beside that of the optimiser. One replica: plain training.
Not for    fewer replicas than workers, and optimisers with norms of whole tensors (LARS, LAMB): refused. `Execution(compile=True)`
           speeds up the evaluations only.
Source     Koliousis et al., Crossbow: Scaling Deep Learning with Small Batch Sizes on Multi-GPU Servers, VLDB 2019.
Differs    several replicas may live in one process (`trainables.training.replicas` has the formulas).
"""

from __future__ import annotations

from dataclasses import dataclass

from trainables.contract import Policy
from trainables.values import NOTHING, Action, Averaging, Signals


@dataclass(frozen=True)
class Sma(Policy[None]):
    """Trains several replicas of the model, held together by a central average.

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
