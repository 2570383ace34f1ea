"""Search the learning rate of each stage while training: short trials from the same weights, the best forecast wins.

A stage begins with `candidates` trials: each goes back to the stage's first weights and trains a short while with a rate of
its own; the loss at the stage's end is forecast from its losses. Then the stage is trained with the rate whose forecast is
lowest, and the next stage is twice as long, up to `longest` times the first.

Use when   no good schedule is known, and a hundred updates or more tell where the loss goes.
Costs      with 10 trials of a tenth of a stage, half of all samples: they are part of the horizon, so a training of E
           epochs contains its search. Each decision says how many samples its search took.
Settings   low, high: the rates, as a range test finds them (`high` just where the loss would diverge). stage: the first
           one's share of the whole training. trial: a trial's share of its stage. kappa: 1e6, as published, spreads the
           trials evenly over log(rate); 2 looks near the good ones. metric: once stages are at their longest, forecast
           this one of the workload's validation metrics (a loss: smaller is better), measured 16 times a trial. None:
           the training loss throughout. The trap: a metric that was decided on is no honest report any more.
           data: "fresh", as published: each trial and then the stage see other samples. "replay": the same samples and random
           numbers for all of them, so that their losses differ by the rate alone.
Not for    trials of few updates or of very noisy losses: a tenfold extrapolation of those is a guess. At equal cost, search
           counted, it was a quarter better than the best constant rate where it saw exact losses, a quarter worse where it
           saw noisy ones, and tuned decays were five times better (experiments/results/autolrs.md). Warm-up: it has no loss to win; wrap.
Source     Jin et al., AutoLRS, ICLR 2021. Its code: tau = 1000 updates (trials of 100) up to 8000, kappa 1e6.
Differs    lengths are shares of the horizon, in updates of the present batch size; the last stage is as long as fits. The
           first candidate is the rate in use, not a random one. The robust fit (fit="reference": theirs). A trial ends
           with a loss that is not finite; if all do, the decade below `low` is tried, then the training given up. With
           nothing to choose between, the rate stays; of equals the larger is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from trainables.contract import Policy
from trainables.estimates.forecast import FITS, forecast
from trainables.estimates.next_rate import next_rate
from trainables.values import NOTHING, Action, Knobs, Signals

_MEASURED = 16  # times in a trial
_DATA = ("fresh", "replay")
_ALIKE = 1e-3  # forecasts that differ by less, as a share of the largest, are no reason to change


class State(TypedDict):
    rate: float  # of the stage before
    high: float
    length: float  # of this stage, as a share of the horizon
    begun: int  # samples seen when it began
    until: float | None  # … and when it ends; None while rates are tried
    tried: tuple[tuple[float, float], ...]  # rate and forecast of each trial behind
    trying: float
    updates: int  # of this trial
    losses: tuple[float, ...]


@dataclass(frozen=True)
class AutoLrs(Policy[State]):
    """Searches for the best learning rate while the model trains.

    >>> policy = AutoLrs(low=1e-4, high=0.3)
    """

    low: float
    high: float
    stage: float = 0.01
    trial: float = 0.1
    candidates: int = 10
    longest: float = 8.0
    kappa: float = 1e6
    fit: str = "robust"
    metric: str | None = None
    data: str = "fresh"

    resumable = False  # lengths are shares of the horizon

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ValueError(f"{self}: must be 0 < low < high; try low=1e-3, high=1e-1")
        if not (self.trial > 0 and self.candidates >= 2 and self.longest >= 1 and self.kappa >= 0):
            raise ValueError(f"{self}: must be trial > 0, candidates >= 2, longest >= 1, kappa >= 0; leave them out")
        if not 0 < self.stage * self._cost <= 1:
            raise ValueError(f"{self}: the first stage and its trials must fit; try stage={0.1 / self._cost:.2g}")
        if self.fit not in FITS:
            raise ValueError(f"{self}: fit must be one of {', '.join(map(repr, FITS))}")
        if self.data not in _DATA:
            raise ValueError(f"{self}: data must be one of {', '.join(map(repr, _DATA))}")

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"learning_rate", "snapshot"}) | (
            frozenset({"replay"}) if self.data == "replay" else frozenset()
        )

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"loss"}) if self.metric is None else frozenset({"loss", "metrics"})

    @property
    def _cost(self) -> float:
        """What a stage takes with its trials, in lengths of it."""
        return 1 + self.candidates * self.trial

    def start(self, signals: Signals) -> tuple[State, Action]:
        knobs = signals.knobs
        rate = min(max(knobs.learning_rate, self.low), self.high)
        state: State = {
            "rate": rate, "high": self.high, "length": self.stage, "begun": signals.samples, "until": None,
            "tried": (), "trying": rate, "updates": 0, "losses": (),
        }  # fmt: skip
        return state, Action(explore=True, knobs=replace(knobs, learning_rate=rate))

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is not None:  # the end of an epoch
            return state, NOTHING
        if state["until"] is None:
            return self._try(state, signals)
        if signals.samples + signals.knobs.batch_size / 2 <= state["until"]:
            return state, NOTHING
        return self._begin(state, signals)

    def _begin(self, state: State, signals: Signals) -> tuple[State, Action]:
        """The next stage, twice as long if there is room; without room for a search, on with this rate."""
        left = 1 - signals.samples / _whole(signals)
        length = min(2 * state["length"], self.longest * self.stage, left / self._cost)
        if length < 0.999 * self.stage:  # those before were rounded to whole updates
            return {**state, "until": math.inf}, NOTHING
        state = {**state, "length": length, "begun": signals.samples, "until": None, "tried": ()}
        return self._trial(state, signals.knobs, state["rate"], roll_back=False)

    def _try(self, state: State, signals: Signals) -> tuple[State, Action]:
        """After an update of a trial, and again once the metric that it asked for is there."""
        updates = _updates(self.trial * state["length"], signals)
        measures = self.metric is not None and state["length"] > 0.999 * self.longest * self.stage
        every = max(1, updates // _MEASURED) if measures else 1
        if signals.metrics and not measures:  # a policy around this one has asked
            return state, NOTHING
        point = signals.metrics.get(self.metric or "") if signals.metrics else signals.loss
        if point is None:
            raise ValueError(f"{self}: metric must be one of {', '.join(map(repr, sorted(signals.metrics)))}")
        if not signals.metrics:
            state = {**state, "updates": state["updates"] + 1}
        broken = not math.isfinite(point)
        if signals.metrics or broken or not measures:
            state = {**state, "losses": (*state["losses"], point)}
        elif state["updates"] % every == 0:
            return state, Action(measure=True)
        if state["updates"] < updates and not broken:
            return state, NOTHING
        horizon = _updates(state["length"], signals) / every
        found = math.inf if broken else forecast(state["losses"], horizon, self.fit)
        state = {**state, "tried": (*state["tried"], (state["trying"], found))}
        if len(state["tried"]) == self.candidates:
            return self._choose(state, signals)
        low = min(self.low, state["high"] / 10)
        return self._trial(state, signals.knobs, next_rate(state["tried"], low, state["high"], self.kappa))

    def _choose(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Train the stage with the best of the rates tried; if all diverged, look lower, once."""
        finite = {rate: found for rate, found in state["tried"] if math.isfinite(found)}
        evidence = {
            "search_samples": float(signals.samples - state["begun"]),
            "diverged": float(self.candidates - len(finite)),
        }
        if finite:
            best, worst = min(finite.values()), max(finite.values())
            rate = max(rate for rate, found in finite.items() if found == best)
            if worst - best <= _ALIKE * max(abs(best), abs(worst)) and state["rate"] in finite:
                rate = state["rate"]
            evidence |= {"forecast": finite[rate], "worst_forecast": worst}
            state = {**state, "rate": rate, "until": signals.samples + state["length"] * _whole(signals)}
            knobs = replace(signals.knobs, learning_rate=rate)
            return state, Action(
                roll_back=True, replay=self._replays, knobs=knobs, why="best of the rates tried", evidence=evidence
            )
        if state["high"] < self.high:
            return state, Action(roll_back=True, stop=True, why="all rates diverged, lower ones too", evidence=evidence)
        state = {**state, "high": self.low, "tried": ()}
        return self._trial(
            state, signals.knobs, self.low, why="all rates diverged: tries lower ones", evidence=evidence
        )

    def _trial(
        self, state: State, knobs: Knobs, rate: float, roll_back: bool = True, **told: Any
    ) -> tuple[State, Action]:
        """Try this rate, from the stage's first weights."""
        state = {**state, "trying": rate, "updates": 0, "losses": ()}
        knobs, replay = replace(knobs, learning_rate=rate), roll_back and self._replays
        return state, Action(roll_back=roll_back, replay=replay, explore=True, knobs=knobs, **told)

    @property
    def _replays(self) -> bool:
        return self.data == "replay"


def _whole(signals: Signals) -> int:
    """Samples of the whole training."""
    return signals.horizon * signals.samples_per_epoch


def _updates(share: float, signals: Signals) -> int:
    """So many updates of the present batch size make this share of the training."""
    return max(1, round(share * _whole(signals) / signals.knobs.batch_size))
