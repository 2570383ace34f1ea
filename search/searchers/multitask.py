"""Multitask Bayesian optimisation: a little training of many configurations teaches a model about full trainings.

Use when   trainings are long, and a part of one (its first epochs, some of the data, a smaller input) says
           something about all of it. With or without `tasks` on the sweep: without them, trials rest at every
           rung (1, 2, 3, 5, 8, … steps) and at each free worker a new one or any resting one goes on.
Costs      processor time for a suggestion: `experiments/benchmarks/deciding.py`. The model's settings are found
           again (about a second) whenever there are 30 % more trials, while results are awaited if a driver lets it,
           and kept with the suggestion. Of more than 300 observations it takes the latest of the best trials, a
           spread of the others, then the rungs of the best, so that memory and time stay bounded.
Settings   rule ("horizon"): how the next training is chosen, see below. n_initial (8): configurations at random
           before the model. greedy (0.1): share of the turns that take the trial with the best forecast on,
           whatever else looks promising. full_every (5): for the cost of so many full trainings at least one goes
           to the horizon. hedge (None): while nothing gets better, this share of the cost goes to successive halving
           of random configurations, see `search.hedge`; None: half, but nothing if the sweep has tasks. cost_power
           (0.5): 0 ignores what a step of a configuration costs, 1 is improvement per second. first (1), factor
           (1.5): the rungs, if the sweep has no tasks.
           stop_below (None): end the search when the expected improvement of the loss for the cost of one full
           training falls under this. finalists (3): configurations trained again on fresh seeds at the end.
Not for    schedules that depend on the length of the training, unless tasks are given: a promoted trial goes on
           from its checkpoint. Thousands of cheap trials: Tpe with Asha.
Source     rule "horizon": Rakotoarison et al., In-Context Freeze-Thaw Bayesian Optimization, ICML 2024 (a random
           horizon for each decision), on the model of Swersky et al., 2013 and 2014, see `search.gp`.
           rule "sigopt": the task is drawn with P ∝ exp(−cost), then x maximises the expected improvement there;
           as in SigOpt's open-sourced service. rule "target_ei": the task drawn alike, x by the expected
           improvement of a *full* training. Beliefs: Hvarfner et al., πBO, ICLR 2022.
Differs    expected improvement takes the place of the probability of a random improvement; costs count; a random
           share of greedy turns and the bound of `full_every` keep it from camping on cheap tasks, and successive
           halving takes over half of the cost while nothing improves. Failed and
           diverged trials are shown with the worst value where they broke, and places near them count for less.
           Losses are put on a logarithmic scale from the best one, so units, sign and a few enormous losses do
           not matter. Turns take one of three models of different parts of the data, see `search.opinions`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from search.arms import Arm, Stage, arms, fidelity, stages
from search.base import Searcher, generator
from search.candidates import Encoding, best_configurations, is_apart
from search.hedge import halved, overdue
from search.history import History
from search.observations import observed
from search.opinions import opinions
from search.proposal import DRAWS, NUMERICAL, propose_random, refuse_for_model
from search.records import Enough, Status, Suggestion, resume, start
from search.scale import Scales
from search.space import Space, Vector
from search.step_costs import StepCosts
from search.task import FULL

if TYPE_CHECKING:
    from search.gp import CurveModel

Array = NDArray[np.float64]

RULES = ("horizon", "target_ei", "sigopt")
BELIEF = 10.0  # πBO's β: beliefs weigh as much as this many trials
HEDGE = 0.5  # of the cost, while nothing gets better
MARGIN = (-3.0, -0.3)  # powers of ten, on the scale of the losses: by how much a new configuration must be better
HOPELESS = -15.0  # log of an improvement that is none
NEARBY = 0.1  # of a range, in each dimension
SMALLEST = 0.01  # on the scale of the losses: less is no gain
APART = 0.01  # in units of a range: what is nearer to a known configuration is a copy of it
FEW = 2  # dimensions in which there are so few places that only a tenth of this is a copy


@dataclass(frozen=True)
class MultitaskSearch(Searcher):
    """Chooses between new configurations and the continuation of known ones by what a full training promises."""

    rule: str = "horizon"
    n_initial: int = 8
    greedy: float = 0.1
    full_every: float = 5.0
    hedge: float | None = None
    cost_power: float = 0.5
    first: int = 1
    factor: float = 1.5
    stop_below: float | None = None
    finalists: int = 3

    continues: ClassVar[bool] = True
    schedules: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"MultitaskSearch(rule={self.rule!r}): must be one of {', '.join(map(repr, RULES))}.")
        for name, least in (("n_initial", 2), ("first", 1), ("finalists", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"MultitaskSearch({name}={value!r}): must be a whole number, {least} or more.")
        ranges = (
            ("greedy", 0.0, 1.0), ("full_every", 1.0, math.inf), ("hedge", 0.0, 1.0), ("cost_power", 0.0, 1.0),
            ("factor", 1.1, 100.0),
        )  # fmt: skip
        for name, low, high in ranges:
            value = getattr(self, name)
            if name == "hedge" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"MultitaskSearch({name}={value!r}): must be a number from {low:g} to {high:g}.")
        if self.stop_below is not None and not (isinstance(self.stop_below, (int, float)) and self.stop_below > 0):
            raise ValueError(
                f"MultitaskSearch(stop_below={self.stop_below!r}): must be an improvement of the loss, more than 0; "
                "leave it out to search until the budget is used up."
            )

    def check(self, space: Space) -> None:
        refuse_for_model("MultitaskSearch", space)

    def suggest(self, history: History) -> Suggestion | Enough | None:
        if not history.space.coordinates:
            return (
                propose_random(history, origin="fallback", evidence="no parameter to search") if history.room else None
            )
        ladder = stages(history, self.first, self.factor)
        known = [arm for arm in arms(history, ladder) if arm.trials]
        seen = sum(arm.stage >= 0 or arm.broken for arm in known)
        if len(known) < self.n_initial or not seen:
            if not history.room:
                return None if not seen else self._decide(history, ladder, known)
            evidence = f"{seen} of the {self.n_initial} results it starts with"
            return _at(ladder[0], propose_random(history, origin="initial", evidence=evidence))
        return self._decide(history, ladder, known)

    def prepare(self, history: History) -> None:
        if history.space.coordinates:
            import_module("search.gp")  # two seconds, the first time
            ladder = stages(history, self.first, self.factor)
            known = arms(history, ladder)
            if len(known) >= self.n_initial:
                opinions(history, known, ladder, Encoding(history.space))

    def _decide(self, history: History, ladder: Sequence[Stage], known: list[Arm]) -> Suggestion | Enough | None:
        try:
            return _Decision(self, history, ladder, known).made()
        except NUMERICAL as error:
            if not history.room:
                return None
            evidence = f"random, because the model failed with {type(error).__name__}: {error}"
            return _at(ladder[0], propose_random(history, origin="fallback", evidence=evidence))


class _Decision:
    """One decision: everything that is computed from one history."""

    def __init__(self, searcher: MultitaskSearch, history: History, ladder: Sequence[Stage], known: list[Arm]) -> None:
        self.searcher, self.history, self.ladder, self.arms = searcher, history, ladder, known
        self.rng = generator(history, "multitask")
        self.encode = Encoding(history.space)
        self.top = ladder[-1]
        self.scale = Scales(history.trials, [stage.task for stage in ladder])
        self.model = self._model()
        self.resting = [
            arm for arm in known if arm.stage >= 0 and not arm.running and not arm.broken and self._next(arm)
        ]
        self.cost = StepCosts(known, self.encode)

    # What may be chosen.

    def made(self) -> Suggestion | Enough | None:
        searcher, history = self.searcher, self.history
        if not self.resting and not history.room:
            return None
        if searcher.stop_below is not None and (reason := self._not_worth_it(searcher.stop_below)):
            return Enough(reason)
        if searcher.rule != "horizon":
            return (
                self._drawn_task()
                if history.room
                else self._climb(self._forecasts_best(), self.top, "no room for more")
            )
        if self.resting and self._owes_a_full():
            evidence = f"one for every {searcher.full_every:g} full trainings' cost goes to the horizon"
            return self._climb(self._forecasts_best(), self.top, evidence)
        if why := overdue(history, self.arms, self.scale, self._hedge):
            if halving := halved(history, self.arms, self.resting, self.ladder):
                return self._climb(*halving, f"one of the best third of the random ones, {why}")
            if history.room:
                return self._anywhere_sound(why)
        if self.resting and (not history.room or self.rng.random() < searcher.greedy):
            arm = self._forecasts_best()
            if not history.room or self._may_gain(arm):
                return self._climb(arm, self._next(arm), "best forecast of a full training")
        return self._horizon_rule()

    @property
    def _hedge(self) -> float:
        """With a few tasks every turn costs so much that it came dearer than what it saved from."""
        if self.searcher.hedge is not None:
            return self.searcher.hedge
        return 0.0 if self.history.tasks else HEDGE

    def _horizon_rule(self) -> Suggestion | None:
        """Expected improvement so many steps from now on what was the best after as many, for the cost of getting there.

        Sooner and later count alike, as the number of steps is drawn on a log scale. A new configuration has to be
        better by a margin, drawn too: a resting one was worth its start already.
        """
        horizon, power = self.history.horizon, self.searcher.cost_power
        ahead = horizon
        if all(stage.is_full for stage in self.ladder):
            ahead = round(math.exp(self.rng.uniform(0.0, math.log(horizon)))) if horizon > 1 else 1
        level = self._levels(horizon)
        best = float(level[min(horizon, ahead)]) - 10 ** self.rng.uniform(*MARGIN)

        def new(units: Array) -> Array:
            places = self.encode(units)
            promise = self._log_improvement(places, fidelity(ahead, horizon), best)
            return np.asarray(promise - power * self.cost(places) + self._prior(units))

        rest, rest_score = None, -math.inf
        if self.resting:
            units = np.array([arm.unit for arm in self.resting])
            goals = np.array([min(horizon, arm.step + ahead) for arm in self.resting])
            fidelities = np.array([fidelity(goal, horizon) for goal in goals])
            places = self.encode(units)
            scores = self._log_improvement(places, fidelities, level[goals]) - power * self.cost(places)
            scores -= np.log([(goal - arm.step) / ahead for goal, arm in zip(goals, self.resting, strict=True)])
            rest = self.resting[int(np.argmax(scores))]
            rest_score = float(scores.max())
        for config, unit, score in best_configurations(new, self._centres(), self.history.space, self.rng):
            if rest is not None and rest_score >= score:
                return self._climb(rest, self._next(rest), f"log improvement {rest_score:.3g} {ahead} steps from now")
            if self._is_new(config, unit):
                evidence = f"log improvement {score:.3g} {ahead} steps from now"
                return _at(self.ladder[0], start(config, evidence=evidence), self.memo)
        return self._random(self.ladder[0])

    def _drawn_task(self) -> Suggestion:
        """The rules that draw the task first, and then look for a configuration that is worth it."""
        chances = np.exp([-stage.cost for stage in self.ladder])
        stage = self.ladder[int(self.rng.choice(len(self.ladder), p=chances / chances.sum()))]
        if self._owes_a_full():
            stage = self.top
        aim = stage if self.searcher.rule == "sigopt" else self.top
        best = self.scale.lowest if aim is stage and self.searcher.rule == "sigopt" else self._expected_best()

        def score(units: Array) -> Array:
            return self._log_improvement(self.encode(units), aim.fidelity, best, aim.index) + self._prior(units)

        for config, unit, value in best_configurations(score, self._centres(), self.history.space, self.rng):
            if self._is_new(config, unit):
                evidence = f"log improvement {value:.3g} at {aim.task}, {aim.steps} steps"
                return _at(stage, start(config, evidence=evidence), self.memo)
        return self._random(stage)

    def _random(self, stage: Stage) -> Suggestion:
        evidence = "random, because every candidate of the model is known or breaks a constraint"
        return _at(stage, propose_random(self.history, origin="fallback", evidence=evidence), self.memo)

    def _anywhere_sound(self, why: str) -> Suggestion:
        """A random configuration; where trainings nearby broke, as much more rarely."""
        space, rng = self.history.space, generator(self.history, "sound")
        suggestion = propose_random(self.history, evidence=why)
        for _ in range(DRAWS):
            if rng.random() <= math.exp(self._log_soundness(space.to_unit(suggestion.config)[None])[0]):
                break
            config = space.sample(rng)
            if not space.is_finite or self.history.known(config) is None:
                suggestion = replace(suggestion, config=config)
        return _at(self.ladder[0], suggestion, self.memo)

    def _climb(self, arm: Arm, stage: Stage | None, why: str) -> Suggestion | None:
        """Take `arm` on to `stage`: from its checkpoint, or by a training of its own."""
        if stage is None:
            return None
        until = None if stage.steps >= self.history.steps(stage.task) else stage.steps
        if stage.is_full and arm.full is not None:
            return resume(arm.full, until=until, evidence=why, memo=self.memo)
        return start(arm.config, task=stage.task, until=until, origin="promotion", evidence=why, memo=self.memo)

    def _next(self, arm: Arm) -> Stage | None:
        """The first stage that `arm` has not reached."""
        for stage in self.ladder[arm.stage + 1 :]:
            if not stage.is_full or stage.steps > arm.step:
                return stage
        return None

    def _is_new(self, config: dict[str, Any], unit: Vector) -> bool:
        space = self.history.space
        if not is_apart(unit, self._places_known, 0.0 if space.is_finite else self._apart):
            return False
        return all(self.history.known(config, stage.task) is None for stage in self.ladder)

    @property
    def _apart(self) -> float:
        return APART if self.history.space.dimension > FEW else APART / 10

    @cached_property
    def _places_known(self) -> Array:
        return np.array([arm.unit for arm in self.arms])

    def _owes_a_full(self) -> bool:
        """Whether fewer trainings went to the horizon, or are on their way there, than `full_every` demands."""
        horizon = self.history.horizon
        full = sum(
            trial.reach >= horizon
            or (trial.status is Status.RUNNING and (trial.suggestion.until or horizon) >= horizon)
            for trial in self.history.trials
            if trial.task == FULL
        )
        return self.history.spent >= self.searcher.full_every * (full + 1)

    # What the model says.

    def _model(self) -> CurveModel:
        from search.gp import CurveModel

        history, ladder = self.history, self.ladder
        found, self.memo = opinions(history, self.arms, ladder, self.encode)
        data = observed(history, self.arms, ladder, self.scale, self.encode)
        tasks, earlier = len({stage.task for stage in ladder}), len(history.earlier)
        model = CurveModel(self.encode.dimension, tasks=tasks + earlier, earlier=earlier)
        model.settings = found[int(generator(history, "opinion").integers(len(found)))]
        model.condition(data.places, data.fidelities, data.tasks, data.values)
        pending = [(arm.unit, arm.running) for arm in self.arms if arm.running]
        if pending:
            goals = [stage for _, stage in pending]
            model.believe(
                self.encode(np.array([unit for unit, _ in pending])),
                np.array([stage.fidelity for stage in goals]),
                np.array([stage.index for stage in goals]),
                np.full(len(goals), data.values.max()) if self.searcher.rule == "sigopt" else None,
            )
        return model

    def _log_improvement(self, places: Array, fidelity: Any, best: Any, task: int = 0) -> Array:
        """Log of the expected improvement; where there is next to none, by the lower confidence bound.

        Alone, improvements of e^-50 would be compared: they are largest where the model knows least, and not where
        it expects most.
        """
        from search.gp import log_expected_improvement

        mean, deviation = self.model.predict(places, np.broadcast_to(fidelity, len(places)), np.full(len(places), task))
        bound = HOPELESS - (mean - 2 * deviation)
        return np.asarray(np.logaddexp(log_expected_improvement(mean, deviation, best), bound))

    @cached_property
    def _forecasts(self) -> Array:
        """Expected value of a full training, for each arm."""
        places = self.encode(np.array([arm.unit for arm in self.arms]))
        return self.model.predict(places, np.ones(len(places)), np.zeros(len(places)))[0]

    def _forecasts_best(self) -> Arm:
        of = {id(arm): value for arm, value in zip(self.arms, self._forecasts, strict=True)}
        return min(self.resting, key=lambda arm: of[id(arm)])

    def _levels(self, horizon: int) -> Array:
        """What is to be improved on at each step, (horizon + 1,): the best value seen there or before."""
        counting = {arm.full.number for arm in self.arms if arm.full is not None and not arm.broken}
        lowest = np.full(horizon + 1, math.inf)
        for step in range(1, horizon + 1):
            losses = self.history.at(step).items()
            lowest[step] = min((loss for number, loss in losses if number in counting), default=math.inf)
        lowest = np.minimum.accumulate(lowest)
        seen = np.isfinite(lowest)
        levels = np.full(horizon + 1, self._expected_best() if not seen.all() else 0.0)
        levels[seen] = self.scale(FULL, lowest[seen])
        return levels

    def _may_gain(self, arm: Arm) -> bool:
        """Whether a full training of it may well become the best: no copy of what was trained already."""
        mean, deviation = self.model.predict(self.encode(arm.unit[None]), np.ones(1), np.zeros(1))
        return bool(mean[0] - 2 * deviation[0] < self.scale.best - SMALLEST)

    def _expected_best(self) -> float:
        return float(self._forecasts.min())

    def _centres(self) -> Array:
        """Where the best is so far, by the forecasts."""
        order = np.argsort(self._forecasts, kind="stable")[:10]
        return np.array([self.arms[index].unit for index in order])

    def _prior(self, units: Array) -> Array:
        """Log of what speaks for a place beside the model: beliefs, and that trainings near it did not break."""
        total = self._log_soundness(units)
        if self.history.space.has_beliefs:
            total = total + BELIEF / max(1, len(self.arms)) * self.history.space.log_belief(units)
        return total

    def _log_soundness(self, units: Array) -> Array:
        """Log of the share of the trainings nearby that neither failed nor diverged; alone, a place counts as sound."""
        broken = np.array([arm.broken for arm in self.arms])
        if not broken.any():
            return np.zeros(len(units))
        places, known = self.encode(units), self.encode(self._places_known)
        squares = (places**2).sum(1)[:, None] + (known**2).sum(1)[None, :] - 2 * places @ known.T
        near = np.exp(-np.maximum(squares, 0.0) / (2 * NEARBY**2 * places.shape[1]))
        return np.asarray(np.log((1 + near[:, ~broken].sum(1)) / (1 + near.sum(1))))

    def _not_worth_it(self, threshold: float) -> str | None:
        """Why nothing is expected to gain `threshold` for the cost of a full training; None if something is."""
        best = self.scale.best
        if not math.isfinite(best):
            return None

        def gain(units: Array) -> Array:
            return self._log_improvement(self.encode(units), 1.0, best)

        candidates = best_configurations(gain, self._centres(), self.history.space, generator(self.history, "worth"))
        gains = [score for _, _, score in candidates]
        if self.resting:
            units = np.array([arm.unit for arm in self.resting])
            left = np.array([1 - arm.step / self.history.horizon for arm in self.resting])
            gains += list(gain(units) - np.log(left))
        expected = math.exp(max(gains, default=-math.inf)) * self.scale.slope
        if expected >= threshold:
            return None
        return f"an expected improvement of {expected:.3g} for a full training's cost is less than {threshold:g}"


def _at(stage: Stage, suggestion: Suggestion, memo: str = "") -> Suggestion:
    """A start, to be trained up to `stage`."""
    return replace(suggestion, task=stage.task, until=None if stage.fidelity == 1 else stage.steps, memo=memo)
