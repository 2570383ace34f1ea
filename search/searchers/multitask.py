"""Multitask Bayesian optimisation: a little training of many configurations teaches a model about full trainings.

Use when   trainings are long, and a part of one (its first epochs, some of the data, a smaller input) says
           something about all of it. With or without `tasks` on the sweep: without them, trials rest at every
           rung (1, 2, 3, 5, 8, … steps) and at each free worker a new one or any resting one goes on.
Costs      for a suggestion 0.02 to 0.05 s at 200 observations, 0.1 s at 1,000 trials; the model's settings are
           found again (0.2 s to 0.6 s) whenever there are 30 % more trials, and kept with the suggestion. Of more
           than 400 observations it takes the latest of the best trials, a spread of the others, then the rungs
           of the best, so that memory and time stay bounded.
Settings   rule ("horizon"): how the next training is chosen, see below. n_initial (8): configurations at random
           before the model. greedy (0.1): share of the turns that take the trial with the best forecast on,
           whatever else looks promising. full_every (60): at least one of so many suggestions goes to the
           horizon. cost_power (0.5): 0 ignores what a step of a configuration costs, 1 is improvement per
           second. first (1), factor (1.5): the rungs, if the sweep has no tasks. stop_below (None): end the
           search when the expected improvement of the loss for the cost of one full training falls under this.
           finalists (3): configurations trained again on fresh seeds at the end.
Not for    schedules that depend on the length of the training, unless tasks are given: a promoted trial goes on
           from its checkpoint. Thousands of cheap trials: Tpe with Asha.
Source     rule "horizon": Rakotoarison et al., In-Context Freeze-Thaw Bayesian Optimization, ICML 2024 (a random
           horizon for each decision), on the model of Swersky et al., 2013 and 2014, see `search.gp`.
           rule "sigopt": the task is drawn with P ∝ exp(−cost), then x maximises the expected improvement there;
           as in SigOpt's open-sourced service. rule "target_ei": the task drawn alike, x by the expected
           improvement of a *full* training. Beliefs: Hvarfner et al., πBO, ICLR 2022.
Differs    expected improvement takes the place of the probability of a random improvement; costs count; a random
           share of greedy turns and the bound of `full_every` keep it from camping on cheap tasks. Failed and
           diverged trials are shown with the worst value where they broke, and places near them count for less.
           Losses are put on a logarithmic scale from the best one, so units, sign and a few enormous losses do
           not matter.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from search.base import Searcher, generator
from search.candidates import Encoding, best_configurations, is_apart
from search.proposal import NUMERICAL, propose_random
from search.scale import WORST, LossScale, Scales
from search.space import Space, Vector
from search.task import FULL, Task
from search.trial import FINALIST, Config, Enough, History, Status, Suggestion, Trial, key_of, resume, start

if TYPE_CHECKING:
    from search.gp import CurveModel

Array = NDArray[np.float64]

RULES = ("horizon", "target_ei", "sigopt")
MOST = 400  # observations that the model is conditioned on
FITTED = 160  # of them, those that its settings are found with
GROWTH = 1.3  # settings are found again when there are so many times more trials
EARLIER = 60  # observations of an earlier sweep
BELIEF = 10.0  # πBO's β: beliefs weigh as much as this many trials
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
    full_every: int = 60
    cost_power: float = 0.5
    first: int = 1
    factor: float = 1.5
    stop_below: float | None = None
    finalists: int = 3

    continues: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"MultitaskSearch(rule={self.rule!r}): must be one of {', '.join(map(repr, RULES))}.")
        for name, least in (("n_initial", 2), ("full_every", 1), ("first", 1), ("finalists", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"MultitaskSearch({name}={value!r}): must be a whole number, {least} or more.")
        for name, low, high in (("greedy", 0.0, 1.0), ("cost_power", 0.0, 1.0), ("factor", 1.1, 100.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"MultitaskSearch({name}={value!r}): must be a number from {low:g} to {high:g}.")
        if self.stop_below is not None and not (isinstance(self.stop_below, (int, float)) and self.stop_below > 0):
            raise ValueError(
                f"MultitaskSearch(stop_below={self.stop_below!r}): must be an improvement of the loss, more than 0; "
                "leave it out to search until the budget is used up."
            )

    def check(self, space: Space) -> None:
        if not space.coordinates:
            raise ValueError("MultitaskSearch(): every parameter of the space is fixed, there is nothing to search.")
        if find_spec("botorch") is None:
            raise ValueError(
                "MultitaskSearch(): its model needs botorch, which is not installed; pip install botorch "
                "(Python 3.11 or later), or use Tpe()."
            )

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

    def _decide(self, history: History, ladder: Sequence[Stage], known: list[Arm]) -> Suggestion | Enough | None:
        try:
            return _Decision(self, history, ladder, known).made()
        except NUMERICAL as error:
            if not history.room:
                return None
            evidence = f"random, because the model failed with {type(error).__name__}: {error}"
            return _at(ladder[0], propose_random(history, origin="fallback", evidence=evidence))


@dataclass(frozen=True)
class Stage:
    """A place on the way to a full training: `steps` steps on a task."""

    task: str
    steps: int
    index: int  # of the task for the model: 0 is the full training
    cost: float  # of getting here from nothing, as a share of a full training
    fidelity: float  # log of the steps: 0 at the first, 1 at the last

    @property
    def is_full(self) -> bool:
        return self.task == FULL


def stages(history: History, first: int = 1, factor: float = 1.5) -> list[Stage]:
    """The stages of this sweep, the cheapest first, the full training last.

    With tasks they are those; without, rungs at `first`, then `factor` times further each (at least one step).
    """
    horizon = history.horizon
    if not history.tasks:
        steps = [min(first, horizon)]
        while steps[-1] < horizon:
            steps.append(min(horizon, max(steps[-1] + 1, round(steps[-1] * factor))))
        return [Stage(FULL, step, 0, step / horizon, _fidelity(step, horizon)) for step in steps]
    separate = [task.name for task in history.tasks if task.name != FULL and not task.resumes]

    def stage(task: Task) -> Stage:
        if task.name in separate:
            return Stage(task.name, task.steps(horizon), 1 + separate.index(task.name), history.cost_of(task), 1.0)
        steps = task.steps(horizon)
        return Stage(FULL, steps, 0, steps / horizon, _fidelity(steps, horizon))

    return sorted(map(stage, history.tasks), key=lambda stage: (stage.is_full and stage.steps == horizon, stage.cost))


def _fidelity(step: int, horizon: int) -> float:
    return math.log(step) / math.log(horizon) if horizon > 1 else 1.0


@dataclass
class Arm:
    """A configuration and its trials: one, or one for each task that is a training of its own."""

    config: Config
    unit: Vector
    trials: list[Trial] = field(default_factory=list)
    stage: int = -1  # the highest that has a result
    step: int = 0  # of the full training, if there is one
    running: Stage | None = None  # where it will be when its worker is free again
    broken: bool = False  # failed or diverged: it will not go on

    @cached_property
    def full(self) -> Trial | None:
        """Its full training, begun or done."""
        return next((trial for trial in self.trials if trial.task == FULL), None)


def arms(history: History, ladder: Sequence[Stage]) -> list[Arm]:
    """Every configuration of the present space that was tried, in order of its first trial."""
    units = _units.setdefault(history, {})
    found: dict[str, Arm] = {}
    names = {stage.task: number for number, stage in enumerate(ladder) if not stage.is_full}
    for trial in history.trials:
        if not trial.in_space or trial.first_origin == FINALIST or trial.began:
            continue
        if trial.task != FULL and trial.task not in names:
            continue
        if trial.number not in units:
            units[trial.number] = (key_of(trial.config), history.space.to_unit(trial.config))
        key, unit = units[trial.number]
        arm = found.setdefault(key, Arm(trial.config, unit))
        arm.trials.append(trial)
        arm.broken |= _broke(trial)
        if trial.task == FULL:
            arm.step = max(arm.step, trial.step)
            reached = max((n for n, s in enumerate(ladder) if s.is_full and s.steps <= trial.step), default=-1)
        else:
            reached = names[trial.task] if trial.status is Status.COMPLETED else -1
        arm.stage = max(arm.stage, reached)
        if trial.status is Status.RUNNING:
            arm.running = _goal(trial, ladder)
    return list(found.values())


_units: WeakKeyDictionary[History, dict[int, tuple[str, Vector]]] = WeakKeyDictionary()


def _broke(trial: Trial) -> bool:
    return trial.status in (Status.FAILED, Status.DIVERGED) or (bool(trial.steps) and not math.isfinite(trial.loss))


def _goal(trial: Trial, ladder: Sequence[Stage]) -> Stage:
    """The stage a running trial is on its way to."""
    own = [stage for stage in ladder if stage.task == trial.task]
    until = trial.suggestion.until or own[-1].steps
    return next((stage for stage in own if stage.steps >= until), own[-1])


class _Decision:
    """One decision: everything that is computed from one history."""

    def __init__(self, searcher: MultitaskSearch, history: History, ladder: Sequence[Stage], known: list[Arm]) -> None:
        self.searcher, self.history, self.ladder, self.arms = searcher, history, ladder, known
        self.rng = generator(history, "multitask")
        self.encode = Encoding(history.space)
        self.top = ladder[-1]
        self.scale = Scales(history, [stage.task for stage in ladder])
        self.memo = ""
        self.model = self._model()
        self.resting = [
            arm for arm in known if arm.stage >= 0 and not arm.running and not arm.broken and self._next(arm)
        ]
        self.cost = _step_costs(known, self.encode)

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
        if self.resting and history.asked - self._last_full() >= searcher.full_every:
            return self._climb(self._forecasts_best(), self.top, f"none of {searcher.full_every} went to the horizon")
        if self.resting and (not history.room or self.rng.random() < searcher.greedy):
            arm = self._forecasts_best()
            if not history.room or self._may_gain(arm):
                return self._climb(arm, self._next(arm), "best forecast of a full training")
        return self._horizon_rule()

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
            promise = self._log_improvement(places, _fidelity(ahead, horizon), best)
            return np.asarray(promise - power * self.cost(places) + self._prior(units))

        rest, rest_score = None, -math.inf
        if self.resting:
            units = np.array([arm.unit for arm in self.resting])
            goals = np.array([min(horizon, arm.step + ahead) for arm in self.resting])
            fidelities = np.array([_fidelity(goal, horizon) for goal in goals])
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
        if self.history.asked - self._last_full() >= self.searcher.full_every:
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

    def _last_full(self) -> int:
        """The number of the latest suggestion that was to be trained to the horizon."""
        horizon = self.history.horizon
        full = [t for t in self.history.trials if t.task == FULL and (t.suggestion.until or horizon) >= horizon]
        return max((trial.asked for trial in full), default=0)

    # What the model says.

    def _model(self) -> CurveModel:
        from search.gp import CurveModel

        history, scale = self.history, self.scale
        separate = 1 + sum(not stage.is_full for stage in self.ladder)
        rows = _thinned(_rows(self.arms, self.ladder, scale), MOST)
        trials = sum(arm.stage >= 0 or arm.broken for arm in self.arms)
        for number, earlier in enumerate(history.earlier):
            rows += _earlier_rows(earlier, history.space, separate + number)
        places = self.encode(np.array([row.unit for row in rows]))
        fidelities, tasks = np.array([row.fidelity for row in rows]), np.array([row.task for row in rows])
        values = np.array([row.value for row in rows])
        model = CurveModel(places.shape[1], tasks=separate + len(history.earlier), earlier=len(history.earlier))
        remembered = json.loads(history.memo) if history.memo else {}
        shape = [places.shape[1], separate + len(history.earlier)]
        if remembered.get("shape") == shape and trials < GROWTH * remembered["trials"]:
            model.settings = remembered["settings"]
        else:
            chosen = np.random.default_rng(len(rows)).permutation(len(rows))[:FITTED]
            model.fit(places[chosen], fidelities[chosen], tasks[chosen], values[chosen])
            self.memo = json.dumps({"trials": trials, "shape": shape, "settings": model.settings})
        model.condition(places, fidelities, tasks, values)
        pending = [(arm.unit, arm.running) for arm in self.arms if arm.running]
        if pending:
            goals = [stage for _, stage in pending]
            model.believe(
                self.encode(np.array([unit for unit, _ in pending])),
                np.array([stage.fidelity for stage in goals]),
                np.array([stage.index for stage in goals]),
                np.full(len(goals), values.max()) if self.searcher.rule == "sigopt" else None,
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
        lowest = np.full(horizon + 1, math.inf)
        for arm in self.arms:
            if arm.full is not None and not arm.broken:
                for step, loss in zip(arm.full.steps, arm.full.losses, strict=True):
                    lowest[min(step, horizon)] = min(loss, lowest[min(step, horizon)])
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


@dataclass(frozen=True)
class _Row:
    """One observation for the model."""

    unit: Vector
    fidelity: float
    task: int
    value: float  # on the scale of its task
    place: int  # of its configuration, by the latest results; 0 is the best
    is_latest: bool  # of its trial


def _rows(known: list[Arm], ladder: Sequence[Stage], scale: Scales) -> list[_Row]:
    """What the trials have shown: of the better quarter every rung, of the others the first and the latest."""
    horizon = max(stage.steps for stage in ladder if stage.is_full)
    rungs = {stage.steps: stage.fidelity for stage in ladder if stage.is_full}
    indices = {stage.task: stage.index for stage in ladder}
    order = np.argsort([_latest(arm, scale) for arm in known], kind="stable")
    places = {int(index): place for place, index in enumerate(order)}
    many = max(30, len(known) // 4)
    shown: dict[str, list[tuple[Arm, float, float, int, bool]]] = {}  # task → arm, fidelity, loss, place, latest?
    rows = []
    for number, arm in enumerate(known):
        place = places[number]
        if arm.broken:  # what looked well before it broke must not attract
            last = next(t for t in reversed(arm.trials) if _broke(t))
            at = _fidelity(min(max(1, last.step), horizon), horizon) if last.task == FULL else 1.0
            rows.append(_Row(arm.unit, at, indices[last.task], WORST, place, True))
            continue
        for trial in arm.trials:
            for step in _shown_steps(trial, rungs, place < many):
                at = rungs.get(step, _fidelity(min(step, horizon), horizon)) if trial.task == FULL else 1.0
                found = (arm, at, _loss_from(trial, step), place, step == trial.step)
                shown.setdefault(trial.task, []).append(found)
    for task, found_here in shown.items():
        values = scale(task, np.array([loss for _, _, loss, _, _ in found_here]))
        for (arm, at, _, place, is_latest), value in zip(found_here, values, strict=True):
            rows.append(_Row(arm.unit, at, indices[task], float(value), place, is_latest))
    return rows


def _shown_steps(trial: Trial, rungs: Mapping[int, float], every: bool) -> list[int]:
    """The steps at which the model is shown `trial`: its rungs (`every`), or the first of them, and the latest."""
    if not trial.step or (trial.task != FULL and trial.status is not Status.COMPLETED):
        return []
    if trial.task != FULL:
        return [trial.step]
    steps = sorted({step for step in rungs if step <= trial.step} | {trial.step})
    return steps if every or len(steps) < 3 else [steps[0], steps[-1]]


def _loss_from(trial: Trial, step: int) -> float:
    """The loss at `step`, or at the first report beyond it."""
    loss = trial.loss_at(step)
    return trial.losses[bisect_left(trial.steps, step)] if loss is None else loss


def _thinned(rows: list[_Row], most: int) -> list[_Row]:
    """At most `most` rows: the latest of the best, a spread of the latest of the others, then the rungs of the best."""
    if len(rows) <= most:
        return rows
    latest = sorted((row for row in rows if row.is_latest), key=lambda row: (row.place, row.task))
    rungs = sorted((row for row in rows if not row.is_latest), key=lambda row: (row.place, row.fidelity))
    best, others = latest[: most * 4 // 10], latest[most * 4 // 10 :]
    spread = others[:: math.ceil(len(others) / (most * 3 // 10))] if others else []
    return best + spread + rungs[: most - len(best) - len(spread)]


def _latest(arm: Arm, scale: Scales) -> float:
    """The latest value of its highest task; the worst if there is none."""
    for trial in reversed(arm.trials):
        if trial.steps and not arm.broken:
            return float(scale(trial.task, np.array([trial.loss]))[0])
    return WORST + 1


def _earlier_rows(earlier: History, space: Space, task: int) -> list[_Row]:
    """The latest result of each trial of an earlier sweep; of many, the best half and a spread of the others."""
    trials = [
        t for t in earlier.trials if t.task == FULL and t.steps and math.isfinite(t.loss) and space.contains(t.config)
    ]
    if not trials:
        return []
    values = LossScale.of(trials)(np.array([trial.loss for trial in trials]))
    order = sorted(range(len(trials)), key=lambda index: (trials[index].loss, trials[index].number))
    if len(order) > EARLIER:
        others = order[EARLIER // 2 :]
        order = order[: EARLIER // 2] + others[:: math.ceil(len(others) / (EARLIER // 2))]
    return [
        _Row(
            space.to_unit(trials[index].config),
            _fidelity(min(trials[index].step, earlier.horizon), earlier.horizon),
            task, float(values[index]), place, True,
        )
        for place, index in enumerate(order)
    ]  # fmt: skip


def _step_costs(known: list[Arm], encode: Encoding) -> Any:
    """Encoded places → log of what a step costs there, by a ridge regression; zeros if nothing was measured."""
    measured = [arm.full for arm in known if arm.full is not None and arm.full.step and arm.full.cost_seconds > 0]
    if len(measured) < 3:
        return lambda places: np.zeros(len(places))
    by_number = {arm.full.number: arm.unit for arm in known if arm.full is not None}
    logs = np.log([trial.cost_seconds / trial.step for trial in measured])
    places = encode(np.array([by_number[trial.number] for trial in measured]))
    middle = float(logs.mean())

    def features(places: Array) -> Array:
        return np.column_stack([np.ones(len(places)), places, places**2])

    inputs = features(places)
    ridge = np.diag(np.r_[1e-6, np.ones(inputs.shape[1] - 1)])
    weights = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ (logs - middle))
    lowest, highest = logs.min() - 0.5, logs.max() + 0.5
    return lambda places: np.clip(features(places) @ weights + middle, lowest, highest)
