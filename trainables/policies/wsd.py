"""Warm up, stay, decay (WSD), with a short cool-down from the constant trunk at each step that somebody looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

from search.settings import number, one_of, share
from trainables.contract import Policy
from trainables.values import NOTHING, PRESENT, Action, Signals

_USUAL = 4  # from one rung to the next
_DATA = ("fresh", "replay")


class State(TypedDict):
    rate: float  # of the trunk
    undone: int  # samples of earlier cool-downs, which the trunk lacks
    resumed: int  # samples seen at the end of the last one
    begun: int | None  # samples seen at the start of this one; None on the trunk
    until: int  # samples at its end
    step: int  # the rung that it ends at


@dataclass(frozen=True)
class Wsd(Policy[State]):
    """Keeps the rate constant, with a cool-down before each step at which the training may end.

    Before the end of each step of `rungs` the trunk is marked, and the rate falls in a line to zero. The step reports the
    cooled weights: what a training that ends there would have reached. Then the training goes back to the mark and on at
    the constant rate. So trainings of every length share one trunk.

    Use when   trainings are cut short and promoted (tasks, Asha, MultitaskSearch), and a schedule should end each of them:
               a cosine has to start over for each length.
    Costs      a fifth of what was trained, at each rung; all counted. With the usual rungs 5 to 10 % of a long training. Two
               copies of the weights; one update that is undone after each rung.
    Settings   cool (0.2): the length of a cool-down, as a share of what the cooled weights have seen.
               rungs (()): steps (usually epochs) to cool down at; (): 1, 4, 16, …, which are Asha's. Name the steps that
               your tasks and your scheduler look at: a share s of the horizon is the step ceil(s * horizon). The horizon is
               always one.
               warm_up (0): epochs in which the rate rises from zero.
               data: "fresh": the trunk goes on with new samples after a cool-down; "replay": with those of the cool-down.
    Not for    a fixed length: `LrSchedule("linear", begin_at=0.8)` gives the same end without the cost of branches.
               Rungs at every step: a cool-down takes at most half of the time since the last one. Averaged weights often
               tell the same at no cost: see `Averaged`.
    Source     Hägele et al., Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations, NeurIPS 2024; Hu et
               al., MiniCPM, 2024.
    Differs    the cool-downs take their updates from the training's own length, so that the trunk is shorter by them.

    >>> policy = Wsd(rungs=(2, 10), warm_up=0.5)
    """

    cool: float = 0.2
    rungs: tuple[int, ...] = ()
    warm_up: float = 0.0
    data: str = "fresh"

    needs = frozenset[str]()
    finds_rate = False

    def __post_init__(self) -> None:
        share("Wsd", "(0, 1)", cool=self.cool)
        number("Wsd", "[0, inf)", warm_up=self.warm_up)
        one_of("Wsd", _DATA, data=self.data)
        if list(self.rungs) != sorted(set(self.rungs)) or not all(
            type(rung) is int and rung >= 1 for rung in self.rungs
        ):
            raise ValueError(
                f"Wsd(rungs={self.rungs!r}): must be rising steps, whole numbers from 1 on; try rungs=(1, 4, 16)."
            )

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"learning_rate", "snapshot"} | ({"replay"} if self.data == "replay" else set()))

    def start(self, signals: Signals) -> tuple[State, Action]:
        state: State = {
            "rate": signals.knobs.learning_rate, "undone": 0, "resumed": signals.samples, "begun": None, "until": 0, "step": 0,
        }  # fmt: skip
        return self._on_the_trunk(state, signals)

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is not None or signals.metrics:
            return state, NOTHING
        begun = state["begun"]
        if begun is None:
            return self._on_the_trunk(state, signals)
        if signals.samples > state["until"]:
            return self._back(state, signals, begun)
        return state, _turned(signals, self._rate(state, signals))

    def _on_the_trunk(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Keep the rate, or begin the cool-down if the next rung is near."""
        step = self._next_rung(signals)
        until = step * signals.samples_per_epoch
        length = min(self.cool * (until - state["undone"]), (until - state["resumed"]) / 2)
        # Half a batch: the cool-down begins at the nearest update.
        if signals.samples + signals.knobs.batch_size / 2 <= until - length:
            return state, _turned(signals, self._rate(state, signals))
        state = {**state, "begun": signals.samples, "until": until, "step": step}
        evidence = {"step": float(step), "samples": float(until - signals.samples)}
        why = f"cools down for step {step}"
        return state, replace(
            _turned(signals, self._rate(state, signals)), explore=True, reports=PRESENT, why=why, evidence=evidence
        )

    def _back(self, state: State, signals: Signals, begun: int) -> tuple[State, Action]:
        """Go back to the trunk: the checkpoint of the rung's step, which came before this update, holds what it reported."""
        cost = signals.samples - begun
        evidence = {"step": float(state["step"]), "undone_samples": float(cost)}
        why = f"back to the trunk after the cool-down for step {state['step']}"
        state = {**state, "undone": state["undone"] + cost, "resumed": signals.samples, "begun": None}
        state, action = self._on_the_trunk(state, signals)
        both = "; ".join(filter(None, (why, action.why)))
        return state, replace(
            action, roll_back=True, replay=self.data == "replay", why=both, evidence={**action.evidence, **evidence}
        )

    def _rate(self, state: State, signals: Signals) -> float:
        """The rate of the next update."""
        rate = state["rate"]
        if self.warm_up:
            seen = signals.samples - state["undone"] + signals.knobs.batch_size
            rate *= min(1.0, seen / (self.warm_up * signals.samples_per_epoch))
        begun, until = state["begun"], state["until"]
        return rate if begun is None else rate * max(0.0, (until - signals.samples) / (until - begun))

    def _next_rung(self, signals: Signals) -> int:
        """The step of the next rung, which may be the horizon."""
        step = signals.samples // signals.samples_per_epoch
        coming = next((rung for rung in self.rungs if rung > step), signals.horizon)
        if not self.rungs:
            coming = 1
            while coming <= step:
                coming *= _USUAL
        return min(coming, signals.horizon)


def _turned(signals: Signals, rate: float) -> Action:
    if rate == signals.knobs.learning_rate:
        return NOTHING
    return Action(knobs=replace(signals.knobs, learning_rate=rate))
