"""An expert's guess where the best value is: a prior that nothing can be excluded by."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.history import History
from search.rules.proposals import propose_random
from search.searchers.optuna import Tpe
from search.space import Float, Space, choice, lograndint, loguniform, pow2, randint, uniform, when
from tests.support import SPACE, simulated, small_sweep

few = settings(max_examples=40, deadline=None, derandomize=True)
KINDS: dict[str, Any] = {
    "float": loguniform(1e-5, 1.0),
    "linear": uniform(-2.0, 3.0),
    "int": randint(1, 4),
    "logint": lograndint(1, 300),
    "pow2": pow2(16, 1024),
    "choice": choice(["sgd", "adam", None]),
}


@st.composite
def with_prior(draw: Any) -> Space:
    """A prior about some parameters, anywhere in their ranges, of any strength."""
    parameters = {"free": uniform(0.0, 1.0)}
    for name in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True)):
        parameter = KINDS[name]
        centre = parameter.from_unit(draw(st.floats(0, 1)))
        parameters[name] = parameter.prior(centre, confidence=draw(st.floats(0.01, 0.99)))
    return Space(parameters)


@few
@given(with_prior(), st.integers(0, 99))
def test_the_prior_is_a_density_that_is_nowhere_zero(space: Space, seed: int) -> None:
    units = np.random.default_rng(seed).random((50, space.dimension))
    corners = np.vstack([units, np.zeros((1, space.dimension)), np.ones((1, space.dimension))])
    assert np.all(np.isfinite(space.log_prior(corners)))
    for parameter in space.parameters.values():  # the mean over a fine grid is 1
        density = parameter.prior_density((np.arange(20_000) + 0.5) / 20_000)
        assert density.mean() == pytest.approx(1.0, abs=2e-3)


@few
@given(with_prior(), st.integers(0, 99))
def test_the_centre_is_the_most_probable_place(space: Space, seed: int) -> None:
    centres = {name: p.known_prior.centre for name, p in space.parameters.items() if p.known_prior is not None}
    best = space.to_unit({"free": 0.5} | centres)
    units = np.random.default_rng(seed).random((100, space.dimension))
    assert np.all(space.log_prior(units) <= space.log_prior(best[None])[0] + 1e-9)


@few
@given(with_prior(), st.integers(0, 99))
def test_samples_lie_in_the_space_and_a_belief_survives_repr_json_and_pickle(space: Space, seed: int) -> None:
    assert space.has_priors
    assert space.contains(space.sample_prior(np.random.default_rng(seed)))
    assert json.loads(json.dumps(space.describe())) == space.describe()
    assert pickle.loads(pickle.dumps(space)) == space
    for name, parameter in space.parameters.items():
        assert (".prior(" in repr(parameter)) == (name != "free")
        assert ("prior" in space.describe()["parameters"][name]) == (name != "free")


def test_samples_follow_the_density() -> None:
    space = Space(
        {
            "lr": loguniform(1e-4, 1.0).prior(0.01, confidence=0.6),
            "opt": choice(["a", "b"]).prior("b", confidence=0.5),
        }
    )
    rng = np.random.default_rng(0)
    samples = [space.sample_prior(rng) for _ in range(4000)]
    near = np.mean([0.4 < space.to_unit(sample)[0] < 0.6 for sample in samples])
    assert near == pytest.approx(0.6 * math.erf(1 / math.sqrt(2)) + 0.4 * 0.2, abs=0.03)
    assert np.mean([sample["opt"] == "b" for sample in samples]) == pytest.approx(0.75, abs=0.03)


def test_without_beliefs_the_prior_is_flat_and_draws_are_as_ever() -> None:
    space = Space(KINDS)
    assert not space.has_priors
    assert not space.log_prior(np.random.default_rng(0).random((5, space.dimension))).any()
    assert "prior" not in json.dumps(space.describe())
    history = History(space, horizon=1)
    assert propose_random(history, origin="initial").config == propose_random(history).config


def test_an_inactive_parameter_has_no_say() -> None:
    momentum = when(uniform(0.0, 0.99).prior(0.9), optimizer="sgd")
    space = Space({"optimizer": choice(["sgd", "adam"]), "momentum": momentum})
    sgd, adam = space.log_prior(np.array([[0.25, 0.9], [0.75, 0.9]]))
    assert sgd > 0
    assert adam == 0


def test_initial_configurations_lean_on_the_belief_and_half_of_them_do_not() -> None:
    space = Space({"lr": loguniform(1e-6, 1.0).prior(1e-3, confidence=0.95)})
    near, plain = 0, 0
    for seed in range(300):
        history = History(space, horizon=1, seed=seed)
        suggestion = Tpe().suggest(history)
        assert suggestion is not None
        near += 0.4 < space.to_unit(suggestion.config)[0] < 0.6
        plain += 0.4 < space.to_unit(propose_random(history).config)[0] < 0.6
    assert 0.35 < near / 300 < 0.55  # half of 0.66, and half of 0.2
    assert plain / 300 < 0.3


def test_a_belief_may_change_and_the_results_stay(tmp_path: Path) -> None:
    before = small_sweep(num_samples=3)
    told = Space(SPACE | {"learning_rate": loguniform(1e-3, 0.3).prior(0.05)})
    after = small_sweep(num_samples=5, space=told)
    simulated(tmp_path, before)
    driver = simulated(tmp_path, after)
    assert len(driver.history.trials) == 5
    assert all(trial.in_space for trial in driver.history)
    assert len(simulated(tmp_path, small_sweep(num_samples=6)).history.trials) == 6  # and it may be taken back


@pytest.mark.parametrize(
    ("parameter", "sentence"),
    [
        (
            loguniform(1e-5, 1.0).prior(3.0),
            'Float("lr", low=1e-05, high=1.0, log=True).prior(3.0, confidence=0.5): the centre of a prior must be '
            "a number from 1e-05 to 1.0, not 3.0; move it, or widen the range.",
        ),
        (uniform(0, 1).prior(0.5, confidence=1.0), "less than 1, not 1.0; try confidence=0.5"),
        (uniform(0, 1).prior(0.5, confidence=0), "more than 0"),
        (uniform(0, 1).prior(0.5, confidence="high"), "not 'high'"),  # type: ignore[arg-type]
        (uniform(0, 1).prior(math.nan), "not nan"),
        (uniform(0, 1).prior("0.5"), "not '0.5'"),
        (randint(1, 4).prior(2.5), "a whole number from 1 to 4"),
        (pow2(16, 64).prior(48), "a power of two"),
        (choice(["sgd", "adam"]).prior("lion"), "one of 'sgd', 'adam'"),
        (when(uniform(0, 1).prior(2), other=1), "the centre of a prior"),
    ],
)
def test_a_belief_that_cannot_be_is_refused_with_a_remedy(parameter: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Space({"lr": parameter, "other": randint(1, 2)})
    assert sentence in str(caught.value)


def test_a_fixed_value_needs_no_belief() -> None:
    from search.space import Fixed

    with pytest.raises(ValueError, match="leave it out"):
        Fixed(3).prior(3)


def test_numpy_centres_become_plain() -> None:
    parameter = uniform(0, 1).prior(np.float64(0.5))
    assert isinstance(parameter, Float)
    assert parameter.known_prior is not None
    assert type(parameter.known_prior.centre) is float
