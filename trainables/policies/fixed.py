"""Keep the knobs where the configuration put them."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.contract import Policy
from trainables.values import NOTHING, Action, Signals


@dataclass(frozen=True)
class Fixed(Policy[None]):
    """Keeps the learning rate and all other knobs at the configuration's values. The default.

    >>> policy = Fixed()
    """

    finds_rate = False

    def start(self, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING

    def act(self, state: None, signals: Signals) -> tuple[None, Action]:
        return None, NOTHING
