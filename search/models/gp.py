"""The Gaussian process over configurations and fidelities: it predicts full trainings from a little training.
An observation is a place (a configuration in the unit cube), a fidelity (how much of its training it has had, on
a log scale), a task (0: the full training; others: cheaper ones, earlier sweeps) and a value. The covariance of
two values is

    T[k, k'] · g(s) g(s') · M(x, x') · (shared + own · M(s, s'))  +  drift · RBF(s, s') · [k = k']

with M Matern-5/2 kernels: similar configurations have similar curves, most of the difference between two of them
holds at every fidelity, and differences grow as training continues (g(s) = exp(growth (s − 1))). T is the
coregionalisation of a one-factor model, T[k, k'] = w_k w_k' + [k = k'] v_k, with w = 1, v = 0 for the full training:
an uninformative task gets w near 0, a task with opposite results a negative one.

Sources: Swersky et al., Multi-Task Bayesian Optimization, NeurIPS 2013 (the coregionalisation); Swersky et al.,
Freeze-Thaw Bayesian Optimization, 2014 (a curve for each configuration). BoTorch finds the most probable
hyper-parameters under log-normal priors; the posterior of single points is computed here, because BoTorch would build
the joint covariance of all candidates.

All tensors stay in this file.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import NormalPrior
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

ROOT5 = math.sqrt(5.0)
JITTER = 1e-6
FLOOR = 1e-4  # of the noise's variance: less than a hundredth of the usual spread is no signal
AT_ONCE = 256  # places predicted together: more do not fit into the processor's cache
FIT_STEPS = 40  # of L-BFGS-B; more make no visible difference in the benchmarks


class CurveKernel(Kernel):  # type: ignore[misc]
    """The covariance at the top of this file. Inputs: (n, dimension + 2); the last two columns are fidelity and task.

    Stores every positive hyper-parameter as its logarithm, with a normal prior.
    """

    has_lengthscale = False

    def __init__(self, dimension: int, tasks: int = 1, earlier: int = 0) -> None:
        super().__init__()
        self.dimension = dimension
        wide = 0.5 * math.log(max(dimension, 1)) + math.log(0.5)
        self._add("log_widths", [wide] * dimension, 1.0)  # of M(x, x'), one for each coordinate
        self._add("log_reach", [0.0], 0.7)  # of M(s, s')
        self._add("log_drift_reach", [math.log(0.7)], 0.5)
        self._add("log_shared", [math.log(0.7)], 1.0)
        self._add("log_own", [math.log(0.3)], 1.0)
        self._add("log_drift", [math.log(0.3)], 1.0)
        self._add("growth", [0.5], 1.0)
        cheap = max(0, tasks - 1 - earlier)
        if tasks > 1:  # at first a cheaper task is trusted, an earlier sweep only half
            self._add("weights", [0.9] * cheap + [0.5] * earlier, 0.4)
            self._add("log_apart", [math.log(0.1)] * cheap + [math.log(0.3)] * earlier, 1.0)

    def _add(self, name: str, centre: Sequence[float], spread: float) -> None:
        values = torch.tensor(centre, dtype=torch.float64)
        self.register_parameter(name, torch.nn.Parameter(values))
        prior = NormalPrior(values.clone(), torch.full_like(values, spread))
        self.register_prior(f"{name}_prior", prior, lambda module, name=name: getattr(module, name))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **_: Any) -> Tensor:
        d = self.dimension
        if diag:
            return self.variance(x1)
        widths = self.log_widths.exp()
        inside = _matern(_distance(x1[..., :d] / widths, x2[..., :d] / widths))
        s1, rows = _distinct(x1[..., d:])
        s2, columns = _distinct(x2[..., d:])
        scale, drift = self._between(s1, s2)  # there are few distinct fidelities and tasks
        if len(s2) == 1:
            return inside * scale[rows] + drift[rows]
        return inside * scale[rows][:, columns] + drift[rows][:, columns]

    def variance(self, x: Tensor) -> Tensor:
        """The diagonal: prior variance of each row."""
        s, rows = _distinct(x[..., self.dimension :])
        scale, drift = self._between(s, s)
        return (scale.diagonal() + drift.diagonal())[rows]

    def _between(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The factor and the summand that depend only on fidelity and task; rows (fidelity, task)."""
        apart = (a[:, None, 0] - b[None, :, 0]).abs()
        same = a[:, None, 1] == b[None, :, 1]
        scale = self.log_shared.exp() + self.log_own.exp() * _matern(apart / self.log_reach.exp())
        scale = scale * torch.exp(self.growth * (a[:, None, 0] + b[None, :, 0] - 2))
        drift = self.log_drift.exp() * torch.exp(-0.5 * (apart / self.log_drift_reach.exp()) ** 2) * same
        if hasattr(self, "weights"):
            one, zero = self.weights.new_ones(1), self.weights.new_zeros(1)
            weight, own = torch.cat([one, self.weights]), torch.cat([zero, self.log_apart.exp()])
            k, m = a[:, 1].long(), b[:, 1].long()
            scale = scale * (weight[k][:, None] * weight[m][None, :] + own[k][:, None] * same)
        return scale, drift


