"""Optuna's samplers on our history: the tree-structured Parzen estimator, and a Gaussian process.

An Optuna sampler reads a study. For each suggestion we build a study from the history and then discard it: we call only
the samplers' public methods and keep none of their state, and the seed is a function of the history. A result appears
as COMPLETE, a stopped trial as PRUNED, a running trial as RUNNING. Trials of a cheaper task, or outside the present
space, do not appear.
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from search.contract import Searcher, generator
from search.domain.parameters import Choice, Fixed, Float, Int, Parameter, Pow2
from search.history import History, Trial
from search.records import Status, Suggestion
from search.rules.proposals import propose, propose_random
from search.settings import whole
from search.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

GOOD_SHARE, GOOD = 0.1, 25  # the best tenth of the results counts as good, 25 at most, as in Optuna
HUGE = 1e30  # larger losses are replaced by it, so that their squares stay finite


class _OptunaSearcher(Searcher):
    """The common part of both: the study, the walk through the space, the random start."""

    n_startup_trials: int

    @abstractmethod
    def _sampler(self, seed: int, frozen: list[FrozenTrial]) -> BaseSampler: ...

    @abstractmethod
    def _frozen(self, history: History) -> list[FrozenTrial]:
        """The history in the form that this sampler should see."""

    def _random_share(self, history: History) -> float:
        """The share of random suggestions once there is a model."""
        return 0.0

    @abstractmethod
    def _results(self, history: History) -> int:
        """The number of trials that this sampler learns from."""

    def suggest(self, history: History) -> Suggestion | None:
        results, title = self._results(history), type(self).__name__
        if results < self.n_startup_trials:
            evidence = f"random: {title} has {results} of the {self.n_startup_trials} results it starts with"
            return propose_random(history, origin="initial", evidence=evidence, bracketed=True)
        if generator(history, "share").random() < self._random_share(history):
            return propose_random(history, bracketed=True)
        with _quiet():
            frozen = self._frozen(history)
            return propose(
                history,
                lambda seed: _ask(self._sampler(seed, frozen), frozen, history),
                evidence=f"{title} on {results} results, {history.count(Status.RUNNING)} running",
                attempts=3,
            )


@dataclass(frozen=True)
class Tpe(_OptunaSearcher):
    """Draws candidates where the best results are denser than the rest.

    Use when   in general: any space, any number of workers, early stopping.
    Costs      5 ms per suggestion at 100 trials, 0.1 s at 5,000 (0.3 s the first time).
    Settings   n_startup_trials (10): random results before the model, three in four of them from the middle of the
               logarithmic ranges (`search.domain.prior.towards_middle`), as are later random ones. n_ei_candidates (24):
               draws to choose from. random_share (1/3): the share of random suggestions if trials are stopped early.
               Otherwise Optuna's defaults: multivariate over the parameters that are always active,
               one by one for conditional ones; running trials count as bad (constant liar).
    Not for    few, expensive trials of a smooth function: a Gaussian process needs fewer of them.
    Source     Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS 2011; Optuna 5.
    Differs    as in BOHB, the results are the losses at the last step that enough trials have reached (twice the
               parameters and 2, or n_startup_trials if that is more); trials stopped before it are left out. So
               the model does not know the regions where every trial was stopped: it looks there again, for a step or
               two. Optuna ranks every completed trial above every stopped one, and ASHA's first trials always complete,
               so its model learns from the luck of the start. Diverged and failed trials appear to run for ever, so
               they weigh in the bad density, and never in the good one.

    >>> searcher = Tpe(n_startup_trials=20)
    """

    why_full: ClassVar[str | None] = ""
    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    random_share: float = 1 / 3

    def __post_init__(self) -> None:
        whole("Tpe", 1, n_startup_trials=self.n_startup_trials, n_ei_candidates=self.n_ei_candidates)
        if not 0 <= self.random_share < 1:
            raise ValueError(f"Tpe(random_share={self.random_share!r}): must be a share, 0 or more and below 1; try 0.")

    def _random_share(self, history: History) -> float:
        return self.random_share if history.count(Status.STOPPED) else 0.0

    def _sampler(self, seed: int, frozen: list[FrozenTrial]) -> BaseSampler:
        from optuna.samplers import TPESampler

        results = sum(trial.state.name == "COMPLETE" for trial in frozen)
        return TPESampler(
            n_startup_trials=1,  # `suggest` has counted them already
            n_ei_candidates=self.n_ei_candidates,
            gamma=lambda _: min(math.ceil(GOOD_SHARE * results), GOOD),
            seed=seed,
        )

    def _frozen(self, history: History) -> list[FrozenTrial]:
        step = _telling_step(history, max(self.n_startup_trials, 2 * (history.space.dimension + 1)))
        shown = ((frozen, history.trials[frozen.number]) for frozen in frozen_trials(history))
        return [_result(frozen, trial, step) for frozen, trial in shown if _counts(trial, step)]

    def _results(self, history: History) -> int:
        return sum(_state(trial) in ("COMPLETE", "PRUNED") for trial in history.trials if _is_shown(trial))


@dataclass(frozen=True)
class GaussianProcess(_OptunaSearcher):
    """Fits a smooth function with error bars and takes the point with the largest expected improvement.

    Use when   trials are expensive and few (up to about 200), with numbers that act smoothly.
    Costs      0.1 s per suggestion, and some seconds while other trials run; grows with the cube of the trials.
    Settings   n_startup_trials (10): random full results before the model, drawn as those of Tpe.
    Not for    early stopping: it learns only from full results; conditional parameters are drawn at random.
    Source     Optuna's GPSampler: Matern 5/2 with a length for each parameter, log expected improvement, and
               its batch form while trials run.
    Differs    a diverged or failed trial gets the worst full result so far. If it were left out, as in Optuna, the
               model would propose it again and again.

    >>> searcher = GaussianProcess(n_startup_trials=8)
    """

    why_full: ClassVar[str | None] = "GaussianProcess expects full trainings"
    n_startup_trials: int = 10

    def __post_init__(self) -> None:
        whole("GaussianProcess", 1, n_startup_trials=self.n_startup_trials)

    def _sampler(self, seed: int, frozen: list[FrozenTrial]) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(n_startup_trials=self.n_startup_trials, seed=seed, warn_independent_sampling=False)

    def _frozen(self, history: History) -> list[FrozenTrial]:
        frozen = frozen_trials(history)
        worst = max(trial.value for trial in frozen if trial.state.name == "COMPLETE")
        return [_failed_as(worst, trial, history.trials[trial.number]) for trial in frozen]

    def _results(self, history: History) -> int:
        return sum(_state(trial) == "COMPLETE" for trial in history.trials if _is_shown(trial))


def _ask(sampler: BaseSampler, frozen: list[FrozenTrial], history: History) -> dict[str, Any]:
    """The proposal of `sampler` after the trials `frozen`: joint where possible, otherwise one by one."""
    study = _study(frozen)
    trial = _trial(len(history.trials), "RUNNING", {}, {})
    joint = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))

    def pick(name: str, parameter: Parameter) -> Any:
        if isinstance(parameter, Fixed):
            return parameter.value
        distribution = distribution_of(parameter)
        if name in joint:
            value = joint[name]
        elif distribution.single():
            value = _outward(parameter.from_unit(0.5), parameter)
        else:
            value = sampler.sample_independent(study, trial, name, distribution)
        return 2**value if isinstance(parameter, Pow2) else parameter.plain(value)

    return history.space.walk(pick)


def _study(frozen: list[FrozenTrial]) -> Study:
    """A study of exactly these trials, which discards everything that a sampler writes."""
    from optuna.storages import InMemoryStorage
    from optuna.study import create_study

    class Snapshot(InMemoryStorage):  # type: ignore[misc]
        def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
            return [trial for trial in frozen if states is None or trial.state in states]

        def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
            pass

    return create_study(storage=Snapshot(), study_name="history", direction="minimize")


_frozen_before: WeakKeyDictionary[History, dict[int, tuple[tuple[Status, int], FrozenTrial]]] = WeakKeyDictionary()


def frozen_trials(history: History) -> list[FrozenTrial]:
    """The visible trials in Optuna's form; converts only those that changed since the last call."""
    known = _frozen_before.setdefault(history, {})
    distributions: dict[str, BaseDistribution] = {}
    for trial in filter(_is_shown, history.trials):
        version = (trial.status, len(trial.steps))
        if trial.number not in known or known[trial.number][0] != version:
            distributions = distributions or _distributions(history.space)
            known[trial.number] = (version, _freeze(trial, history.space, distributions))
    return [frozen for _, frozen in known.values()]


