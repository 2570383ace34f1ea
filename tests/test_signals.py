"""What is monitored: estimates of the gradient noise scale against gradients of which the truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from trainables.estimates.noise_scale import (
    NO_ESTIMATE,
    UNKNOWN,
    Gradient,
    NoiseScale,
    noise_scale,
    observed,
    smoothed,
    value,
)

DIMENSION = 30
MEAN = np.linspace(0.05, 0.15, DIMENSION)  # the true gradient
DEVIATION = np.linspace(0.5, 1.5, DIMENSION)  # of one sample's
SIGNAL, NOISE = float(np.sum(MEAN**2)), float(np.sum(DEVIATION**2))


def gradients(sizes: tuple[int, ...], count: int, seed: int = 0, factor: float = 1.0) -> list[Gradient]:
    """Updates made of parts of these sizes, whose samples' gradients are normal."""
    rng = np.random.default_rng(seed)
    shares = np.array(sizes) / sum(sizes)
    made = []
    for _ in range(count):
        noise = rng.standard_normal((len(sizes), DIMENSION)) * DEVIATION / np.sqrt(sizes)[:, None]
        parts = factor * (MEAN + noise)
        made.append(gradient(parts, shares, sum(sizes)))
    return made


def gradient(parts: np.ndarray, shares: np.ndarray, batch_size: int) -> Gradient:
    squares = np.sum(parts**2, axis=1)
    mean = shares @ parts
    norms = tuple(float(norm) for norm in np.sqrt(squares))
    return Gradient(batch_size, batch_size / len(parts), float(mean @ mean), float(shares @ squares), norms)


@pytest.mark.parametrize("sizes", [(16, 16), (8, 8, 8, 8), (4,) * 8, (16, 8), (3, 9, 20)])
def test_signal_and_noise_are_unbiased(sizes: tuple[int, ...]) -> None:
    made = gradients(sizes, 20_000)
    for estimates, truth in (([g.signal for g in made], SIGNAL), ([g.noise for g in made], NOISE)):
        error = abs(np.mean(estimates) - truth)
        assert error < 3.5 * np.std(estimates) / math.sqrt(len(made))
        assert error < 0.05 * truth  # 5 %: the sum over many updates is worth something


@pytest.mark.parametrize("sizes", [(32, 32), (64, 64, 64, 64)])
def test_the_ratio_of_averages_finds_the_noise_scale(sizes: tuple[int, ...]) -> None:
    estimates = []
    for seed in range(10):
        state: NoiseScale = NO_ESTIMATE
        for made in gradients(sizes, 2000, seed):
            state = observed(state, made, decay=0.999)
        found = noise_scale(state)
        assert found is not None
        estimates.append(found)
    assert np.mean(estimates) == pytest.approx(NOISE / SIGNAL, rel=0.05)


def test_the_noise_scale_does_not_see_the_scale_of_the_loss() -> None:
    states: list[NoiseScale] = []
    for factor in (1.0, 1000.0):
        state: NoiseScale = NO_ESTIMATE
        for made in gradients((16, 16), 300, factor=factor):
            state = observed(state, made, decay=0.99)
        states.append(state)
    assert noise_scale(states[0]) == pytest.approx(noise_scale(states[1]), rel=1e-9)


def test_identical_parts_have_no_noise() -> None:
    made = gradient(np.tile(MEAN, (4, 1)), np.full(4, 0.25), 32)
    assert made.noise == pytest.approx(0.0, abs=1e-12)
    assert made.signal == pytest.approx(SIGNAL)
    assert noise_scale(observed(NO_ESTIMATE, made, 0.9)) == pytest.approx(0.0, abs=1e-9)


def test_the_order_of_the_parts_does_not_matter() -> None:
    parts = np.random.default_rng(1).standard_normal((4, DIMENSION))
    one, other = gradient(parts, np.full(4, 0.25), 32), gradient(parts[::-1], np.full(4, 0.25), 32)
    assert (one.signal, one.noise) == pytest.approx((other.signal, other.noise))


def test_the_variance_is_that_of_a_part() -> None:
    """tr(S) / b, which KungFu's monitor tells elementwise; so the noise scale is b times it by the signal."""
    rng = np.random.default_rng(2)
    parts = rng.standard_normal((4, DIMENSION))
    made = gradient(parts, np.full(4, 0.25), 32)
    assert made.variance == pytest.approx(np.sum(parts.var(axis=0, ddof=1)))


def test_an_invalid_estimate_is_none_and_not_turned_round() -> None:
    silent = Gradient(32, 16.0, square=1.0, part_square=10.0)  # the signal comes out negative
    assert silent.signal < 0
    assert noise_scale(observed(NO_ESTIMATE, silent, 0.9)) is None
    assert noise_scale(NO_ESTIMATE) is None


def test_what_says_nothing_is_passed_over() -> None:
    state = observed(NO_ESTIMATE, gradients((16, 16), 1)[0], 0.9)
    alone = Gradient(16, 16.0, 1.0, 1.0)
    broken = replace(gradients((16, 16), 1)[0], square=math.nan)
    for nothing in (None, alone, broken):
        assert observed(state, nothing, 0.9) == state


def test_smoothing_starts_at_the_first_value() -> None:
    average = smoothed(UNKNOWN, 5.0, 0.99)
    assert math.isnan(value(UNKNOWN))
    assert value(average) == pytest.approx(5.0)
    assert smoothed(average, math.inf, 0.99) == average
    assert value(smoothed(average, 7.0, 0.5)) == pytest.approx((5 * 0.01 * 0.5 + 7 * 0.5) / (0.01 * 0.5 + 0.5))
