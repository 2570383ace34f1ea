"""Multiply the learning rate by a factor when the training loss has stopped falling."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from search.settings import number, whole
from trainables.contract import Policy
from trainables.values import NOTHING, Action, Signals

_SMALLEST_CHANGE = 1e-8  # skip smaller changes of the rate, as torch does


State = tuple[float, int]
"""The best loss so far, and the number of epochs since it improved."""


@dataclass(frozen=True)
class Plateau(Policy[State]):
    """Lowers the learning rate when the training loss stops improving.

    Use when   nothing is known about a good schedule; it has two settings, which a search can tune.
    Costs      nothing.
    Settings   factor: multiplies the learning rate (0: learning ends). patience: epochs without improvement to
               tolerate. threshold: the smallest relative improvement that counts.
    Source     torch.optim.lr_scheduler.ReduceLROnPlateau, as SigOpt's study of Stanford Cars used it: on the
               training loss.
    Differs    allows factor 0; the state is two plain numbers.

    >>> policy = Plateau(factor=0.1, patience=5)
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4

    writes = frozenset({"learning_rate"})
    finds_rate = False

    def __post_init__(self) -> None:
        number("Plateau", "[0, 1)", factor=self.factor)
        whole("Plateau", 0, patience=self.patience)

    def start(self, signals: Signals) -> tuple[State, Action]:
        first = (
            signals.step + self.patience + 2
        )  # the first epoch after which the rate can fall: one is the best before
        if first < signals.horizon:
            return (math.inf, 0), NOTHING
        why = (
            f"Plateau never lowers the rate: its patience leaves no epoch for a lower one in a training of {signals.horizon}; "
            "set a lower `patience`, or train for longer"
        )
        return (math.inf, 0), Action(why=why, warns=True)

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is None:
            return state, NOTHING
        best, waited = state
        if signals.train_loss < best * (1 - self.threshold):
            return (signals.train_loss, 0), NOTHING
        if waited < self.patience:
            return (best, waited + 1), NOTHING
        rate = signals.knobs.learning_rate
        if rate - rate * self.factor <= _SMALLEST_CHANGE:
            return (best, 0), NOTHING
        return (best, 0), Action(knobs=replace(signals.knobs, learning_rate=rate * self.factor))