def _is_shown(trial: Trial) -> bool:
    return trial.in_space and trial.task == "full"


def _state(trial: Trial) -> str:
    """Optuna's name for the state of `trial`; a broken one stays "RUNNING" (see `Tpe`)."""
    if trial.status in (Status.COMPLETED, Status.STOPPED) and math.isfinite(trial.loss):
        return "COMPLETE" if trial.status is Status.COMPLETED else "PRUNED"
    return "RUNNING"


def _freeze(trial: Trial, space: Space, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    config = {name: value for name, value in space.check(trial.config).items() if name in distributions}
    curve = {step: _tamed(loss) for step, loss in zip(trial.steps, trial.losses, strict=True) if math.isfinite(loss)}
    params = {name: _outward(value, space.parameters[name]) for name, value in config.items()}
    return _trial(
        trial.number,
        _state(trial),
        params,
        {name: distributions[name] for name in params},
        {} if trial.status.is_failure else curve,
        _tamed(trial.loss) if _state(trial) == "COMPLETE" else None,
    )


def _telling_step(history: History, enough: int) -> int:
    """The last step that `enough` sound trials have reached; if there are fewer, the last that all have reached."""
    reached = sorted((trial.reach for trial in filter(_is_shown, history.trials) if _is_sound(trial)), reverse=True)
    return reached[min(enough, len(reached)) - 1]


def _is_sound(trial: Trial) -> bool:
    return bool(trial.steps) and not trial.broke


def _counts(trial: Trial, step: int) -> bool:
    """Whether `trial` has a result at `step`, broke, or may still get there."""
    return trial.reach >= step or trial.broke or trial.status is Status.RUNNING


def _result(frozen: FrozenTrial, trial: Trial, step: int) -> FrozenTrial:
    """`trial` with its loss at `step`, or at the first step beyond, as its value; before that, unchanged."""
    if not _is_sound(trial) or trial.reach < step:
        return frozen
    index = min(bisect_left(trial.steps, step), len(trial.losses) - 1)
    return _trial(frozen.number, "COMPLETE", frozen.params, frozen.distributions, {}, _tamed(trial.losses[index]))


def _failed_as(worst: float, frozen: FrozenTrial, trial: Trial) -> FrozenTrial:
    if trial.status is Status.RUNNING or _state(trial) != "RUNNING":
        return frozen
    return _trial(frozen.number, "COMPLETE", frozen.params, frozen.distributions, {}, worst)


def _trial(
    number: int,
    state: str,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    curve: dict[int, float] | None = None,
    value: float | None = None,
) -> FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    return FrozenTrial(
        number=number, trial_id=number, state=TrialState[state], params=params, distributions=distributions,
        intermediate_values=curve or {}, value=value, user_attrs={}, system_attrs={},
        datetime_start=None, datetime_complete=None,
    )  # fmt: skip


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {
        name: distribution_of(parameter)
        for name, parameter in space.parameters.items()
        if not isinstance(parameter, Fixed)
    }


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """Optuna's distribution of a parameter; a power of two becomes an integer, its exponent."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Pow2):
        return IntDistribution(*parameter.exponents)
    assert isinstance(parameter, Choice)
    return CategoricalDistribution(parameter.options)


def _outward(value: Any, parameter: Parameter) -> Any:
    return value.bit_length() - 1 if isinstance(parameter, Pow2) else value


def _tamed(loss: float) -> float:
    return min(max(loss, -HUGE), HUGE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Optuna, which would log each study and warn of experimental features."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
