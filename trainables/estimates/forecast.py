"""Forecast a loss if training continues as it does: fit an exponential to a noisy series and extrapolate it.

The model is L(t) = a exp(-r t) + c, with t counted in the points of the series, the first at t = 1.

robust     Leave out points far from a running median. Then, for each of a row of rates r between 1 / horizon and 2, fit
           (a, c) by least squares that reduce the weight of large residuals (soft-L1), with c >= 0 if the losses are
           positive. Narrow the row around its best rate. The bounds matter: for a slowly falling line the best
           unbounded fit has r near 0 and a in the millions. A loss that ends higher than it began is not forecast below
           its end: only the noise of a large rate falls there (the authors have such a rule for validation losses).
reference  As the authors of AutoLRS published it: a smoothing spline of degree 2 replaces the series, outliers in its
           first half are dropped ten times, and a simplex search from 1 finds r. With losses of order 1 the spline has
           no inner knots and is a parabola: robust, and biased a little downwards.

Source     Jin et al., AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly, ICLR 2021.
Not for    few points (below a hundred or so) of a loss that is noisy or falls fast: at ten times the distance only the
           bound remains.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FITS = ("robust", "reference")
FEWEST = 5  # points for a fit of three numbers; with fewer, return the median
_WINDOW = 9  # of the running median
_FAR = 4.0  # standard deviations of a normal spread beyond which a point is left out
_RATES, _NARROWINGS, _REWEIGHTINGS = 16, 4, 4  # find the rate to a thousandth; more does not change the forecast


def forecast(losses: Sequence[float], horizon: float, fit: str = "robust") -> float:
    """The loss at point `horizon`. Finite unless no loss is; skips losses that are not finite."""
    everything = np.asarray(losses, dtype=np.float64)
    known = np.isfinite(everything)
    t = np.arange(1, len(known) + 1, dtype=np.float64)[known]
    y = np.asarray(np.clip(everything[known], -1e100, 1e100))  # squares stay finite
    if not len(y):
        return math.inf
    if len(y) < FEWEST or not y.any():  # losses that are all 0 give the fit no scale
        return float(np.median(y))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = (_robust if fit == "robust" else _reference)(t, y, horizon)
    return found if math.isfinite(found) else float(np.median(y[len(y) // 2 :]))


def _robust(t: Array, y: Array, horizon: float) -> float:
    end = float(np.median(y[-math.ceil(len(y) / 4) :]))
    least = end if end > y[0] else -math.inf
    away = np.abs(y - _running_median(y))
    scale = max(1.4826 * float(np.median(away)), 1e-4 * float(np.abs(y).max()))
    t, y = t[away <= _FAR * scale], y[away <= _FAR * scale]
    floor = 0.0 if np.median(y) > 0 else -math.inf  # a positive loss is below 0 only by noise
    lowest, highest = math.log(1 / max(horizon, 1.0)), math.log(2)
    low, high = lowest, highest
    at_horizon = math.nan
    for _ in range(_NARROWINGS):
        logs = np.linspace(low, high, _RATES)
        a, c, cost = _fitted(t, y, np.exp(logs), scale, floor)
        at = int(np.argmin(np.where(np.isfinite(cost), cost, np.inf)))
        at_horizon = float(a[at] * np.exp(-np.exp(logs[at]) * horizon) + c[at])
        step = logs[1] - logs[0]
        low, high = max(lowest, logs[at] - step), min(highest, logs[at] + step)
    return max(at_horizon, least)


def _fitted(t: Array, y: Array, rates: Array, scale: float, floor: float) -> tuple[Array, Array, Array]:
    """a, c and the soft-L1 cost for each rate, (rates,), by least squares reweighted a few times."""
    x = np.exp(-rates[:, None] * t)
    weights = np.ones_like(x)
    for _ in range(_REWEIGHTINGS):
        total = weights.sum(1)
        mean_x, mean_y = (weights * x).sum(1) / total, weights @ y / total
        spread = x - mean_x[:, None]
        a = (weights * spread * (y - mean_y[:, None])).sum(1) / (weights * spread * spread).sum(1)
        c = mean_y - a * mean_x
        at_floor = c < floor
        if at_floor.any():
            through = (weights * x) @ (y - floor) / (weights * x * x).sum(1)
            a, c = np.where(at_floor, through, a), np.where(at_floor, floor, c)
        weights = 1 / np.sqrt(1 + ((y - a[:, None] * x - c[:, None]) / scale) ** 2)
    return a, c, np.sum(1 / weights - 1, axis=1)


def _running_median(y: Array) -> Array:
    padded = np.pad(y, _WINDOW // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW), axis=1))


def _reference(t: Array, y: Array, horizon: float) -> float:
    from scipy.interpolate import UnivariateSpline
    from scipy.optimize import fmin

    smooth = UnivariateSpline(*_without_early_outliers(t, y), k=2)(t)

    def solved(log_rate: float) -> tuple[float, float, float]:
        """a, c and the sum of squares; infinite for a rate whose curve cannot be distinguished from a line."""
        columns = np.column_stack([np.exp(-np.exp(log_rate) * t), np.ones_like(t)])
        (a, c), squares, _, _ = np.linalg.lstsq(columns, smooth, rcond=None)
        return float(a), float(c), float(squares[0]) if len(squares) else math.inf

    log_rate = float(fmin(lambda at: solved(float(at[0]))[2], [0.0], xtol=1e-5, ftol=1e-5, disp=False)[0])
    a, c, _ = solved(log_rate)
    return a * math.exp(-math.exp(log_rate) * horizon) + c


def _without_early_outliers(t: Array, y: Array) -> tuple[Array, Array]:
    """Ten times (once if short): of the 3 % of points furthest from the spline, drop those in the first half."""
    from scipy.interpolate import UnivariateSpline

    half = len(y) // 2
    for _ in range(10 if 0.03 * len(y) >= 1 else 1):
        away = np.abs(y - UnivariateSpline(t, y, k=2)(t))
        worst = np.argsort(away)[-max(1, round(0.03 * len(y))) :]
        early = worst[worst < half]
        t, y = np.delete(t, early), np.delete(y, early)
    return t, y
