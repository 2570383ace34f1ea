"""Grow the batch towards the gradient noise scale, and adapt the learning rate by the rule of LEGW."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search.settings import number, one_of, whole
from trainables.contract import Policy
from trainables.estimates.decay import decay
from trainables.estimates.noise_scale import NO_ESTIMATE, UNKNOWN, gain, noise_scale, observed, smoothed, value
from trainables.values import NOTHING, Action, Signals

_DECAY = 0.99  # of the averages, per update
_PERIOD_EPOCHS = 0.1
_GROWTH = math.sqrt(2)  # halfway, in log scale, between keeping the batch and doubling it
_RISE = 1.5  # average loss over its best
_RETURNS = 3  # roll-backs; instead of another one, the training stops
_RULES = ("sqrt", "linear", "adascale")
_DECAYS = ("constant", "cosine", "linear")

State = dict[str, Any]
"""`rate`: the configuration's. `multiplier`: what roll-backs left of it. `ramp`: (from k, to k, start epoch, epochs).
`calm`: the epoch at which waiting ends. `decided`: the epoch of the last period's end, and `updates` those since then.
`votes`: the periods in a row that asked for growth. `epochs`: seen so far. `snapshot`: this state at the last snapshot."""


@dataclass(frozen=True)
class Date(Policy[State]):
    """Our own controller, based on LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none.

    Our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none: the SC19
    paper uses that name for a "Dynamic Adaptive-Tuning Engine" and does not describe it.

    Use when   a small batch was tuned and larger ones would be faster, but you do not know how large, nor when.
    Costs      the norms of the gradients (`needs`), and a copy of the weights after each epoch that is the best so far.
    Settings   base_batch: for which the configuration's learning rate was tuned. warm_up: epochs, at the base batch.
               most: samples per update (None: a tenth of an epoch). rule: the learning rate at k times the base batch:
               "sqrt" (LEGW), "linear", or "adascale", its gain at the present noise scale, which is also McCandlish's best
               rate.
               decay: "constant", "cosine" or "linear" to 0 over the training. target: the batch to reach, in noise scales.
               patience: the number of periods in a row that must ask for growth; period: updates in a period, a tenth of an
               epoch at least. evidence: updates before the first growth.
    Rules      In this order. Loss not finite, or its average 1.5 times its best: roll back to the snapshot, halve the
               learning rate, wait twice as long; the fourth time, stop. No valid estimate: wait. In a ramp: wait. Noise
               scale above sqrt(2) batches: double the batch, and ramp the rate from k to 2 k times the base for warm_up * k
               epochs.
    Not for    short trainings: the ramps up to k take warm_up * k epochs, as in LEGW. A promise that the larger batch costs
               nothing: the noise scale is a proxy, and was too kind by a factor of 2 on the Penn Treebank. What the batch
               costs is measured by branching: `LargestFreeBatch`.
    Source     You et al., Large-Batch Training for LSTM and Beyond, SC 2019; McCandlish et al., An Empirical Model of
               Large-Batch Training, 2018.

    >>> policy = Date(base_batch=32)
    """

    base_batch: int
    warm_up: float = 0.5
    most: int | None = None
    rule: str = "sqrt"
    decay: str = "constant"
    target: float = 1.0
    patience: int = 3
    period: int = 20
    evidence: int = 50

    writes = frozenset({"learning_rate", "batch_size", "snapshot"})
    needs = frozenset({"loss", "gradient"})
    finds_rate = False

    def __post_init__(self) -> None:
        one_of("Date", _RULES, rule=self.rule)
        one_of("Date", _DECAYS, decay=self.decay)
        for name in ("base_batch", "patience", "period", "evidence"):
            whole("Date", 1, **{name: getattr(self, name)})
        if self.most is not None:
            whole("Date", self.base_batch, most=self.most)
        number("Date", "[0, inf]", warm_up=self.warm_up)
        number("Date", "(0, inf]", target=self.target)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.decay == "constant"

    def start(self, signals: Signals) -> tuple[State, Action]:
        knobs, epochs = signals.knobs, signals.epochs
        times = knobs.batch_size / self.base_batch
        state: State = {
            "rate": knobs.learning_rate, "multiplier": 1.0, "returns": 0,
            "batch_size": knobs.batch_size, "ramp": (0.0, times, epochs, self.warm_up * times), "calm": epochs + self.warm_up * times,
            "estimate": NO_ESTIMATE, "noise_scale": 0.0, "loss": UNKNOWN, "best_loss": math.inf, "best_epoch": math.inf,
            "updates": 0, "decided": epochs, "votes": 0, "epochs": epochs,
        }  # fmt: skip
        knobs, why = replace(knobs, learning_rate=self._rate(state, signals)), self._never(state, signals)
        return {**state, "snapshot": state}, Action(knobs=knobs, snapshot=True, why=why, warns=bool(why))

    def _never(self, state: State, signals: Signals) -> str:
        """What it cannot do in this training; empty if it can do all."""
        most, larger = self._most(signals), 2 * signals.knobs.batch_size
        if state["calm"] >= signals.horizon:
            return (
                f"Date only warms up: that takes {state['calm'] - signals.epochs:g} epochs at this batch, and the training has "
                f"{signals.horizon}; set a shorter `warm_up`, or begin with a smaller batch"
            )
        if larger <= most:
            return ""
        what = "a tenth of an epoch" if self.most is None else "`most`"
        return (
            f"Date never enlarges the batch: a batch of {larger} is more than {what}, {most}; set a higher `most`, or begin "
            "with a smaller batch"
        )

    def _most(self, signals: Signals) -> int:
        """The largest batch."""
        return signals.samples_per_epoch // 10 if self.most is None else self.most

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is not None:
            return self._epoch_ended(state, signals.train_loss)
        if signals.loss is None:
            return state, NOTHING
        state, action = self._decided(self._watched(state, signals, signals.loss), signals, signals.loss)
        rate = self._rate(state, signals)
        knobs = replace(signals.knobs, batch_size=state["batch_size"], learning_rate=rate)
        return state, action if knobs == signals.knobs else replace(action, knobs=knobs)

    def _epoch_ended(self, state: State, train_loss: float) -> tuple[State, Action]:
        """Take a snapshot after the best epoch so far."""
        if train_loss >= state["best_epoch"]:
            return state, NOTHING
        state = {**state, "best_epoch": train_loss}
        return {**state, "snapshot": {key: item for key, item in state.items() if key != "snapshot"}}, Action(
            snapshot=True
        )

    def _watched(self, state: State, signals: Signals, loss: float) -> State:
        average, estimate = smoothed(state["loss"], loss, _DECAY), observed(state["estimate"], signals.gradient, _DECAY)
        scale = noise_scale(estimate)
        return {
            **state, "loss": average, "best_loss": min(state["best_loss"], value(average)), "updates": state["updates"] + 1,
            "estimate": estimate, "noise_scale": state["noise_scale"] if scale is None else scale, "epochs": signals.epochs,
        }  # fmt: skip

    def _decided(self, state: State, signals: Signals, loss: float) -> tuple[State, Action]:
        if not math.isfinite(loss):
            return self._returned(state, "the loss is not finite")
        if state["updates"] < self.period or signals.epochs - state["decided"] < _PERIOD_EPOCHS:
            return state, NOTHING
        state = {**state, "updates": 0, "decided": signals.epochs}
        is_warm = state["ramp"][0] > 0 or signals.epochs >= state["calm"]
        if is_warm and value(state["loss"]) > _RISE * state["best_loss"]:
            return self._returned(state, "the loss rose")
        is_known = noise_scale(state["estimate"]) is not None and state["estimate"][2] >= self.evidence
        is_above = self.target * state["noise_scale"] >= _GROWTH * state["batch_size"]
        votes = state["votes"] + 1 if is_known and signals.epochs >= state["calm"] and is_above else 0
        if votes < self.patience or 2 * state["batch_size"] > self._most(signals):
            return {**state, "votes": votes}, NOTHING
        return self._grown(state)

    def _grown(self, state: State) -> tuple[State, Action]:
        before = state["batch_size"] / self.base_batch
        length = self.warm_up * before  # warm_up * (2 k - k): all ramps up to k take as long as LEGW's warm-up at k
        state = {
            **state, "batch_size": 2 * state["batch_size"], "votes": 0, "ramp": (before, 2 * before, state["epochs"], length),
            "calm": state["epochs"] + length * 2 ** state["returns"],
        }  # fmt: skip
        return state, Action(why="the noise scale is above the batch", evidence={"noise_scale": state["noise_scale"]})

    def _returned(self, state: State, why: str) -> tuple[State, Action]:
        """Return to the weights, batch, ramp and averages at the snapshot."""
        losses = (("loss", value(state["loss"])), ("best_loss", state["best_loss"]))
        evidence = {name: number for name, number in losses if math.isfinite(number)}
        returns, now, snapshot = state["returns"] + 1, state["epochs"], state["snapshot"]
        if returns > _RETURNS:
            return {**state, "returns": returns}, Action(stop=True, why=why + ", once too often", evidence=evidence)
        first, last, begin, length = snapshot["ramp"]
        begin += now - snapshot["epochs"]
        pause = self.warm_up * last * 2**returns
        state = {
            **snapshot, "snapshot": snapshot, "ramp": (first, last, begin, length), "calm": max(begin + length, now + pause),
            "multiplier": state["multiplier"] / 2, "returns": returns, "updates": 0, "decided": now, "epochs": now,
        }  # fmt: skip
        return state, Action(roll_back=True, why=why, evidence=evidence)

    def _rate(self, state: State, signals: Signals) -> float:
        """The rate of the next update, so that a ramp's first update already moves beyond its start."""
        first, last, begin, length = state["ramp"]
        coming = signals.epochs + state["batch_size"] / signals.samples_per_epoch
        share = min(1.0, max(0.0, coming - begin) / length) if length else 1.0
        scale = (1 - share) * self._scale(state, first) + share * self._scale(state, last)
        return float(state["multiplier"] * state["rate"] * scale * decay(self.decay, signals.progress))

    def _scale(self, state: State, times: float) -> float:
        if self.rule == "adascale":
            return gain(times, state["noise_scale"] / self.base_batch)  # the last valid noise scale
        return math.sqrt(times) if self.rule == "sqrt" else times
