"""Double the batch as long as the larger batch needs no more samples, which the training itself tries out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypedDict

from search.settings import number, one_of, share, whole
from trainables.contract import Policy
from trainables.estimates.critical_batch import Arms, compared
from trainables.estimates.noise_scale import NO_ESTIMATE, NoiseScale, noise_scale, observed
from trainables.estimates.validation_loss import lowest
from trainables.values import NOTHING, Action, Signals

_TIMES = 2  # the batch of a question, relative to the present one
_AGAIN = 2  # the next question comes after this times the samples of this one
_WITHIN = 0.75  # of an average's weight must lie in the arm, or it cannot tell the arms apart
_START, _END = "start", "end"  # marks: at the start of a question, and at the end of the larger batch's arm
_DECAY = 0.99  # of the noise scale's averages, per update
_FACTORS = {"sqrt": math.sqrt(_TIMES), "linear": float(_TIMES)}  # of the rate, at the larger batch


class State(TypedDict):
    first: int  # the batch at the start
    rate: float  # before the cool-down
    batch_size: int
    next: float  # samples trained at which the next question comes
    undone: int  # samples of arms that were not kept
    noise: NoiseScale
    begun: int  # samples seen when the question began
    arm_begun: int
    length: int  # samples of an arm
    start: float  # the loss at the start of the question
    losses: tuple[tuple[float, ...], ...]  # of the base arm, and of the larger batch's once it trains; (): no question


@dataclass(frozen=True)
class LargestFreeBatch(Policy[State]):
    """Doubles the batch whenever twice the batch, tried from the same weights, costs no more samples.

    From time to time the policy asks a question. The training continues for a while with the present batch, and then again,
    from the same weights and over the same samples, with twice the batch and the rate times the square root of two. If the
    averaged validation loss fell as far, the larger batch is free, and the training continues from the end of that arm;
    otherwise it continues from the end of the first one. So the batch starts small and grows, as the critical batch does.
    Every decision says how large a batch costs no extra samples at present, and what a larger one would cost.

    Use when   a small batch was tuned and larger ones would be faster, or you want to know the largest free batch.
    Costs      one arm of each question is not kept: 5 to 10 % of all samples together, which count towards the horizon.
               A question measures once before its arms and `points` times in each, every time the last weights and three
               averages: 28 measurements on a fixed part of the validation data (see `RateRace`). Two or three copies of the
               weights during a question, and the averages of the weights throughout.
    Settings   first (200): updates before the first question. share (0.05): the length of an arm, as a share of the samples
               trained so far; at least `updates` (20) updates of the larger batch. The next question comes when the number
               of trained samples has doubled.
               tolerance (0.1): a batch is free if it needs at most this share of samples more than the first batch. A
               difference below its standard error counts as none, if the loss fell by more than that error. points (3):
               evaluations in each arm, for the standard error.
               largest (None): the largest batch, in samples per update. None: a tenth of an epoch. scaling ("sqrt"): the
               rate grows with the square root of the batch; "linear": with the batch.
               metric (None): the validation loss that is compared; smaller is better. None: the first whose name ends in
               "loss", "error" or "perplexity".
               gammas ((4, 16)): exponents of the averages to keep (`Averaged`). One that lies within an arm is added.
               ask ("always"): "noise scale": ask only while the gradient noise scale is above the larger batch.
               cool (0): the share of the training, at its end, in which the rate falls linearly to 0.
               data ("replay"): as in `AutoLrs`.
    Not for    a rate that was not tuned for the first batch. If it is too small, any batch looks free; if it is at the edge
               of stability, none does, because the scaled rate breaks the arm. Losses that hardly fall within an arm: the
               batch then stays. A question looks only a few per cent ahead; a larger batch can cost more later.
    Source     Merrill et al., Critical Batch Size Revisited: A Simple Empirical Approach to Large-Batch Language Model
               Training, 2025.
    Differs    asks during the training, doubles the batch once for each question, and keeps one arm. Compares averaged
               weights, and measures the difference by the progress within the arm, not by a fixed distance. Adam's second
               moment keeps its half-life in samples (the loop sees to it).

    >>> policy = LargestFreeBatch(largest=2048)
    """

    largest: int | None = None
    first: int = 200
    share: float = 0.05
    updates: int = 20
    tolerance: float = 0.1
    points: int = 3
    scaling: str = "sqrt"
    metric: str | None = None
    gammas: tuple[float, ...] = (4.0, 16.0)
    ask: str = "always"
    cool: float = 0.0
    data: str = "replay"

    finds_rate = False

    def __post_init__(self) -> None:
        if self.largest is not None:
            whole("LargestFreeBatch", 1, largest=self.largest)
        whole("LargestFreeBatch", 1, first=self.first, updates=self.updates, points=self.points)
        share("LargestFreeBatch", "(0, 1]", share=self.share)
        number("LargestFreeBatch", "(0, inf)", tolerance=self.tolerance)
        one_of("LargestFreeBatch", tuple(_FACTORS), scaling=self.scaling)
        for gamma in self.gammas:
            number("LargestFreeBatch", "[0, inf)", gammas=gamma)
        one_of("LargestFreeBatch", ("always", "noise scale"), ask=self.ask)
        share("LargestFreeBatch", "[0, 1)", cool=self.cool)
        one_of("LargestFreeBatch", ("fresh", "replay"), data=self.data)

    @property
    def resumable(self) -> bool:  # type: ignore[override]
        return self.cool == 0

    @property
    def writes(self) -> frozenset[str]:  # type: ignore[override]
        turned = frozenset({"learning_rate", "batch_size", "snapshot", "averages"})
        return turned | {"replay"} if self._replays else turned

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset({"metrics", "gradient"} if self.ask == "noise scale" else {"metrics"})

    def start(self, signals: Signals) -> tuple[State, Action]:
        knobs = signals.knobs
        state: State = {
            "first": knobs.batch_size, "rate": knobs.learning_rate, "batch_size": knobs.batch_size, "undone": 0,
            "noise": NO_ESTIMATE, "next": signals.samples + self.first * knobs.batch_size, "begun": 0, "arm_begun": 0, "length": 0,
            "start": 0.0, "losses": (),
        }  # fmt: skip
        within = round(2 / self.share) - 1.0  # about the last half of an arm
        why = self._never(state, signals)
        return state, Action(averages=tuple(sorted({*self.gammas, within})), why=why, warns=bool(why))

    def act(self, state: State, signals: Signals) -> tuple[State, Action]:
        if signals.train_loss is not None:  # the end of an epoch
            return state, NOTHING
        if signals.metrics:
            return self._measured(state, signals)
        state = {**state, "noise": observed(state["noise"], signals.gradient, _DECAY)}
        if not state["losses"]:
            return state, self._going_on(state, signals)
        if not self._is_at_point(state, signals):
            return state, NOTHING
        is_last = len(state["losses"][-1]) + 1 == self.points
        return state, Action(measure=True, snapshot=is_last and len(state["losses"]) == 1)

    def _going_on(self, state: State, signals: Signals) -> Action:
        """Between two questions: ask if it is time, else follow the cool-down."""
        if self._is_due(state, signals):
            return Action(measure=True)
        rate = state["rate"] * self._line(signals)
        if rate == signals.knobs.learning_rate:
            return NOTHING
        return Action(knobs=replace(signals.knobs, learning_rate=rate))

    def _never(self, state: State, signals: Signals) -> str:
        """Why it will not ask in this training; empty if it will."""
        larger, largest = _TIMES * state["batch_size"], self._largest(signals)
        if larger > largest:
            what = "a tenth of an epoch" if self.largest is None else "`largest`"
            return (
                f"LargestFreeBatch never asks: a batch of {larger} is more than {what}, {largest}; set a higher `largest`, "
                "or begin with a smaller batch"
            )
        asked = replace(signals, samples=round(state["next"]))
        arms = 2 * self._length(state, asked)
        left = signals.whole - signals.samples
        needed = math.ceil((asked.samples - signals.samples + arms) / (1 - self.cool) / state["batch_size"])
        if needed * state["batch_size"] <= left:
            return ""
        return (
            f"LargestFreeBatch gets no answer: {left / state['batch_size']:.0f} updates leave no room for a question after "
            f"{self.first}; train for {needed} updates, or lower `first`"
        )

    def _largest(self, signals: Signals) -> int:
        return signals.samples_per_epoch // 10 if self.largest is None else self.largest

    def _is_due(self, state: State, signals: Signals) -> bool:
        larger = _TIMES * state["batch_size"]
        if larger > self._largest(signals) or signals.samples - state["undone"] < state["next"]:
            return False
        if self.ask == "noise scale" and not (noise_scale(state["noise"]) or 0.0) >= larger:
            return False
        end = (1 - self.cool) * signals.whole
        return self.cool == 0 or signals.samples + 2 * self._length(state, signals) <= end

    def _is_at_point(self, state: State, signals: Signals) -> bool:
        """Whether the arm has come, to the nearest update, to its next evaluation."""
        done = signals.samples - state["arm_begun"] + signals.knobs.batch_size / 2
        return done > (len(state["losses"][-1]) + 1) * state["length"] / self.points

    def _length(self, state: State, signals: Signals) -> int:
        """Samples of an arm: whole batches of the larger size between all points."""
        unit = self.points * _TIMES * state["batch_size"]
        trained = signals.samples - state["undone"]
        wanted = max(self.share * trained, self.updates * _TIMES * state["batch_size"])
        return unit * math.ceil(wanted / unit)

    def _measured(self, state: State, signals: Signals) -> tuple[State, Action]:
        if not state["losses"]:
            return self._asked(state, signals) if self._is_due(state, signals) else (state, NOTHING)
        if not self._is_at_point(state, signals):  # a wrapping policy asked for it
            return state, NOTHING
        loss = self._loss(state, signals)
        *before, present = state["losses"]
        state = {**state, "losses": (*before, (*present, loss))}
        if len(present) + 1 < self.points and math.isfinite(loss):
            return state, NOTHING
        return self._chosen(state, signals) if before else self._larger(state, signals)

    def _asked(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Start a question: mark the weights, and go on as before, which is the base arm."""
        state = {
            **state, "begun": signals.samples, "arm_begun": signals.samples,
            "length": self._length(state, signals), "losses": ((),),
        }  # fmt: skip
        return {**state, "start": self._loss(state, signals)}, Action(mark=_START)

    def _larger(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Go back to the start with the larger batch."""
        if not all(
            map(math.isfinite, (state["start"], *state["losses"][0]))
        ):  # the training diverges: it has to end so
            return {**state, "losses": (), "next": math.inf}, NOTHING
        state = {**state, "arm_begun": signals.samples, "losses": (*state["losses"], ())}
        batch_size, rate = _TIMES * state["batch_size"], _FACTORS[self.scaling] * state["rate"]
        knobs = replace(signals.knobs, batch_size=batch_size, learning_rate=rate)
        return state, Action(roll_back=True, roll_back_to=_START, replay=self._replays, explore=True, knobs=knobs)

    def _chosen(self, state: State, signals: Signals) -> tuple[State, Action]:
        """Go on from the larger batch's arm if it was free, else from the base arm."""
        base, other = state["losses"]
        arms = compared(state["batch_size"], _TIMES, state["start"], base, other, state["first"])
        kept = _END if arms.is_free(self.tolerance) else ""
        lost = signals.samples - state["begun"] - state["length"]
        undone = state["undone"] + lost
        trained = signals.samples - undone
        state = {**state, "losses": (), "undone": undone, "next": float(_AGAIN * trained)}
        if kept:
            state["batch_size"] *= _TIMES
            state["rate"] *= _FACTORS[self.scaling]
        knobs = replace(signals.knobs, batch_size=state["batch_size"], learning_rate=state["rate"])
        why, evidence = said(arms, self.tolerance)
        return state, Action(
            mark=kept, roll_back=True, roll_back_to=kept, knobs=knobs, why=why,
            evidence=evidence | {"start_loss": state["start"], "undone_samples": float(lost), "of_samples": float(signals.whole)},
        )  # fmt: skip

    def _loss(self, state: State, signals: Signals) -> float:
        """The lowest loss of the last weights and of the averages that lie within the arm."""
        trained = max(1, state["begun"] - state["undone"])
        within = {
            name: metrics
            for name, metrics in signals.each.items()
            if name == "last" or _weight_in_arm(name, state["length"] / trained) >= _WITHIN
        }
        return lowest(within or {"last": signals.metrics}, self.metric, whose="LargestFreeBatch")

    def _line(self, signals: Signals) -> float:
        """The cool-down: 1, then a line to 0 at the end."""
        if self.cool == 0:
            return 1.0
        return min(1.0, (1 - signals.progress) / self.cool)

    @property
    def _replays(self) -> bool:
        return self.data == "replay"


def said(arms: Arms, tolerance: float) -> tuple[str, dict[str, float]]:
    """The answer in plain words, and its evidence."""
    base, asked, is_free = arms.batch_size, round(arms.times * arms.batch_size), arms.is_free(tolerance)
    free = asked if is_free else round(min(max(arms.largest_free(tolerance), base), asked))
    why = f"batches up to {free} cost nothing here by now; "
    if not arms.tells:
        why = f"the loss fell by no more than the noise of a question, which hides what batches of {asked} cost"
    elif not arms.critical_batch():
        why += f"{asked} would cost at least {arms.times:g} times the samples"
    elif arms.cost_of(4 * asked) > 1 + tolerance:
        beyond = [batch for batch in (asked, 4 * asked) if batch > free]
        why += ", ".join(_costs(arms, batch) for batch in beyond)
    else:
        why += f"none larger than {asked} was asked about"
    evidence = {
        "free_batch": float(asked if is_free else base), "asked_batch": float(asked), "predicted_free_batch": float(free),
        "critical_batch": arms.critical_batch(), "critical_batch_low": arms.critical_batch(1),
        "critical_batch_high": arms.critical_batch(-1), "more_samples": arms.more_samples(), "progress": arms.progress,
        "difference": arms.difference, "standard_error": arms.error,
    }  # fmt: skip
    return why, {name: value for name, value in evidence.items() if math.isfinite(value)}


def _costs(arms: Arms, batch_size: int) -> str:
    """The price of a batch, with the interval of one standard error."""
    low, cost, high = (f"{arms.cost_of(batch_size, errors):.2g}" for errors in (-1, 0, 1))
    return f"{batch_size} would cost about {cost} times the samples" + (f" ({low} to {high})" if low != high else "")


def _weight_in_arm(average: str, length: float) -> float:
    """The share of an average's weight that lies in the arm; `length` of the arm relative to what came before."""
    gamma = float(average.partition("=")[2])
    return float(1 - (1 + length) ** -(gamma + 1))
