"""Double the batch after each epoch in which the gradient noise scale, measured in batches, grew."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from search.settings import number, one_of, whole
from trainables.contract import Policy
from trainables.estimates.noise_scale import NO_ESTIMATE, NoiseScale, noise_scale, observed
from trainables.values import NOTHING, Action, Knobs, Signals

_SCALING = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}  # the exponent of the batch's growth factor

State = tuple[NoiseScale, float | None, float | None]
"""The estimate, the average of noise scale / batch, and that average at the end of the last epoch."""


@dataclass(frozen=True)
class NoiseScaleBatch(Policy[State]):
    """Doubles the batch size while the measured gradient noise scale grows.

    Use when   devices idle at a small batch, and nobody knows the best batch at each time of the training.
    Costs      the norms of the gradients (`needs`); a larger batch makes fewer updates in the same epochs.
    Settings   most (1024): the largest batch, in samples per update. scaling ("none"): how the learning rate follows when
               the batch grows by a factor: not at all, as published; times its "sqrt"; or "linear". decay (0.9): of the
               averages, per update.
    Not for    fewer than about ten updates per epoch: an average that grew by chance also doubles the batch.
    Source     Mai et al., KungFu: Making Training in Distributed Machine Learning Adaptive, OSDI 2020; the policy of its
               repository, examples/policies/gns_policy.
    Differs    uses one noise scale over all parts of the batch, where the source sums one for each worker (so it grows with
               the cluster); skips an invalid estimate, where the source takes a negative one for a large one.

    >>> policy = NoiseScaleBatch(most=1024)
    """

    most: int = 1024
    scaling: str = "none"
    decay: float = 0.9

    needs = frozenset({"gradient"})
    finds_rate = False

    def __post_init__(self) -> None:
        whole("NoiseScaleBatch", 1, most=self.most)
        one_of("NoiseScaleBatch", tuple(_SCALING), scaling=self.scaling)
        number("NoiseScaleBatch", "[0, 1)", decay=self.decay)

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"batch_size"} if self.scaling == "none" else {"batch_size", "learning_rate"})

    def start(self, signals: Signals) -> tuple[State, Action]:
        why = self._never(signals)
        return (NO_ESTIMATE, None, None), Action(why=why, warns=bool(why))

    def _never(self, signals: Signals) -> str:
        """Why it will not enlarge the batch in this training; empty if it may."""
        if self.most <= signals.knobs.batch_size:
            return (
                f"NoiseScaleBatch never enlarges the batch: it has {signals.knobs.batch_size} samples, and `most` is {self.most}; "
                "set a higher `most`, or begin with a smaller batch"
            )
        if signals.horizon - signals.step < 3:
            return (
                "NoiseScaleBatch never enlarges the batch: it compares two epochs, and no third one follows; train for "
                "three epochs or more"
            )
        return ""

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        estimate, average, last = state
        if signals.train_loss is not None:
            return (estimate, average, average), self._grown(average, last, signals.knobs)
        estimate = observed(estimate, signals.gradient, self.decay)
        scale = noise_scale(estimate)
        if signals.gradient is not None and scale is not None:
            average = self._averaged(average, scale / signals.knobs.batch_size)
        return (estimate, average, last), NOTHING

    def _averaged(self, average: float | None, ratio: float) -> float:
        if average is None:
            return ratio
        ratio = min(max(ratio, average / 2), average * 2)
        return self.decay * average + (1 - self.decay) * ratio

    def _grown(self, average: float | None, last: float | None, knobs: Knobs) -> Action:
        batch_size = min(2 * knobs.batch_size, self.most)
        if average is None or last is None or average <= last or batch_size <= knobs.batch_size:
            return NOTHING
        factor = math.pow(batch_size / knobs.batch_size, _SCALING[self.scaling])
        return Action(
            knobs=replace(knobs, batch_size=batch_size, learning_rate=knobs.learning_rate * factor),
            why="the noise scale grew in this epoch",
            evidence={"noise_scale_by_batch": average, "last_epoch": last},
        )
