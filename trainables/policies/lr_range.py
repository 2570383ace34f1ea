"""Find a learning rate before the training begins: raise it after each update until the loss blows up (range test)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search.settings import number
from search.wording import instance
from trainables.answers import asked
from trainables.contract import Policy
from trainables.estimates.noise_scale import UNKNOWN, smoothed, value
from trainables.values import FOUND_RATE, NOTHING, Action, Signals

_WINDOW = 0.05  # smooths the loss over this share of the sweep
_LONGEST = 0.5  # sweep, as a share of the training
_FEWEST = 41  # updates of a sweep; forty were too few

State = dict[str, Any]
"""During the sweep: samples seen when it `begun`, the `share` that is done, the smoothed `loss`, its `lowest` value and
the `rate` there. Afterwards: `then`, the state of that policy."""


@dataclass(frozen=True)
class LrRange(Policy[State]):
    """Finds a learning rate by a range test, then trains with it.

    Use when   nothing is known about the learning rate; the configuration's is ignored.
    Costs      `epochs` of training, the loss of each update (`needs`), a copy of the weights.
    Settings   low (1e-5), high (10): the range of rates, swept evenly in log scale. epochs (1): the length of the sweep,
               half of the training at most. It should contain a hundred updates; forty were too few with momentum.
               blow_up (4): the sweep ends when the smoothed loss exceeds its lowest value times this.
               divisor (10): the rate chosen is the one with the lowest smoothed loss, divided by this.
               then: the policy that continues with the chosen rate; it starts when the sweep is over.
    Rule       Compared on Quadratic and ResNetPretrain, smallest, two seeds, sweeps of 18 to 135 updates, with a grid of
               fixed rates. A tenth of the rate of the lowest loss was 0.03 to 0.09 for ResNetPretrain, whose best rates are
               0.03 (batch 16) and 0.1 (64). A tenth of the rate of the blow-up was up to 0.9, where training diverges,
               because batch normalisation delays the blow-up. The steepest descent gave anything from 1e-5 to 0.3.
    Not for    comparing rates that differ by less than a factor of three; weight decay and schedule shift the best one.
    Source     Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3; the rule is fastai's.
    Differs    rolls weights and optimiser back after the sweep; the samples of the sweep count as seen.

    >>> policy = LrRange(low=1e-5, high=1.0, then=LrSchedule("cosine"))
    """

    low: float = 1e-5
    high: float = 10.0
    epochs: float = 1.0
    blow_up: float = 4.0
    divisor: float = 10.0
    then: Policy[Any] | None = None

    finds_rate = True

    def __post_init__(self) -> None:
        if self.then is not None:
            instance("LrRange", Policy, then=self.then)
        number("LrRange", "(0, inf)", low=self.low)
        number("LrRange", f"({self.low}, inf)", high=self.high)
        number("LrRange", "(0, inf]", epochs=self.epochs)
        number("LrRange", "(1, inf]", blow_up=self.blow_up)
        number("LrRange", "[1, inf]", divisor=self.divisor)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        """Follows `then`: the sweep is counted in epochs, and its limit of half the training only catches mistakes."""
        return self.then is None or self.then.resumable

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"learning_rate", "snapshot"}) | (self.then.writes if self.then else frozenset())

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"loss"}) | (self.then.needs if self.then else frozenset())

    def start(self, signals: Signals) -> tuple[State, Action]:
        begun = {"begun": signals.samples, "share": 0.0, "loss": UNKNOWN, "lowest": math.inf, "rate": self.low}
        return begun, Action(explore=True, knobs=replace(signals.knobs, learning_rate=self.low))

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if "then" in state:
            return self._then(state, signals)
        if signals.loss is None:
            return state, NOTHING
        state = self._listened(state, signals)
        blown_up = not math.isfinite(signals.loss) or value(state["loss"]) > self.blow_up * state["lowest"]
        if blown_up or state["share"] >= 1:
            return self._taken(state, signals)
        rate = self.low * (self.high / self.low) ** state["share"]
        return state, Action(knobs=replace(signals.knobs, learning_rate=rate))

    def _listened(self, state: State, signals: Signals) -> State:
        assert signals.loss is not None
        share = (signals.samples - state["begun"]) / self._length(signals)
        loss = smoothed(state["loss"], signals.loss, math.exp((state["share"] - share) / _WINDOW))
        state = {**state, "share": share, "loss": loss}
        if value(loss) < state["lowest"]:
            return {**state, "lowest": value(loss), "rate": signals.knobs.learning_rate}
        return state

    def _taken(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Roll back to the snapshot, with the rate that the sweep found."""
        rate = max(self.low, state["rate"] / self.divisor)
        knobs = replace(signals.knobs, learning_rate=rate)
        evidence = {"lowest_at": state["rate"], "ended_at": signals.knobs.learning_rate, "lowest": state["lowest"]}
        evidence = {name: number for name, number in evidence.items() if math.isfinite(number)}
        inner, action = asked(self.then, "start", replace(signals, knobs=knobs)) if self.then else (None, NOTHING)
        why = f"the smoothed loss was lowest at {state['rate']:.3g}: a rate {self.divisor:g} times smaller"
        updates = self._length(signals) / signals.knobs.batch_size
        if is_short := updates < _FEWEST:
            why = f"LrRange swept all rates in only {updates:.0f} updates, and a hundred tell more: {why}"
        why = "; ".join(filter(None, (why, action.why)))
        return {"then": inner}, replace(
            action, roll_back=True, knobs=action.knobs or knobs, why=why, warns=is_short or action.warns, evidence=evidence,
            found={FOUND_RATE: rate},
        )  # fmt: skip

    def _length(self, signals: Signals) -> float:
        """Samples of the whole sweep."""
        return min(self.epochs, _LONGEST * signals.horizon) * signals.samples_per_epoch

    def _then(self, state: State, signals: Signals) -> tuple[State, Action]:
        if self.then is None:
            return state, NOTHING
        inner, action = asked(self.then, "act", signals, state["then"])
        return {"then": inner}, action
