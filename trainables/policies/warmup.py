"""Raise the learning rate linearly from a small value to its peak, and scale the peak with the batch (LEGW)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search.settings import number, one_of, whole
from search.wording import instance
from trainables.answers import asked
from trainables.contract import Policy
from trainables.values import NOTHING, Action, Signals

_SCALINGS = ("sqrt", "linear", "none")
_LONGEST = 0.5  # warm-up, as a share of the training


State = tuple[float, float, tuple[Any, ...]]
"""Epochs of the warm-up, the learning rate without the ramp, the state of `then` (empty: not started)."""


@dataclass(frozen=True)
class Warmup(Policy[State]):
    """Raises the learning rate over the first epochs, then hands over to another policy.

    Use when   the rate was tuned for a smaller batch, or the first updates at the full rate do harm.
    Costs      nothing.
    Settings   epochs: the length of the warm-up, at the base batch if there is one. 0: no warm-up, only the scaling.
               base_batch (None): the samples per update for which the learning rate and `epochs` are meant. Below, k is the
               batch at the start divided by it. None: they are meant for the batch at the start, so k = 1.
               scaling ("sqrt"): the peak is the configuration's rate times sqrt(k); "linear": times k; "none": times 1.
               stretch (True): the warm-up takes `epochs` * k, which is the same number of updates at every batch size.
               then (None): the policy that continues from the peak. It sees the rate without the ramp and runs from the
               start. A policy that takes snapshots to try rates starts after the warm-up.
    Recipes    Warmup(0.3, base_batch=128) is LEGW. Warmup(5, 256, "linear", stretch=False) is the rule of Goyal et al.,
               Accurate, Large Minibatch SGD, 2017. Warmup(0, 256, "linear") scales without a warm-up.
    Not for    a base rate that is too small: "linear" is better then, and "sqrt" looks useless. Batches below the base
               batch: the formula holds for them too, but no published experiments cover them.
               Batches that are not small compared with the critical batch: the same number of epochs then has too few
               useful updates, whatever the rule. A batch of B needs about 1 + B / B_crit times the samples. So, for the
               same number of epochs, a batch is free up to a tenth of the critical batch, and costs a quarter more at a
               quarter of it. On the Penn Treebank with 13 epochs, k = 32 leaves 949 updates, and no recipe that we tried
               comes near the base batch; at k = 16 the best of nine (Adam) had perplexity 118, LEGW 135, the base batch 69.
               The critical batch is small at first and grows, so let the batch grow: `LargestFreeBatch`.
    Source     You et al., Large-Batch Training for LSTM and Beyond, SC 2019.
    Differs    shortens a warm-up that is longer than half of the training to that half, and records this as a decision.

    >>> policy = Warmup(2.0, then=LrSchedule("cosine"))
    """

    epochs: float
    base_batch: int | None = None
    scaling: str = "sqrt"
    stretch: bool = True
    then: Policy[Any] | None = None

    def __post_init__(self) -> None:
        if self.then is not None:
            instance("Warmup", Policy, then=self.then)
        number("Warmup", "[0, inf)", epochs=self.epochs)
        if self.base_batch is not None:
            whole("Warmup", 1, base_batch=self.base_batch)
        one_of("Warmup", _SCALINGS, scaling=self.scaling)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        """Follows `then`: a warm-up is counted in epochs, and its limit of half the training only catches mistakes."""
        return self.then is None or self.then.resumable

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"learning_rate"}) | (self.then.writes if self.then else frozenset())

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.then.needs if self.then else frozenset()

    @property
    def finds_rate(self) -> bool | None:  # type: ignore[override]
        return self.then.finds_rate if self.then else False

    def start(self, signals: Signals) -> tuple[State, Action]:
        knobs = signals.knobs
        times = knobs.batch_size / self.base_batch if self.base_batch else 1.0
        scale = {"sqrt": math.sqrt(times), "linear": times, "none": 1.0}[self.scaling]
        wanted = self.epochs * (times if self.stretch else 1.0)
        length = min(wanted, _LONGEST * signals.horizon)
        state, action = self._ramped((length, scale * knobs.learning_rate, ()), signals)
        why = f"a warm-up of {wanted:g} epochs is shortened to half of the training, {length:g}"
        if length == wanted:
            if not 0 < length * signals.samples_per_epoch <= knobs.batch_size:
                return state, action
            why = f"a warm-up of {wanted:g} epochs is no longer than an update, and has no effect; set more `epochs`"
        why = "; ".join(filter(None, (why, action.why)))
        return state, replace(
            action, why=why, warns=True, evidence={**action.evidence, "wanted": wanted, "epochs": length}
        )

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        return self._ramped(state, signals)

    def _ramped(self, state: State, signals: Signals) -> tuple[State, Action]:
        """The action of `then`, with the ramp applied to its learning rate."""
        length, rate, inner = state
        bare = replace(signals.knobs, learning_rate=rate)
        inner, action = self._then(inner, replace(signals, knobs=bare), is_warm=signals.epochs >= length)
        bare = action.knobs or bare
        # Update i of W has the rate (i + 1) / W, so that the first is not wasted on a rate of 0.
        coming = length * signals.samples_per_epoch
        ramp = (signals.samples + bare.batch_size) / coming if coming else 1.0
        knobs = replace(bare, learning_rate=bare.learning_rate * (ramp if ramp < 1 - 1e-9 else 1.0))
        return (length, bare.learning_rate, inner), replace(action, knobs=None if knobs == signals.knobs else knobs)

    def _then(self, inner: tuple[Any, ...], signals: Signals, *, is_warm: bool) -> tuple[tuple[Any, ...], Action]:
        if self.then is None or (not inner and not is_warm and "snapshot" in self.then.writes):
            return (), NOTHING
        state, action = asked(self.then, "act", signals, inner[0]) if inner else asked(self.then, "start", signals)
        return (state,), action
