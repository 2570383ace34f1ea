"""Noisy expected improvement: how much a place may improve on the best so far, when no result is exact.

Nobody knows which of the noisy results is really the best. So we take the improvement over samples of the true values
of the best places and of the running ones, from their joint posterior (Letham et al., Constrained Bayesian
Optimization with Noisy Experiments, 2019). A running trial counts as known, with an unknown value: near it little is
left to gain. For one place and one sample the expectation has a closed form. So the logarithm of the mean is exact
except for the sampling, and ten times as fast as BoTorch's qLogNoisyExpectedImprovement; a test compares the two.

All tensors stay in this file.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.utils.gpytorch_modules import (
    get_covar_module_with_dim_scaled_prior,
    get_gaussian_likelihood_with_lognormal_prior,
)
from botorch.optim.fit import fit_gpytorch_mll_scipy
from botorch.utils.sampling import draw_sobol_normal_samples
from gpytorch.mlls import ExactMarginalLogLikelihood
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from search.models.gp import Fitted, log_expected_improvement, quietly

Array = NDArray[np.float64]

FIT_STEPS = 40  # of L-BFGS-B
SAMPLES = 32  # quasi-random samples of the true values
RIVALS = 20  # places that may be the best, by the model's mean; the others have hardly a chance
JITTER = 1e-6


class NoisyImprovement(Fitted):
    """A Gaussian process (Matern-5/2, a width for each coordinate) and its expected improvement at new places.

    `places`: (n, dimension) encoded configurations; `values`: (n,), roughly standardised, lower is better.
    """

    def __init__(self, places: Array, values: Array) -> None:
        with quietly():
            kernel = get_covar_module_with_dim_scaled_prior(ard_num_dims=places.shape[1], use_rbf_kernel=False)
            self.model = SingleTaskGP(
                torch.from_numpy(places), -torch.from_numpy(values)[:, None], covar_module=kernel,
                likelihood=get_gaussian_likelihood_with_lognormal_prior(), outcome_transform=None,
            )  # fmt: skip
            self.model.eval()

    def fit(self) -> None:
        """Find the most probable hyper-parameters, starting from the present ones."""
        with quietly():
            self.model.train()
            likelihood = ExactMarginalLogLikelihood(self.model.likelihood, self.model)
            fit_gpytorch_mll_scipy(likelihood, options={"maxiter": FIT_STEPS})
            self.model.eval()
            self.hyperparameters = self.hyperparameters  # rounded, as they are recorded

    def watch(self, pending: Array, seed: int) -> None:
        """Treat the best places and those `pending` as known, and draw samples of their true values."""
        with quietly(), torch.no_grad():
            places, values = self.model.train_inputs[0], self.model.train_targets
            covariance = self._covariance(places, places)
            covariance.diagonal().add_(self.model.likelihood.noise + JITTER)
            self._root = torch.linalg.cholesky(covariance)
            self._weights = torch.cholesky_solve((values - self._constant)[:, None], self._root)[:, 0]
            means = self._constant + self._covariance(places, places) @ self._weights
            self._watched = torch.cat([places[torch.argsort(-means, stable=True)[:RIVALS]], torch.from_numpy(pending)])
            means, self._known = self._posterior(self._watched)
            among = self._covariance(self._watched, self._watched) - self._known.T @ self._known
            among.diagonal().add_(JITTER)
            self._watched_root = torch.linalg.cholesky(among)
            self._draws = draw_sobol_normal_samples(len(self._watched), SAMPLES, dtype=torch.float64, seed=seed)
            self._best = (means + self._draws @ self._watched_root.T).amax(1)

    def __call__(self, places: Array) -> Array:
        """The logarithm of the expected improvement at each place, (n,); after `watch`."""
        with quietly(), torch.no_grad():
            rows = torch.from_numpy(places)
            means, known = self._posterior(rows)
            left = self._covariance(self._watched, rows) - self._known.T @ known
            taught = torch.linalg.solve_triangular(self._watched_root, left, upper=False)
            means = means + self._draws @ taught  # (samples, n): given each sample's values at the watched places
            prior = self.model.covar_module(rows, diag=True)
            variances = (prior - known.square().sum(0) - taught.square().sum(0)).clamp_min(1e-10)
            # This model maximises the negative value; `search.models.gp` minimises.
            each = log_expected_improvement(-means.numpy(), variances.sqrt().numpy(), -self._best[:, None].numpy())
            return np.asarray(logsumexp(each, axis=0) - math.log(SAMPLES))

    def _posterior(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Means at `rows`, and the whitened covariance that explains their variance: L⁻¹ k(results, rows)."""
        between = self._covariance(self.model.train_inputs[0], rows)
        means = self._constant + between.T @ self._weights
        return means, torch.linalg.solve_triangular(self._root, between, upper=False)

    def _covariance(self, a: Tensor, b: Tensor) -> Tensor:
        dense: Tensor = self.model.covar_module(a, b).to_dense()
        return dense

    @property
    def _constant(self) -> Tensor:
        constant: Tensor = self.model.mean_module.constant
        return constant

    def _parameters(self) -> list[Tensor]:
        return [parameter for _, parameter in sorted(self.model.named_parameters())]
