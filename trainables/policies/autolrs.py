"""Search the learning rate of each stage while training: short trials from the same weights; the best forecast wins."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from search.settings import number, one_of, whole
from trainables.contract import Policy
from trainables.estimates.forecast import FEWEST, FITS, forecast
from trainables.estimates.next_rate import next_rate
from trainables.values import NOTHING, Action, Knobs, Signals

_MEASURED = 16  # measurements in a trial
_DATA = ("fresh", "replay")
_ROUNDED = 0.999  # a stage's length as a share of the intended one: earlier stages were rounded to whole updates
_ALIKE = 1e-3  # forecasts that differ by less, as a share of the largest, count as equal


class State(TypedDict):
    rate: float  # of the stage before, or of the present one once it is chosen
    high: float
    length: float  # of this stage, as a share of the horizon
    begun: int  # samples seen when this stage began
    until: float | None  # samples at which it ends; None during its trials
    tried: tuple[tuple[float, float], ...]  # rate and forecast of each finished trial
    trying: float
    updates: int  # of this trial
    losses: tuple[float, ...]


@dataclass(frozen=True)
class AutoLrs(Policy[State]):
    """Searches for the best learning rate while the model trains.

    A stage begins with `candidates` trials. Each trial rolls back to the stage's first weights and trains for a short while
    with its own rate; from its losses, AutoLRS forecasts the loss at the stage's end. The rate with the lowest forecast
    then trains the stage. Each stage is twice as long as the one before, up to `longest` times the first. Here, as in the
    paper, a trial is such a short run within one training, not a trial of a sweep.

    Use when   no good schedule is known, and a trial has 100 updates or more, as published; the first is stage * trial of the
               training. Otherwise use `RateRace`, which forecasts nothing.
    Costs      with 10 trials of a tenth of a stage, half of all samples. They count towards the horizon, so a training of E
               epochs includes its search. Each decision records how many samples its search took.
    Settings   low, high: the range of rates, as a range test finds them (`high` just where the loss would diverge). stage:
               the first stage's share of the training. trial: a trial's share of its stage. kappa: 1e6, as published,
               spreads the trials evenly over log(rate); 2 looks near the good ones. metric: once stages have reached their
               full length, forecast this validation metric of the workload (a loss: smaller is better), measured 16 times
               in a trial. None: the training loss throughout. Beware: a metric that guided decisions is no longer an
               unbiased report.
               data: "fresh", as published: each trial, and then the stage, sees new samples. "replay": all of them see the
               same samples and random numbers, so that their losses differ by the rate alone.
    Not for    trials of few updates or of very noisy losses: a tenfold extrapolation of those is a guess. Below some 50
               losses it is worse than none: from 12 batch losses of a small ResNet (420 windows) its error was 0.48 nats,
               that of "it stays as it is" 0.12, while the rates differed by 0.03 to 0.2. At equal cost, search included, it
               beat the best constant rate by a quarter with exact losses and lost to it by a quarter with noisy ones; tuned
               decays were five times better (experiments/results/autolrs.md). Warm-up: a trial gains nothing from it; wrap
               this policy.
    Source     Jin et al., AutoLRS, ICLR 2021. Its code: tau = 1000 updates (trials of 100) up to 8000, kappa 1e6.
    Differs    lengths are shares of the horizon, in updates of the present batch size; the last stage is as long as fits.
               The first candidate is the rate in use, not a random one. The fit is robust (fit="reference": theirs). A
               trial ends at a loss that is not finite; if all trials do, the policy tries the decade below `low`, then
               gives up the training. If all forecasts are alike, the rate stays; among equals the larger rate wins.

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
    finds_rate = False

    def __post_init__(self) -> None:
        number("AutoLrs", "(0, inf)", low=self.low)
        number("AutoLrs", f"({self.low}, inf)", high=self.high)
        number("AutoLrs", "(0, inf]", trial=self.trial)
        whole("AutoLrs", 2, candidates=self.candidates)
        number("AutoLrs", "[1, inf]", longest=self.longest)
        number("AutoLrs", "[0, inf]", kappa=self.kappa)
        if not 0 < self.stage * self._cost <= 1:
            raise ValueError(
                f"AutoLrs(stage={self.stage}, trial={self.trial}, candidates={self.candidates}): the first stage and its "
                f"trials must fit; try stage={0.1 / self._cost:.2g}"
            )
        one_of("AutoLrs", FITS, fit=self.fit)
        one_of("AutoLrs", _DATA, data=self.data)

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
        """The length of a stage with its trials, in lengths of the stage."""
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
        """Start the next stage, twice as long if there is room; without room to search, keep this rate to the end."""
        left = 1 - signals.samples / signals.whole
        length = min(2 * state["length"], self.longest * self.stage, left / self._cost)
        if length < _ROUNDED * self.stage:
            return {**state, "until": math.inf}, NOTHING
        state = {**state, "length": length, "begun": signals.samples, "until": None, "tried": ()}
        return self._trial(state, signals.knobs, state["rate"], roll_back=False)

    def _try(self, state: State, signals: Signals) -> tuple[State, Action]:
        """After an update of a trial, and again when the requested metric is there."""
        updates = _updates(self.trial * state["length"], signals)
        measures = self.metric is not None and state["length"] > _ROUNDED * self.longest * self.stage
        every = max(1, updates // _MEASURED) if measures else 1
        is_measurement = bool(signals.metrics)  # and no update
        if is_measurement and not measures:  # a wrapping policy asked for it
            return state, NOTHING
        point = signals.metrics.get(self.metric or "") if is_measurement else signals.loss
        if point is None:
            raise ValueError(
                f"AutoLrs(metric={self.metric!r}): must be one of {', '.join(map(repr, sorted(signals.metrics)))}"
            )
        if not is_measurement:
            state = {**state, "updates": state["updates"] + 1}
        broken = not math.isfinite(point)
        if is_measurement or broken or not measures:
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
        low = min(self.low, state["high"] / 10)  # below `low`, once all rates diverged and `high` is `low`
        return self._trial(state, signals.knobs, next_rate(state["tried"], low, state["high"], self.kappa))

    def _choose(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Train the stage with the best rate tried; if all diverged, try lower rates, once."""
        finite = {rate: found for rate, found in state["tried"] if math.isfinite(found)}
        evidence = {
            "search_samples": float(signals.samples - state["begun"]),
            "of_samples": float(signals.whole),
            "diverged": float(self.candidates - len(finite)),
        }
        if finite:
            best, worst = min(finite.values()), max(finite.values())
            rate = max(rate for rate, found in finite.items() if found == best)
            if worst - best <= _ALIKE * max(abs(best), abs(worst)) and state["rate"] in finite:
                rate = state["rate"]
            evidence |= {"forecast": finite[rate], "worst_forecast": worst}
            state = {**state, "rate": rate, "until": signals.samples + state["length"] * signals.whole}
            knobs = replace(signals.knobs, learning_rate=rate)
            why, updates = "best of the rates tried", _updates(self.trial * state["length"], signals)
            if is_short := updates < FEWEST and self.trial < 1:
                why += f": AutoLrs compared trials of {updates} update{'' if updates == 1 else 's'} as they were, too few for a forecast"
            return state, Action(
                roll_back=True, replay=self._replays, knobs=knobs, why=why, warns=is_short, evidence=evidence
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
        """Try this rate from the stage's first weights."""
        state = {**state, "trying": rate, "updates": 0, "losses": ()}
        knobs, replay = replace(knobs, learning_rate=rate), roll_back and self._replays
        return state, Action(roll_back=roll_back, replay=replay, explore=True, knobs=knobs, **told)

    @property
    def _replays(self) -> bool:
        return self.data == "replay"


def _updates(share: float, signals: Signals) -> int:
    """The number of updates, at the present batch size, in this share of the training."""
    return max(1, round(share * signals.whole / signals.knobs.batch_size))
