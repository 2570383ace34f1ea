"""Lower the learning rate along a given curve that starts at the configuration's rate."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.settings import number, one_of, rising_shares, share
from trainables.contract import Policy
from trainables.estimates.decay import SHAPES, decay
from trainables.values import NOTHING, Action, Signals


@dataclass(frozen=True)
class LrSchedule(Policy[float]):
    """Lowers the learning rate along a curve. The state is the configuration's learning rate.

    Use when   the number of epochs is fixed: nearly every good recipe ends at a small rate. Cosine is a safe first choice.
    Costs      nothing.
    Settings   shape: "constant", "cosine", "linear", "polynomial" or "steps", see `trainables.estimates.decay`. power (2):
               of the polynomial. factor (0.1), at (half and three quarters of the training): of the steps.
               begin_at (0): the rate stays constant until this share of the training. For a polynomial that begins after
               the warm-up, as in the public LARS code, give the warm-up's share; "linear" with 0.8 is warm-up, stable,
               decay.
    Not for    trainings that may be cut short or extended: all but "constant" depend on the horizon. Plateau does not.
    Source     You et al., Large-Batch Training for LSTM and Beyond, SC 2019, whose tables use steps, polynomials and
               constants; Loshchilov & Hutter, SGDR, ICLR 2017 (cosine, here without restarts).

    >>> policy = LrSchedule("cosine")
    """

    shape: str = "cosine"
    power: float = 2.0
    factor: float = 0.1
    at: tuple[float, ...] = (0.5, 0.75)
    begin_at: float = 0.0

    writes = frozenset({"learning_rate"})
    finds_rate = False

    def __post_init__(self) -> None:
        one_of("LrSchedule", SHAPES, shape=self.shape)
        number("LrSchedule", "(0, inf]", power=self.power)
        number("LrSchedule", "[0, 1]", factor=self.factor)
        share("LrSchedule", "[0, 1)", begin_at=self.begin_at)
        rising_shares("LrSchedule", at=self.at)
        if self.shape == "steps" and not self.at:
            raise ValueError('LrSchedule("steps", at=()): needs a share of the training; try at=(0.5, 0.75).')

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.shape == "constant"

    def start(self, signals: Signals) -> tuple[float, Action]:
        return self.act(signals.knobs.learning_rate, signals)

    def act(self, state: float, signals: Signals) -> tuple[float, Action]:
        share = max(0.0, (signals.progress - self.begin_at) / (1 - self.begin_at))
        rate = state * decay(self.shape, share, power=self.power, factor=self.factor, at=self.at)
        if rate == signals.knobs.learning_rate:
            return state, NOTHING
        return state, Action(knobs=replace(signals.knobs, learning_rate=rate))
