"""Roll back to the last good weights when the loss blows up, and continue with a smaller learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from search.settings import number, whole
from search.wording import instance, shown
from trainables.answers import asked
from trainables.contract import Policy
from trainables.estimates.noise_scale import UNKNOWN, Smoothed, smoothed, value
from trainables.values import Action, Signals

_KNOWN = 0.5  # the weight that the average must have before it counts
_ERRORS = 3  # standard errors by which the average may lie below the true mean: it is the lowest of many
_FIRST = 8  # losses that tell where the training began; a single one of a small batch may be a fraction of the mean

State = dict[str, Any]
"""`rate`: the inner policy's. `loss`, `square`: the loss and its square, smoothed since the last roll-back. `spread`: the sum of
the squares of the weights in them. `best`: the lowest upper bound of the smoothed loss. `samples`: seen. `heard`: losses
before the average counted, `first`: the mean of the first of them, inf if they are too few. `above`: epochs in a
row whose loss was higher."""

_FORGOTTEN: State = {"loss": UNKNOWN, "square": UNKNOWN, "spread": 0.0}


@dataclass(frozen=True)
class Watchdog(Policy[State]):
    """Rolls back and lowers the learning rate when the loss blows up.

    Use when   you search rates near the largest stable one, or one bad stretch must not ruin a long training.
    Costs      the loss of each update (`needs`), a copy of the weights after each good epoch.
    Settings   policy: the inner policy; it sees the rate without the cuts. factor (1.5): alarm when the smoothed loss
               exceeds its best value times this, or is not finite. The best value is the lowest that the smoothed loss had,
               plus three standard errors, so that a lucky stretch of a noisy loss raises no alarm later. The mean of the
               first eight losses times `factor` counts as a best value, so that an explosion among the first updates is
               noticed. cut (0.5): multiplies the rate after an alarm. most (3):
               the number of roll-backs; the next alarm ends the training. window (0.5): epochs over which to smooth the
               loss. A tenth raised false alarms on three small workloads of 4 to 9 updates per epoch, a quarter on one, a
               half on none.
    Not for    losses that rise by design (restarts of the rate, growing sequences), or come near 0; the wild batches of a
               tiny training set: lengthen the window. It cannot save an epoch in which only the last update breaks the
               weights, nor a network that falls back, within the first window, to the loss that it began with: of that it
               only warns.
    Source     a common rule of hand-run trainings; numbers as in our controller `Date`.
    Differs    rolls back weights and optimiser only; data, schedule and the inner policy's state continue.

    >>> policy = Watchdog(LrSchedule("cosine"))
    """

    policy: Policy[Any]
    factor: float = 1.5
    cut: float = 0.5
    most: int = 3
    window: float = 0.5

    def __post_init__(self) -> None:
        instance("Watchdog", Policy, policy=self.policy)
        if "snapshot" in self.policy.writes:
            raise ValueError(
                f"{shown(self)}: {type(self.policy).__name__} takes snapshots itself, and there is only one snapshot; watch another policy, or leave "
                f"the Watchdog out."
            )
        number("Watchdog", "(1, inf]", factor=self.factor)
        number("Watchdog", "(0, 1)", cut=self.cut)
        whole("Watchdog", 0, most=self.most)
        number("Watchdog", "(0, inf]", window=self.window)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.policy.resumable

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return self.policy.writes | {"learning_rate", "snapshot"}

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return self.policy.needs | {"loss"}

    @property
    def finds_rate(self) -> bool | None:  # type: ignore[override]
        return self.policy.finds_rate

    def start(self, signals: Signals) -> tuple[State, Action]:
        inner, action = asked(self.policy, "start", signals)
        rate = (action.knobs or signals.knobs).learning_rate
        state = {"inner": inner, "rate": rate, "multiplier": 1.0, "returns": 0}
        state |= {
            **_FORGOTTEN,
            "best": math.inf,
            "samples": signals.samples,
            "heard": 0,
            "first": math.inf,
            "above": 0,
        }
        why = "; ".join(filter(None, (self._never(signals), action.why)))
        return state, replace(action, snapshot=True, why=why, warns=action.warns or why != action.why)

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        bare = replace(signals.knobs, learning_rate=state["rate"])
        inner, action = asked(self.policy, "act", replace(signals, knobs=bare), state["inner"])
        bare = action.knobs or bare
        state = {**self._listened(state, signals), "inner": inner, "rate": bare.learning_rate}
        if signals.loss is not None and self._is_alarming(state, signals.loss):
            state, action = self._returned(state, action, signals.loss)
        elif signals.train_loss is not None:
            state, action = self._epoch_ended(state, action)
        knobs = replace(bare, learning_rate=bare.learning_rate * state["multiplier"])
        return state, replace(action, knobs=None if knobs == signals.knobs else knobs)

    def _never(self, signals: Signals) -> str:
        """Why it can only tell a loss that is no finite number; empty if it can tell more."""
        known = -self.window * math.log(1 - _KNOWN)  # epochs
        if signals.epochs + known < signals.horizon:
            return ""
        return (
            f"Watchdog never notices that the loss rises: it averages over {known:.2g} epochs first, and the training has "
            f"{signals.horizon}; lower `window`"
        )

    def _listened(self, state: State, signals: Signals) -> State:
        if signals.loss is None:
            return state
        seen = (signals.samples - state["samples"]) / signals.samples_per_epoch
        decay = math.exp(-seen / self.window)
        loss = smoothed(state["loss"], signals.loss, decay)
        noise = _FORGOTTEN | state  # an older state has no squares
        square = smoothed(noise["square"], signals.loss * signals.loss, decay)
        spread = decay**2 * noise["spread"] + (1 - decay) ** 2 if math.isfinite(signals.loss) else noise["spread"]
        heard = state.get("heard", _FIRST) + 1  # an older state does not know its first losses
        first, best = state.get("first", math.inf), state["best"]
        if loss[1] >= _KNOWN:
            best = min(best, value(loss) + _ERRORS * _standard_error(loss, square, spread), _above(first, self.factor))
            heard = _FIRST
        elif heard == _FIRST:
            first = value(loss)
        average = {"loss": loss, "square": square, "spread": spread, "samples": signals.samples}
        return {**state, **average, "best": best, "heard": heard, "first": first}

    def _epoch_ended(self, state: State, action: Action) -> tuple[State, Action]:
        """Take a snapshot after a good epoch; warn after two in a row that were worse than the start."""
        loss = value(state["loss"])
        halfway = (1 + self.factor) / 2
        above = state.get("above", 0) + 1 if loss > _above(state.get("first", math.inf), halfway) else 0
        if above == 2:
            told = "the loss is above that of the first updates, two epochs in a row; the learning rate may be too high"
            action = replace(action, why="; ".join(filter(None, (action.why, told))), warns=True)
        is_good = loss <= _above(state["best"], halfway)
        return {**state, "above": above}, replace(action, snapshot=True) if is_good else action

    def _is_alarming(self, state: State, loss: float) -> bool:
        known = state["loss"][1] >= _KNOWN
        return not math.isfinite(loss) or (known and value(state["loss"]) > _above(state["best"], self.factor))

    def _returned(self, state: State, action: Action, loss: float) -> tuple[State, Action]:
        why = "the loss rose" if math.isfinite(loss) else "the loss is no finite number"
        measured = {"loss": value(state["loss"]), "best": state["best"], "returns": state["returns"]}
        evidence = {name: float(number) for name, number in measured.items() if math.isfinite(number)}
        if state["returns"] == self.most:
            return state, replace(action, stop=True, why=f"{why}, once too often", evidence=evidence)
        returned = {
            **state,
            **_FORGOTTEN,
            "above": 0,
            "multiplier": state["multiplier"] * self.cut,
            "returns": state["returns"] + 1,
        }
        return returned, replace(action, roll_back=True, why=f"{why}: back to the snapshot", evidence=evidence)


def _standard_error(loss: Smoothed, square: Smoothed, spread: float) -> float:
    """That of the smoothed loss, if the losses are independent; infinite for a single one."""
    share = spread / loss[1] ** 2  # 1 / the number of losses that an equal mean would need
    if share >= 1:
        return math.inf
    variance = max(0.0, value(square) - value(loss) ** 2) / (1 - share)  # (1 - share): unbiased
    return math.sqrt(variance * share)


def _above(loss: float, factor: float) -> float:
    """The loss that is `factor` times as high; of a negative one, such as a log likelihood's, as far above it."""
    return loss + (factor - 1) * abs(loss)
