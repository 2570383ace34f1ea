"""The models are what they claim to be: compared with BoTorch, with numerical integration, and with algebra."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

pytest.importorskip("botorch")

import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.models import SingleTaskGP
from botorch.sampling import SobolQMCNormalSampler

from search.models.gp import JITTER, CurveKernel, CurveModel, log_expected_improvement
from search.models.noisy_ei import NoisyImprovement

Array = NDArray[np.float64]
few = settings(max_examples=40, deadline=None, derandomize=True)
DIMENSION, TASKS = 3, 3


def observations(seed: int, count: int = 25) -> tuple[Array, Array, Array, Array]:
    """Places, fidelities, tasks, values."""
    rng = np.random.default_rng(seed)
    places = rng.random((count, DIMENSION))
    fidelities = rng.choice([0.0, 0.3, 0.6, 1.0], size=count)
    values = 4 * ((places - 0.4) ** 2).sum(1) - fidelities + 0.1 * rng.normal(size=count)
    return places, fidelities, rng.integers(0, TASKS, size=count), values


def fitted() -> CurveModel:
    model = CurveModel(DIMENSION, tasks=TASKS, earlier=1)
    model.fit(*observations(0))
    model.condition(*observations(0))
    return model


def noisy() -> NoisyImprovement:
    places, _, _, values = observations(0, 30)
    model = NoisyImprovement(places, (values - values.mean()) / values.std())
    model.fit()
    return model


def test_the_posterior_is_botorchs() -> None:
    model = fitted()
    places, fidelities, tasks, values = observations(0)
    likelihood = copy.deepcopy(model.likelihood)
    likelihood.noise = likelihood.noise.detach() + JITTER
    theirs = SingleTaskGP(
        torch.from_numpy(np.column_stack([places, fidelities, tasks])), torch.from_numpy(values)[:, None],
        likelihood=likelihood, covar_module=model.kernel, mean_module=model.mean_module, outcome_transform=None,
    )  # fmt: skip
    theirs.eval()
    asked = observations(1, 10)[:3]
    with torch.no_grad():
        posterior = theirs.posterior(torch.from_numpy(np.column_stack(asked)))
    mean, deviation = model.predict(*asked)
    assert mean == pytest.approx(posterior.mean[:, 0].numpy(), abs=1e-6)
    assert deviation == pytest.approx(posterior.variance[:, 0].sqrt().numpy(), abs=1e-6)


def test_believing_what_is_expected_narrows_the_view_and_changes_no_mean() -> None:
    model, asked = fitted(), observations(2, 10)[:3]
    mean, deviation = model.predict(*asked)
    model.believe(*observations(3, 5)[:3])
    after, narrower = model.predict(*asked)
    assert after == pytest.approx(mean, abs=1e-5)
    assert np.all(narrower <= deviation + 1e-9)


@pytest.mark.parametrize("make", [fitted, noisy])
def test_hyperparameters_come_back_and_a_wrong_number_of_them_is_refused(
    make: type[CurveModel | NoisyImprovement],
) -> None:
    one, two = make(), make()
    two.hyperparameters = [value + 0.1 for value in one.hyperparameters]
    assert two.hyperparameters != one.hyperparameters
    two.hyperparameters = one.hyperparameters
    assert two.hyperparameters == one.hyperparameters
    with pytest.raises(ValueError, match="hyper-parameters for a model of"):
        two.hyperparameters = one.hyperparameters[1:]


def test_the_same_hyperparameters_predict_the_same() -> None:
    one, two = fitted(), CurveModel(DIMENSION, tasks=TASKS, earlier=1)
    two.hyperparameters = one.hyperparameters
    two.condition(*observations(0))
    assert np.array_equal(one.predict(*observations(1)[:3]), two.predict(*observations(1)[:3]))


@few
@given(st.integers(0, 10_000), st.floats(0.1, 2.0))
def test_every_covariance_is_symmetric_and_positive(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    kernel = CurveKernel(DIMENSION, TASKS, earlier=1).double()
    rows = torch.from_numpy(np.column_stack(observations(seed, 30)[:3]))
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.add_(torch.from_numpy(spread * rng.normal(size=tuple(parameter.shape))))
        covariance = kernel.forward(rows, rows)
        scale = float(covariance.diagonal().max())

        def is_near(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-9) -> bool:
            return bool(torch.allclose(a, b, rtol=0.0, atol=tolerance * scale))

        assert is_near(covariance, covariance.T)
        assert float(torch.linalg.eigvalsh(covariance)[0]) > -1e-9 * scale
        assert is_near(covariance.diagonal(), kernel.variance(rows), 1e-6)  # no distance is below 1e-6
        assert is_near(kernel.forward(rows, rows[:7]), kernel.forward(rows[:7], rows).T)
        assert is_near(kernel.forward(rows, rows[:1]), covariance[:, :1])  # one column takes a shorter way


@few
@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(-3, 3))
def test_log_expected_improvement_is_the_integral(mean: float, deviation: float, best: float) -> None:
    assume(best > mean - 8 * deviation)
    low = min(mean, best) - 12 * deviation
    integral = quad(lambda y: (best - y) * norm.pdf(y, mean, deviation), low, best, epsabs=0, epsrel=1e-9, limit=200)
    ours = log_expected_improvement(np.array([mean]), np.array([deviation]), best)[0]
    assert ours == pytest.approx(math.log(integral[0]), abs=1e-5)


def test_log_expected_improvement_is_finite_and_falls_far_away() -> None:
    means = np.concatenate([np.linspace(-5, 5, 200), np.geomspace(5.1, 1e8, 200)])
    logs = log_expected_improvement(means, np.ones(len(means)), 0.0)
    assert np.all(np.isfinite(logs))
    assert np.all(np.diff(logs) < 0)
    asymptote = -200 - 2 * math.log(20) - 0.5 * math.log(2 * math.pi)  # −z²/2 − 2 log z − log √(2π) at z = 20
    assert log_expected_improvement(np.array([20.0]), np.ones(1), 0.0)[0] == pytest.approx(asymptote, abs=0.01)


def promise(model: NoisyImprovement, pending: Array, asked: Array, seed: int = 0) -> Array:
    model.watch(pending, seed)
    return model(asked)


def test_the_noisy_improvement_is_botorchs_but_for_the_samples() -> None:
    model, rng = noisy(), np.random.default_rng(0)
    pending, asked = rng.random((4, DIMENSION)), rng.random((50, DIMENSION))
    ours = np.mean([promise(model, pending, asked, seed) for seed in range(8)], axis=0)
    with torch.no_grad():
        theirs = qLogNoisyExpectedImprovement(
            model.model, torch.from_numpy(observations(0, 30)[0]), SobolQMCNormalSampler(torch.Size([2048]), seed=0),
            prune_baseline=False, X_pending=torch.from_numpy(pending),
        )(torch.from_numpy(asked)[:, None, :]).numpy()  # fmt: skip
    likely = theirs > theirs.max() - 4  # where samples say something
    assert likely.sum() > 5
    assert np.abs(ours - theirs)[likely].max() < 0.3
    assert np.corrcoef(ours[likely], theirs[likely])[0, 1] > 0.99


def test_near_a_running_trial_little_is_left_to_be_gained() -> None:
    model, there, nobody = noisy(), np.full((1, DIMENSION), 0.4), np.empty((0, DIMENSION))
    assert promise(model, there + 0.001, there)[0] < promise(model, nobody, there)[0] - 1