class Fitted(ABC):
    """A model whose fitted hyper-parameters can be recorded, and set again later without a fit."""

    @property
    def hyperparameters(self) -> list[float]:
        """All fitted numbers, in a fixed order."""
        return [round(float(v), 6) for parameter in self._parameters() for v in parameter.detach().flatten()]

    @hyperparameters.setter
    def hyperparameters(self, values: Sequence[float]) -> None:
        """Raises ValueError if this model has another number of them."""
        parameters = self._parameters()
        sizes = [parameter.numel() for parameter in parameters]
        if len(values) != sum(sizes):
            raise ValueError(f"{len(values)} hyper-parameters for a model of {sum(sizes)}.")
        left = list(values)
        for parameter, size in zip(parameters, sizes, strict=True):
            taken, left = left[:size], left[size:]
            parameter.data.copy_(torch.tensor(taken, dtype=torch.float64).reshape(parameter.shape))

    @abstractmethod
    def _parameters(self) -> list[Tensor]:
        """The tensors that hold the hyper-parameters, in a fixed order."""


class CurveModel(Fitted):
    """A Gaussian process with `CurveKernel`: `fit` its hyper-parameters, `condition` it on data, `predict`.

    `places`: (n, dimension) encoded configurations; `fidelities`: (n,) in [0, 1]; `tasks`: (n,) whole numbers.
    `values` should be roughly standardised.
    """

    def __init__(self, dimension: int, *, tasks: int = 1, earlier: int = 0) -> None:
        self.dimension = dimension
        with quietly():
            self.kernel = CurveKernel(dimension, tasks, earlier).double()
            self.mean_module = ConstantMean(constant_prior=NormalPrior(0.0, 1.0)).double()
            constraint = GreaterThan(FLOOR, transform=torch.exp, inv_transform=torch.log)
            self.likelihood = GaussianLikelihood(noise_constraint=constraint).double()
            noise = self.likelihood.noise_covar
            noise.register_prior("raw_prior", NormalPrior(math.log(1e-3), 1.5), lambda module: module.raw_noise)
            noise.raw_noise.data.fill_(math.log(1e-3))

    def fit(self, places: Array, fidelities: Array, tasks: Array, values: Array) -> None:
        """Find the most probable hyper-parameters, starting from the present ones."""
        with quietly():
            y = torch.from_numpy(values)[:, None]
            model = SingleTaskGP(
                _rows(places, fidelities, tasks), y, likelihood=self.likelihood, covar_module=self.kernel,
                mean_module=self.mean_module, outcome_transform=None,
            )  # fmt: skip
            likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
            fit_gpytorch_mll_scipy(likelihood, options={"maxiter": FIT_STEPS})
            self.hyperparameters = self.hyperparameters  # rounded, as they are recorded

    def condition(self, places: Array, fidelities: Array, tasks: Array, values: Array) -> None:
        """Condition on these observations; replaces earlier ones."""
        with quietly(), torch.no_grad():
            self._rows = _rows(places, fidelities, tasks)
            self._values = torch.from_numpy(values)
            self._root = torch.linalg.cholesky(self._noisy(self._rows))
            self._weigh()

    def believe(self, places: Array, fidelities: Array, tasks: Array, values: Array | None = None) -> None:
        """Add observations that are still pending; without values, with their expected ones."""
        if not len(places):
            return
        values = self.predict(places, fidelities, tasks)[0] if values is None else values
        with quietly(), torch.no_grad():
            rows = _rows(places, fidelities, tasks)
            across = torch.linalg.solve_triangular(self._root, self.kernel.forward(self._rows, rows), upper=False)
            corner = torch.linalg.cholesky(self._noisy(rows) - across.T @ across)
            self._root = torch.cat([
                torch.cat([self._root, torch.zeros_like(across)], dim=1), torch.cat([across.T, corner], dim=1)
            ])  # fmt: skip
            self._rows = torch.cat([self._rows, rows])
            self._values = torch.cat([self._values, torch.from_numpy(values)])
            self._weigh()

    def predict(self, places: Array, fidelities: Array, tasks: Array) -> tuple[Array, Array]:
        """Posterior mean and standard deviation at each row, (n,) and (n,)."""
        with quietly(), torch.no_grad():
            parts = [self._predict(rows) for rows in torch.split(_rows(places, fidelities, tasks), AT_ONCE)]
            means, deviations = zip(*parts, strict=True)
            return torch.cat(means).numpy(), torch.cat(deviations).numpy()

    def left_out(self, groups: Array) -> Array:
        """What the model expects of each observation without those of its group, (n,), in closed form.

        `groups`: (n,) whole numbers, one for each observation that `condition` got; call it before `believe`.
        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section 5.4.2, for blocks.
        """
        with quietly(), torch.no_grad():
            inverse = torch.cholesky_inverse(self._root)
            expected = self._values.clone()
            expected -= self._weights / inverse.diagonal()  # right for groups of one
            found, counts = np.unique(groups, return_counts=True)
            for group in found[counts > 1]:
                own = torch.from_numpy(np.flatnonzero(groups == group))
                expected[own] = self._values[own] - torch.linalg.solve(inverse[own][:, own], self._weights[own])
            return expected.numpy()

    def agreement(self, fidelities: Array, tasks: Array) -> Array:
        """Correlation of a result at each fidelity with a full training's, over configurations, (n,)."""
        with quietly(), torch.no_grad():
            rows = torch.from_numpy(np.column_stack([fidelities, tasks]).astype(np.float64))
            end = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
            noise = self.likelihood.noise
            across = self.kernel._between(rows, end)[0][:, 0]
            own = self.kernel._between(rows, rows)[0].diagonal() + noise
            full = self.kernel._between(end, end)[0][0, 0] + noise
            return np.asarray((across / (own * full).sqrt()).numpy())

    def _predict(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        between = self.kernel.forward(self._rows, rows)
        mean = self.mean_module.constant + between.T @ self._weights
        explained = torch.linalg.solve_triangular(self._root, between, upper=False).square_().sum(0)
        variance = (self.kernel.variance(rows) - explained).clamp_min(1e-10)
        return mean, variance.sqrt()

    def _noisy(self, rows: Tensor) -> Tensor:
        """Covariance of the observations, noise included."""
        covariance: Tensor = self.kernel.forward(rows, rows)
        covariance.diagonal().add_(self.likelihood.noise + JITTER)
        return covariance

    def _weigh(self) -> None:
        self._weights = torch.cholesky_solve((self._values - self.mean_module.constant)[:, None], self._root)[:, 0]

    def _parameters(self) -> list[Tensor]:
        own = [parameter for _, parameter in sorted(self.kernel.named_parameters())]
        return [*own, self.mean_module.raw_constant, self.likelihood.noise_covar.raw_noise]


def _distinct(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct pairs of fidelity and task, (m, 2), and for each row the index of its pair."""
    codes, index = torch.unique(pairs[:, 0] + 10 * pairs[:, 1], return_inverse=True)  # faster than by rows
    tasks = torch.floor(codes / 10)
    return torch.stack([codes - 10 * tasks, tasks], dim=1), index


def _rows(places: Array, fidelities: Array, tasks: Array) -> Tensor:
    return torch.from_numpy(np.column_stack([places, fidelities, tasks]).astype(np.float64))


def _matern(distance: Tensor) -> Tensor:
    """Matern-5/2 of a scaled distance."""
    scaled = ROOT5 * distance
    return torch.addcmul(1 + scaled, scaled, scaled, value=1 / 3) * torch.exp(-scaled)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :] - 2 * a @ b.T
    return squares.clamp_min(1e-12).sqrt()


@contextmanager
def quietly() -> Iterator[None]:
    """Torch on one thread, because the matrices are small and the other cores belong to the trials; no warnings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_num_threads(before)


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """log E[max(best − Y, 0)] of normal Y, accurate also where it is tiny (Ament et al., NeurIPS 2023, eq. 8)."""
    from scipy.special import erfcx, ndtr

    z = (best - mean) / deviation
    density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    near = np.log(np.maximum(np.exp(density) + z * ndtr(z), 1e-300))
    below = np.minimum(z, -1.0)
    rest = np.maximum(below * erfcx(-below / math.sqrt(2)) * math.sqrt(math.pi / 2), -1 + 1e-14)
    far = -0.5 * below * below - 0.5 * math.log(2 * math.pi) + np.log1p(rest)
    return np.asarray(np.where(z < -1, far, near) + np.log(deviation))
