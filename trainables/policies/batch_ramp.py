"""Enlarge the batch at milestones where a baseline would lower the learning rate: the same noise, fewer updates."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.settings import number, rising_shares, whole
from trainables.contract import Policy
from trainables.estimates.decay import passed
from trainables.values import NOTHING, Action, Signals

State = tuple[float, int]
"""Learning rate and batch of the configuration."""


@dataclass(frozen=True)
class BatchRamp(Policy[State]):
    """Grows the batch where a schedule would lower the learning rate.

    Use when   a step schedule works and larger batches are faster: the same samples in fewer updates.
    Costs      nothing.
    Settings   at: shares of the training at which the baseline multiplies its rate by `decay`. decay (0.1).
               growth (None: 1 / decay): multiplies the batch at each. The rate is multiplied by growth * decay, so rate /
               batch, and with it the noise of SGD, follows the baseline's. A batch that would exceed `most` (None: a tenth
               of an epoch) stays as it is, and only the rate is lowered.
               decay=None: only the batch grows; another policy may set the rate (`Compose`).
    Recipes    BatchRamp((0.3, 0.6, 0.8), decay=0.2) is "don't decay the learning rate, increase the batch size".
               BatchRamp(at, decay=0.375, growth=2) is AdaBatch as published: rate times 0.75, the baseline's times 0.375.
               Averaged(BatchRamp((0.3, 0.38), decay=0.5**0.5, growth=2)): half of the updates, for 0.2 % at most on three of
               four trainings (experiments/results/batch_size.md).
    Not for    Adam and its relatives with a growth of 1 / decay: their noise does not follow rate / batch. Batch normalisation
               notices the change.
    Source     Smith et al., Don't Decay the Learning Rate, Increase the Batch Size, ICLR 2018; Devarakonda et al.,
               AdaBatch, 2017.
    Differs    computes the rate from the rounded batch size, so rate / batch is exact.

    >>> policy = BatchRamp(at=(0.5, 0.75), decay=0.1)
    """

    resumable = False
    finds_rate = False

    at: tuple[float, ...] = (0.3, 0.6, 0.8)
    decay: float | None = 0.1
    growth: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        rising_shares("BatchRamp", at=self.at)
        if not self.at:
            raise ValueError("BatchRamp(at=()): needs a share of the training; try at=(0.5, 0.75).")
        if self.decay is None and self.growth is None:
            raise ValueError(
                "BatchRamp(decay=None, growth=None): needs decay or growth; try growth=2 to double the batch and leave the rate alone."
            )
        if self.decay is not None:
            number("BatchRamp", "(0, 1)", decay=self.decay)
        if self.growth is not None:
            number("BatchRamp", "(1, inf]", growth=self.growth)
        if self.most is not None:
            whole("BatchRamp", 1, most=self.most)

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"batch_size"} if self.decay is None else {"batch_size", "learning_rate"})

    def start(self, signals: Signals) -> tuple[State, Action]:
        state, action = self.act((signals.knobs.learning_rate, signals.knobs.batch_size), signals)
        why = self._never(signals)
        return state, replace(action, why=why, warns=bool(why))

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        rate, first = state
        behind = passed(self.at, signals.progress)
        batch = self._batch(first, behind, signals.samples_per_epoch)
        knobs = replace(signals.knobs, batch_size=batch)
        if self.decay is not None:
            knobs = replace(knobs, learning_rate=rate * self.decay**behind * (batch / first))
        return state, NOTHING if knobs == signals.knobs else Action(knobs=knobs)

    def _never(self, signals: Signals) -> str:
        """Why the batch stays as it is throughout; empty if it grows."""
        first, most = signals.knobs.batch_size, self._most(signals.samples_per_epoch)
        if self._batch(first, len(self.at), signals.samples_per_epoch) > first:
            return ""
        larger = round(first * self._growth)
        why = f"a batch of {larger} is more than {'a tenth of an epoch' if self.most is None else '`most`'}, {most}"
        if larger <= most:
            why = f"{first} samples times {self._growth:g} are {larger}"
        only = "" if self.decay is None else ", so only the learning rate falls"
        return (
            f"BatchRamp never enlarges the batch{only}: {why}; set a higher `most` or another `growth`, or begin with "
            "another batch"
        )

    @property
    def _growth(self) -> float:
        return self.growth or 1 / (self.decay or 1.0)

    def _most(self, samples_per_epoch: int) -> int:
        return samples_per_epoch // 10 if self.most is None else self.most

    def _batch(self, first: int, behind: int, samples_per_epoch: int) -> int:
        """The batch size after `behind` milestones; a milestone at which it would exceed the limit changes nothing."""
        most = self._most(samples_per_epoch)
        fitting = [first] + [batch for n in range(1, behind + 1) if (batch := round(first * self._growth**n)) <= most]
        return fitting[-1]
