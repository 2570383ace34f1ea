"""Start each new trial from the value that the other trials' trainings found for a parameter, here the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search.contract import Around, Searcher, generator
from search.domain.parameters import Choice, Float
from search.history import History, key_of
from search.origins import COVERING
from search.records import FOUND, Config, Enough, Status, Suggestion
from search.settings import number
from search.space import Space
from search.task import FULL
from search.wording import instance, shown

UNSURE = 16.0  # a wider expectation tells no more than the range
NOISE = 0.7  # deviation of the logarithm of the value that the best trial found: trainings try steps of a factor of 4
WORST = 3.0  # times that for the worst trial's: what looked right early in it proved wrong
MOST = 200  # trials of a sweep to learn from, the best: time grows with the cube
ACROSS = 1.5  # deviation of the logarithm that one option (SGD, Adam) explains, …
ALONG = 1.0  # … and one number along its whole range

DRAWS = 200  # for settings that no trial has
SILENT = 3  # trainings to the end without a found value, until that is told

Found = tuple[Config, float, float]


@dataclass(frozen=True)
class FromFound(Around):
    """Asks `searcher`, then sets `parameter` to the value that the results so far predict for these settings.

    Use when   trials find a value while they train (`RateRace`, `LrRange`), so that it need not be searched. The first
               trials look for it in a wide range; the later ones start near what was found, and a short ladder is enough.
    Costs      nothing.
    Settings   searcher: chooses everything else. parameter ("learning_rate"): its name in the space. reported
               ("learning_rate"): its name in the reports, whose metric is "found_learning_rate", as policies give it.
               per_batch (0.5): power of "batch_size" with which it is expected to grow.
    Recipes    FromFound(Tpe()) with policy=RateRace(rungs=1): three rates around the expected one; the race widens if the
               best is at an end.
    Not for    a parameter that the search itself should choose: the searcher's own value is replaced.
    Source     our own: Bayesian linear regression of the logarithm on all other parameters (Rasmussen and Williams,
               Gaussian Processes for Machine Learning, 2006, section 2.1). Square root of the batch: Krizhevsky, One Weird
               Trick, 2014.
    Differs    keeps the searcher's value while the expectation is uncertain by more than a factor of `UNSURE`. The better a
               trial's result, the more its value counts. Where another trial has all the other settings, it draws others.

    Learns from this sweep and from the earlier ones in its history.

    >>> searcher = FromFound(Random())
    """

    searcher: Searcher
    parameter: str = "learning_rate"
    reported: str = "learning_rate"
    per_batch: float = 0.5

    def __post_init__(self) -> None:
        instance("FromFound", Searcher, searcher=self.searcher)
        number("FromFound", "[-2, 2]", per_batch=self.per_batch)
        self.adopt()

    @property
    def inner(self) -> Searcher:
        return self.searcher

    def check(self, space: Space) -> None:
        parameter = space.parameters.get(self.parameter)
        if not (isinstance(parameter, Float) and parameter.log):
            raise ValueError(
                f'FromFound(parameter="{self.parameter}"): the space has no such parameter on a log scale; '
                f'add "{self.parameter}": loguniform(…), the range to look in, or give its name: FromFound(…, parameter="lr").'
            )
        self.searcher.check(space)

    def suggest(self, history: History) -> Suggestion | Enough | None:
        suggestion = self.searcher.suggest(history)
        if not isinstance(suggestion, Suggestion) or suggestion.kind != "start":
            return suggestion
        if self.parameter not in suggestion.config or not (seen := self._found(history)):
            return suggestion
        if any(history.known(suggestion.config, name) for name in (FULL, *(task.name for task in history.tasks))):
            return suggestion  # a promotion that starts over on another task
        config, repeats = self._untried(history, suggestion)
        origin = suggestion.origin if config is suggestion.config else "random"
        evidence = [suggestion.evidence, repeats]
        expected = self._expected(history.space, config, seen)
        if expected is not None and history.space.contains(other := {**config, self.parameter: expected}):
            config, origin = other, "found" if origin in COVERING else origin
            evidence.append(f"{self.parameter} as {len(seen)} trainings found it")
        return replace(suggestion, config=config, origin=origin, evidence="; ".join(filter(None, evidence)))

    def doubt(self, history: History) -> str:
        metric = FOUND + self.reported
        if history.count(Status.COMPLETED) < SILENT or any(metric in trial.metrics for trial in history):
            return ""
        return (
            f"no trial reports {metric!r}, so {shown(self)} does nothing more than {shown(self.searcher)}; "
            "let RateRace(rungs=1) find it, as the policy of the sweep or of a Control in your own loop, or report it yourself."
        )

    def use_of_earlier(self) -> str:
        return "from the first trial on"

    def _untried(self, history: History, suggestion: Suggestion) -> tuple[Config, str]:
        """The suggested configuration, or a random one, if a trial has all its settings but `parameter`; and why."""
        space = history.space
        if not all(math.isfinite(each.size) for name, each in space.parameters.items() if name != self.parameter):
            return suggestion.config, ""
        trials = [trial for trial in history.trials[::-1] if trial.task == suggestion.task and not trial.broke]
        tried = {self._rest(trial.config): trial.number for trial in trials}
        twin = tried.get(self._rest(suggestion.config))
        if twin is None:
            return suggestion.config, ""
        rng = generator(history, "found")
        for _ in range(DRAWS):
            other = space.sample(rng)
            if self.parameter in other and self._rest(other) not in tried:
                return other, f"random, because trial {twin} has the other settings of the proposal"
        return suggestion.config, f"trial {twin} has the same settings, and {DRAWS} draws found none that no trial has"

    def _rest(self, config: Config) -> str:
        return key_of({name: value for name, value in config.items() if name != self.parameter})

    def _found(self, history: History) -> list[Found]:
        """The configurations whose training found a value, the value, and its noise: the worse the result, the more."""
        found: list[Found] = []
        metric = FOUND + self.reported
        for each in (*history.earlier, history):
            trials = [trial for trial in each.trials if 0 < trial.metrics.get(metric, 0.0) < math.inf]
            ranked = sorted(trials, key=lambda trial: (math.inf if trial.broke else trial.loss, trial.number))
            for place, trial in enumerate(ranked[:MOST]):
                if history.space.contains(trial.config):
                    worse = place / max(1, len(ranked) - 1)
                    found.append((trial.config, trial.metrics[metric], NOISE * (1 + (WORST - 1) * worse)))
        return found

    def _expected(self, space: Space, config: Config, seen: list[Found]) -> float | None:
        """The expected value for `config`, inside the parameter's range; None: too uncertain."""
        parameter = space.parameters[self.parameter]
        assert isinstance(parameter, Float)
        ends = np.log([parameter.low, parameter.high])
        configs = [*(each for each, _, _ in seen), config]
        usual = self.per_batch * np.log([_batch(each) for each in configs])
        usual += ends.mean() - usual.mean()  # before anything is known
        covariance = _covariance(space, configs, self.parameter) + (np.ptp(ends) / 2) ** 2
        among, across = covariance[:-1, :-1] + np.diag([noise**2 for _, _, noise in seen]), covariance[-1, :-1]
        weights = np.linalg.solve(among, across)
        if covariance[-1, -1] - weights @ across > math.log(UNSURE) ** 2:
            return None
        expected = usual[-1] + weights @ (np.log([value for _, value, _ in seen]) - usual[:-1])
        return float(np.exp(np.clip(expected, *ends)).clip(parameter.low, parameter.high))


def _batch(config: Config) -> float:
    size = config.get("batch_size")
    return float(size) if isinstance(size, (int, float)) and size > 0 else 1.0


def _covariance(space: Space, configs: list[Config], without: str) -> NDArray[np.float64]:
    """Of the logarithms of the right values for `configs`, (n, n), as far as the other parameters explain them."""
    units = np.array([space.to_unit(each) for each in configs])
    total = np.zeros((len(configs), len(configs)))
    for name, index in space.coordinates.items():
        if isinstance(choice := space.parameters[name], Choice):
            option = np.minimum(units[:, index] * len(choice.options), len(choice.options) - 1).astype(int)
            total += ACROSS**2 * (option[:, None] == option[None, :])
        elif name != without:
            total += ALONG**2 * np.outer(units[:, index] - 0.5, units[:, index] - 0.5)
    return total
