"""Race learning rates at the start of a training, and continue from the end of the winner's run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypedDict

from search.settings import number, one_of, rising_shares, share, whole
from trainables.contract import Policy
from trainables.estimates import race as races
from trainables.estimates.race import BATCH, LANES, MOMENTUM, RATE, Race
from trainables.estimates.rate_ladder import Curve, between, has_stalled, nearest
from trainables.estimates.rate_watch import Watch, begun, evidence_of, lost, lowered, shifted, value_lost
from trainables.estimates.validation_loss import judged, lowest
from trainables.values import FOUND_RATE, NOTHING, Action, Knobs, Signals

_AGAIN = 3.0  # a race in mid-training: this factor around the present rate
_MOST = 3  # returns to good weights after a race
_DATA = ("replay", "fresh")
_WINNER = "winner"


class State(TypedDict):
    rate: float  # in use, or the configuration's before the first race is over
    momentum: float
    batch_size: int
    scale: float  # of the rate, by the momentum and the batch that have won
    race: Race | None
    waiting: tuple[str, ...]  # lanes to race next
    first: float | None  # the loss of the training's first update
    races: int  # instants of `again` that have passed
    beyond: float  # later races try no rate from here on: halfway, in logarithms, to the next larger one, which lost
    watch: Watch | None  # for `guard`; None before the first race is over
    asked: bool  # whether the next metrics are for this policy
    curve: Curve  # at the epochs' ends
    probes: Curve  # asked for, on other data: at the end of a race, and at the instants of `again`


@dataclass(frozen=True)
class RateRace(Policy[State]):
    """Finds the learning rate by a race in the training itself, and continues from the weights of the winner.

    Each rate of a ladder has a short run from the same weights over the same batches, the largest rate first. At its end
    the last weights and their averages over time are measured on validation data; the lowest loss is the value of the rate.
    Among the rates whose value is within `slack` of the best, the *largest* wins, because short runs favour rates that are
    too small in the long run. The training continues from the weights of the winner's run. The rate stays constant, and
    falls linearly to zero at the end.

    Use when   the rate is unknown, or known within a factor of ten, and the training has 2,500 updates or more.
    Costs      4 to 5 short runs of 2 % of the updates each. All count towards the horizon; the winner's is kept. Three
               measurements (last weights and two averages) after each, at each instant of `again` and one epoch after each
               race, on a fixed part of the validation data (`Workload.probe`; in your own loop `Control(…, probe=…)`,
               without it on all of them). Two copies of the weights during a race, and one after it for `guard`.
    Settings   low, high (None): the range of rates; without them ratio^-2 to ratio^2 times the configuration's rate. ratio
               (4): the factor between neighbouring rates. rungs (2): rates on each side of the configuration's.
               share (0.02): of the training, for a short run. least (50): its updates at least. budget (0.2): the share of
               the training that the race may take. If the ladder does not fit, fewer rates near its middle are tried; if
               not even two fit, the configuration's rate is taken. share=0: runs of `least` updates, no budget.
               slack (0.03): two values are equal if they differ by less than this share of the best, and than this share of
               the distance from the best to the worst. In later races, and for a rate below the configuration's, only the
               first condition counts: on a plateau, where all rates look alike, the configuration's stays.
               cool (0.35): share of the training in which the rate falls to zero; 0: it stays, the averages do the rest.
               again ((1/3, 2/3)): instants of further races, as shares of the time before the cool-down. If the value has
               stalled (its second half brought less than `slack`), three times the rate and a third of it race with it. It
               stays unless another is better by more than `slack`. A larger rate takes part only if none has lost an
               earlier race: what is stable in a short run may not be so for longer.
               lanes (()): other knobs that race after each race of rates, from its winner's end, in three more short runs
               each, beside `budget`. "momentum": three times and a third of its memory of 1 / (1 - momentum) updates, with
               steps of the same length; another must be better by more than `slack`. "batch_size": twice and half of it
               over the same samples, the rate by its square root; the largest wins whose improvement is within `slack` of
               the best one, and one below the present must be better by `slack` of the loss.
               widen (2): if the winner is at an end of the ladder, one more rate beyond it is tried, this many times at
               most, never outside of `low` and `high`. early (4): a short run ends when its loss exceeds the training's
               first one by this factor. Networks with batch normalisation often reach two at first, and recover.
               guard (0.15): if an epoch loses more than this share of the gain in training loss (since the first update)
               and in value (since the race's median rate), a third of the rate continues from the last good weights, three
               times at most. 0: never. If the value is the tuned metric, it decides alone, so overfitting counts.
               gammas ((4, 16)): exponents of the averages; (): only the last weights are measured. metric (None): what
               gives the value; None: the first whose name ends in "loss", "error" or "perplexity". mode ("min"): or "max".
               data ("replay"): "fresh" if the data cannot be replayed; short runs then see new samples.
    Recipes    RateRace(lanes=("momentum",)) if the momentum is a guess, for an optimizer that has one (not Adam).
               RateRace(cool=0, share=0, again=()) does not depend on the horizon: a promoted trial resumes (`resumable`).
               Warmup(1, then=RateRace()) races at the full rate, after a warm-up.
               RateRace(rungs=1) in a sweep with FromFound(searcher): the ladder starts from what other trials have found.
    Not for    trainings of a few hundred updates: short runs of 50 take a large part of them. Many epochs on few data: a
               tuned cosine is better. A report within a race has the winner so far, at first the weights of the start.
    Source     none: our rule. Tolerance upwards: Wu et al., Understanding Short-Horizon Bias, ICLR 2018. Branches from one
               mark: Cui et al., MLtuner, 2018.

    >>> policy = RateRace(low=1e-3, high=1.0)
    """

    low: float | None = None
    high: float | None = None
    ratio: float = 4.0
    rungs: int = 2
    share: float = 0.02
    least: int = 50
    budget: float = 0.2
    slack: float = 0.03
    cool: float = 0.35
    again: tuple[float, ...] = (1 / 3, 2 / 3)
    lanes: tuple[str, ...] = ()
    widen: int = 2
    early: float = 4.0
    guard: float = 0.15
    gammas: tuple[float, ...] = (4.0, 16.0)
    metric: str | None = None
    mode: str = "min"
    data: str = "replay"

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError(
                f"RateRace(low={self.low}, high={self.high}): needs low and high, or neither: then the ladder is around the "
                "configuration's rate."
            )
        if self.low is not None:
            number("RateRace", "(0, inf)", low=self.low)
            number("RateRace", f"({self.low}, inf)", high=self.high)
        number("RateRace", "(1, inf)", ratio=self.ratio)
        whole("RateRace", 1, rungs=self.rungs)
        share("RateRace", "[0, 1)", share=self.share, cool=self.cool)
        whole("RateRace", 1, least=self.least)
        share("RateRace", "(0, 1)", budget=self.budget)
        number("RateRace", "[0, inf)", slack=self.slack)
        rising_shares("RateRace", again=self.again)
        for lane in self.lanes:
            one_of("RateRace", LANES, lanes=lane)
        whole("RateRace", 0, widen=self.widen)
        number("RateRace", "(1, inf]", early=self.early)
        share("RateRace", "[0, 1)", guard=self.guard)
        for gamma in self.gammas:
            number("RateRace", "[0, inf)", gammas=gamma)
        one_of("RateRace", ("min", "max"), mode=self.mode)
        one_of("RateRace", _DATA, data=self.data)
        if 2 * self.share > self.budget:
            raise ValueError(
                f"RateRace(share={self.share}, budget={self.budget}): two short runs must fit; try share={self.budget / 4:.2g}."
            )
        if self.budget + self.cool > 1:
            raise ValueError(
                f"RateRace(budget={self.budget}, cool={self.cool}): the race must be over before the cool-down; try "
                f"budget={(1 - self.cool) / 2:.2g}."
            )
        if self.low and self.high and len(between(self.low, self.high, self.ratio)) < 2:
            raise ValueError(
                f"RateRace(low={self.low}, high={self.high}, ratio={self.ratio}): one rate is no race; try "
                f"ratio={math.sqrt(self.high / self.low):.2g}."
            )

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return not (self.cool or self.share or self.again)

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        found = {"learning_rate", "snapshot", *self.lanes} | ({"averages"} if self.gammas else set())
        return frozenset(found | ({"replay"} if self.data == "replay" else set()))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"loss", "metrics"} | ({"momentum"} if MOMENTUM in self.lanes else set()))

    finds_rate = True

    def start(self, signals: Signals) -> tuple[State, Action]:
        knobs, length = signals.knobs, self._length(signals)
        rate = centre = knobs.learning_rate
        state: State = {
            "rate": rate, "momentum": knobs.momentum, "batch_size": knobs.batch_size, "scale": 1.0, "race": None,
            "waiting": (), "first": None, "races": 0, "beyond": math.inf, "watch": None, "asked": False, "curve": (),
            "probes": (),
        }  # fmt: skip
        if self.low is not None and self.high is not None:
            rates, centre = between(self.low, self.high, self.ratio), math.sqrt(self.low * self.high)
        else:
            rates = tuple(rate * self.ratio**rung for rung in range(self.rungs, -self.rungs - 1, -1))
        room = self._room(signals, length)
        if room < 2:
            return self._without_race(state, signals, room)
        race = races.begun(RATE, centre, nearest(rates, centre, room), len(rates), length, signals.samples)
        state, action = self._raced(state, signals, race)
        return state, replace(action, averages=self.gammas or None)

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is not None:  # the end of an epoch
            return self._epoch_ended(state, signals, signals.train_loss)
        if signals.metrics:
            return self._measured(state, signals) if state["asked"] else (state, NOTHING)
        if state["first"] is None:
            state = {**state, "first": signals.loss}
        race = state["race"]
        return self._gone_on(state, signals) if race is None else self._tried(state, race, signals)

    # Between the races

    def _gone_on(self, state: State, signals: Signals) -> tuple[State, Action]:
        if state["waiting"]:
            return self._next_lane(state, signals)
        left = 1 - signals.progress if self.cool else math.inf
        if left < self.cool:
            return state, _turned(signals, state["rate"] * left / self.cool)
        due = self.again[state["races"] : state["races"] + 1]
        if not due or signals.progress < due[0] * (1 - self.cool):
            return state, NOTHING
        return {**state, "races": state["races"] + 1, "asked": True}, Action(measure=True)

    def _epoch_ended(self, state: State, signals: Signals, loss: float) -> tuple[State, Action]:
        if state["race"] is not None:
            return state, NOTHING
        value, watch = self._value(signals), state["watch"]
        if self.again:
            state = {**state, "curve": (*state["curve"], (float(signals.samples), value))}
        if watch is None or not self.guard:
            return state, NOTHING
        if watch["shift"] is None and math.isfinite(value):
            watch = {**watch, "waits": (loss, value)}
            return {**state, "watch": watch, "asked": True}, Action(measure=True)
        return self._watched(state, watch, signals, loss, value)

    def _watched(self, state: State, watch: Watch, signals: Signals, loss: float, value: float) -> tuple[State, Action]:
        """After an epoch: to the last good weights and a lower rate, if the rate has proved too large after all."""
        counts = judged(signals.metrics, self.metric) == signals.tuned
        breaks, overfits = lost(watch, loss, value), value_lost(watch, value, self.slack) if counts else 0.0
        if max(breaks, overfits) <= self.guard:
            is_best = value < watch["value"] if counts else loss < watch["loss"]
            return {**state, "watch": lowered(watch, loss, value)}, Action(snapshot=is_best)
        if watch["returns"] == _MOST:
            return {**state, "watch": watch}, NOTHING
        rate, what = state["rate"] / _AGAIN, "too large a rate after all" if breaks > self.guard else "it overfits"
        why = f"{what}: a lower one, from the {'best' if counts else 'last good'} weights"
        evidence = evidence_of(watch, loss, value)
        watch = {**watch, "returns": watch["returns"] + 1}
        state = {**state, "rate": rate, "beyond": min(state["beyond"], rate * _AGAIN), "watch": watch}
        return state, self._back(state, signals, why, evidence)

    def _measured(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Metrics that were asked for: of a trial at its end, at an instant of `again`, or after a race's first epoch."""
        state, value, watch = {**state, "asked": False}, self._value(signals), state["watch"]
        if state["race"] is not None:
            return self._ended(state, state["race"], signals, value)
        if watch is not None and watch["waits"] is not None:
            loss, at_end = watch["waits"]
            return self._watched(state, shifted(watch, at_end, value), signals, loss, at_end)
        state = {**state, "probes": (*state["probes"], (float(signals.samples), value))}
        length, rate = self._length(signals), state["rate"]
        ends = signals.samples + 3 * length * signals.knobs.batch_size
        stalls = has_stalled((state["curve"], state["probes"]), signals.samples, self.slack)
        if ends > (1 - self.cool) * signals.whole or not stalls:
            return state, NOTHING
        rates = tuple(each for each in (rate * _AGAIN, rate, rate / _AGAIN) if each < state["beyond"])
        return self._raced(state, signals, races.begun(RATE, rate, rates, len(rates), length, signals.samples))

    def _next_lane(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Begin the race of the next lane, if it is over before the cool-down."""
        (lane, *others), length = state["waiting"], self._length(signals)
        state = {**state, "waiting": tuple(others)}
        present = state["momentum"] if lane == MOMENTUM else state["batch_size"]
        values = races.candidates(lane, present, signals.samples_per_epoch / 10)
        ends = signals.samples + len(values) * length * signals.knobs.batch_size
        if len(values) < 2 or ends > (1 - self.cool) * signals.whole:
            runs = f"{len(values)} runs of {length} updates would not be over before the cool-down; train longer, or lower `least`"
            why = runs if len(values) > 1 else f"there is none beside {present:.3g}"
            return state, Action(why=f"{races.words(lane, present)[1]} do not race: {why}", warns=True)
        start = state["probes"][-1][1]
        return self._raced(
            state, signals, races.begun(lane, present, values, len(values), length, signals.samples, start)
        )

    # A race

    def _raced(self, state: State, signals: Signals, race: Race) -> tuple[State, Action]:
        """Begin a race from here."""
        state, action = self._trial(state, race, signals)
        return state, replace(action, roll_back=False, replay=False)

    def _trial(self, state: State, race: Race, signals: Signals) -> tuple[State, Action]:
        """Try the race's next value from the race's first weights."""
        return {**state, "race": race}, Action(
            knobs=_turned_in(self._knobs(state, signals), race["lane"], race["trying"]), roll_back=True,
            replay=self.data == "replay", explore=True, reports=_WINNER if race["winner"] else "",
        )  # fmt: skip

    def _tried(self, state: State, race: Race, signals: Signals) -> tuple[State, Action]:
        """After an update of a trial."""
        loss, first = signals.loss, state["first"]
        assert loss is not None
        assert first is not None
        race = races.updated(race, loss)
        if not math.isfinite(loss) or (loss > self.early * first > 0):
            return self._ended(state, race, signals, math.inf)
        if race["updates"] < races.trial_updates(race):
            return {**state, "race": race}, NOTHING
        return {**state, "race": race, "asked": True}, Action(measure=True)

    def _ended(self, state: State, race: Race, signals: Signals, value: float) -> tuple[State, Action]:
        """A trial is over: mark its end if it leads, and go on to the next one, or choose."""
        race, leads = races.ended(race, value, self.slack, is_first=not state["races"])
        if not race["ladder"] and race["lane"] == RATE and not state["races"]:
            spent = signals.samples - race["begun"] + race["length"] * signals.knobs.batch_size
            has_room = not self.share or spent <= self.budget * signals.whole
            race = races.widened(race, self.ratio, self.widen if has_room else 0, self.low, self.high)
        if race["ladder"]:
            state, action = self._trial(state, races.next_trial(race), signals)
        else:
            state, action = self._chosen(state, race, signals)
        return state, replace(action, mark=_WINNER if leads else "")

    def _chosen(self, state: State, race: Race, signals: Signals) -> tuple[State, Action]:
        """Go on from the winner's end; if all diverged, give up, or lower the rate of a training that went well before."""
        winner, tried, lane = race["winner"], race["tried"], race["lane"]
        evidence = races.evidence(race, signals.samples, signals.whole)
        state = {**state, "race": None}
        if winner is None and lane == RATE and not state["races"]:
            return state, Action(roll_back=True, stop=True, why="all rates diverged, lower ones too", evidence=evidence)
        if winner is None:
            why = f"all {races.words(lane, race['present'])[1]} of the race diverged: a lower rate, from the weights before it"
            state = {**state, "rate": (min(rate for rate, _, _ in tried) if lane == RATE else state["rate"]) / _AGAIN}
            return state, replace(self._back(state, signals, why, evidence), replay=self.data == "replay")
        value = winner[1]
        state = self._placed(state, lane, winner[0], signals)
        if lane == RATE:
            beyond = min((math.sqrt(winner[0] * rate) for rate, _, _ in tried if rate > winner[0]), default=math.inf)
            state = {**state, "beyond": min(state["beyond"], beyond), "waiting": self.lanes}
        assert state["first"] is not None
        watch = begun(state["watch"], state["first"], race["level"], value, tried)
        state = {**state, "watch": watch, "probes": (*state["probes"], (float(signals.samples), value))}
        name, what = races.words(lane, winner[0])
        end = "" if state["races"] else races.end_of_ladder(race, self.ratio, self.widen, self.low, self.high)
        why = f"{name} wins the race of {len(tried)} {what}{end}"
        action = self._back(state, signals, why, evidence)
        return state, replace(action, roll_back_to=_WINNER, replay=self.data == "replay", snapshot=bool(self.guard))

    def _placed(self, state: State, lane: str, value: float, signals: Signals) -> State:
        """The state with this value in use, and the rate that belongs to it."""
        knobs = _turned_in(self._knobs(state, signals), lane, value)
        factor = 1.0 if lane == RATE else knobs.learning_rate / state["rate"]
        return {
            **state, "rate": knobs.learning_rate, "momentum": knobs.momentum, "batch_size": knobs.batch_size,
            "scale": state["scale"] * factor, "beyond": state["beyond"] * factor,
        }  # fmt: skip

    def _back(self, state: State, signals: Signals, why: str, evidence: dict[str, float]) -> Action:
        """Go on from earlier weights at the rate in use, which is told as it would be at the first momentum and batch."""
        found = {FOUND_RATE: state["rate"] / state["scale"]}
        return Action(knobs=self._knobs(state, signals), roll_back=True, why=why, evidence=evidence, found=found)

    def _knobs(self, state: State, signals: Signals) -> Knobs:
        """The knobs in use; of those that do not race as they are."""
        knobs = replace(signals.knobs, learning_rate=state["rate"])
        if MOMENTUM in self.lanes:
            knobs = replace(knobs, momentum=state["momentum"])
        return replace(knobs, batch_size=state["batch_size"]) if BATCH in self.lanes else knobs

    def _without_race(self, state: State, signals: Signals, room: int) -> tuple[State, Action]:
        rate = state["rate"]
        if self.low is not None and self.high is not None:
            rate = min(max(rate, self.low), self.high)
        updates = signals.whole / signals.knobs.batch_size
        needed = math.ceil(2 * self.least / self.budget)
        why = (
            f"RateRace holds no race, and the rate is {rate:.3g}: {updates:.0f} updates leave no room for two rates, "
            f"{self.least} updates each; train for {needed} updates, or lower `least`"
        )
        return {**state, "rate": rate}, replace(
            _turned(signals, rate), averages=self.gammas or None, why=why, warns=True,
            evidence={"updates": updates, "rates that fit": float(room)},
        )  # fmt: skip

    def _value(self, signals: Signals) -> float:
        each, remedy = signals.each or {"last": signals.metrics}, "; add mode='max' if it should be large"
        return lowest(each, self.metric, self.mode, whose="RateRace", remedy=remedy)

    def _length(self, signals: Signals) -> int:
        """Updates of a trial."""
        return max(self.least, round(self.share * signals.whole / signals.knobs.batch_size))

    def _room(self, signals: Signals, length: int) -> int:
        """How many trials the budget has room for."""
        if not self.share:
            return 1_000_000
        return int(self.budget * signals.whole / (length * signals.knobs.batch_size) + 1e-9)


def _turned(signals: Signals, rate: float) -> Action:
    return Action(knobs=replace(signals.knobs, learning_rate=rate))


def _turned_in(knobs: Knobs, lane: str, value: float) -> Knobs:
    """The knobs with another value in this lane, and the rate that belongs to it."""
    if lane == RATE:
        return replace(knobs, learning_rate=value)
    is_momentum = lane == MOMENTUM
    rate = knobs.learning_rate * races.rate_factor(lane, value, knobs.momentum if is_momentum else knobs.batch_size)
    if is_momentum:
        return replace(knobs, learning_rate=rate, momentum=value)
    return replace(knobs, learning_rate=rate, batch_size=round(value))
