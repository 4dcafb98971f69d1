"""The law of the Dirichlet-weighted sum against exact rationals, beta quantiles and hard shapes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import betaincinv

from saecert.statistics import dirichlet
from saecert.statistics.dirichlet import LEAST, LONG, is_rarer, log_cdf, quantile


def exact_cdf(z, m):
    """P(sum z_i D_i <= m) in rationals, for distinct positive z: one minus a divided difference of
    (c - m)_+^n at 0, z_1, ..., z_n.
    """
    c = [Fraction(0), *map(Fraction, z)]
    m = Fraction(m)
    beyond = Fraction(0)
    for i, ci in enumerate(c):
        if ci > m:
            beyond += (ci - m) ** len(z) / math.prod(ci - cj for j, cj in enumerate(c) if j != i)
    return 1 - beyond


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_equals_exact_rationals(n):
    rng = np.random.default_rng(n)
    z = np.concatenate([rng.random((20, n)), np.exp(rng.uniform(-12, 0, (20, n)))])
    nats = rng.choice([0.05, 0.7, 3.0, 30.0], len(z))
    m = quantile(z, nats)
    exact = [exact_cdf(row.tolist(), level) for row, level in zip(z, m.tolist(), strict=True)]
    log_exact = np.array([math.log(p.numerator) - math.log(p.denominator) for p in exact])
    np.testing.assert_allclose(log_exact, -nats, rtol=0, atol=3e-12)
    np.testing.assert_allclose(log_cdf(z, m), log_exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("n", "positive"),
    [(2, 1), (5, 5), (100, 97), (5000, 5000), (5000, 4990), (5000, 3), (100_000, 99_998)],
)
def test_ties_are_beta_quantiles(n, positive):
    """Equal z of which some vanish: z (D_1 + ... + D_k) with a beta law. Here an integral along a
    straight line fails.
    """
    z = np.where(np.arange(n) < positive, 2.0, 0.0)[None]
    for nats in (0.1, 3.0, 30.0, 150.0):
        expected = 2 * betaincinv(positive, n - positive + 1, math.exp(-nats))
        np.testing.assert_allclose(quantile(z, np.array([nats])), expected, rtol=3e-11)


def test_equal_values_past_underflow():
    np.testing.assert_allclose(
        quantile(np.ones((1, 50)), np.array([5000.0])), np.exp(-100), rtol=1e-12
    )


def test_probabilities_at_the_ends():
    z = np.array([[0.0, 0.0], [0.0, 1.0], [0.5, 1.0], [0.5, 1.0]])
    np.testing.assert_array_equal(
        log_cdf(z, np.array([0.0, 0.0, 1.0, -0.1])), [0.0, -np.inf, 0.0, -np.inf]
    )
    np.testing.assert_array_equal(quantile(z[:2], np.array([1.0, 5000.0])), 0.0)
    assert 0 < quantile(z[1:2], np.array([200.0]))[0] < 1e-80
    assert LEAST < 1e-80


def test_rises_with_probability_and_with_z():
    rng = np.random.default_rng(3)
    z = rng.beta(0.1, 0.5, (8, 40))
    nats = np.linspace(8, 0.01, 8)
    assert np.all(np.diff(quantile(np.repeat(z[:1], 8, axis=0), nats)) > 0)
    z_more = z + rng.random((8, 40)) * (rng.random((8, 40)) < 0.1)
    assert np.all(quantile(z_more, nats) >= quantile(z, nats) * (1 - 1e-12))


@pytest.mark.parametrize("nats", [1e-6, 1e-3, 0.5, 3.0, 700.0, 20_000.0])
def test_quantile_inverts_the_distribution_function(nats):
    """Mixed blocks of easy and hard rows: several scales, near-ties, few positive values."""
    rng = np.random.default_rng(4)
    scales = rng.choice([0.0, 1e-6, 1e-3, 0.03, 1.0], p=[0.1, 0.2, 0.3, 0.2, 0.2], size=(20, 60))
    z = np.concatenate([scales, 1 - 1e-9 * rng.random((20, 60)), rng.random((20, 60)) ** 20])
    m = quantile(z, np.full(60, nats))
    told = m > 0
    np.testing.assert_allclose(log_cdf(z, m)[told], -nats, rtol=1e-10, atol=1e-10)
    assert told.all() or nats > 700


LONG_SHAPES = {
    "beta": lambda rng, n: rng.beta(0.1, 0.5, n),
    "near-ties": lambda rng, n: 1 - 1e-9 * rng.random(n),
    "scales": lambda rng, n: rng.choice(
        [0, 1e-6, 1e-3, 0.03, 1.0], p=[0.1, 0.2, 0.3, 0.2, 0.2], size=n
    ),
    "a few alone": lambda rng, n: np.where(np.arange(n) < 7, rng.random(n), 0.0),
    "one zero": lambda rng, n: np.minimum(np.arange(n), 1.0),
    "heavy tail": lambda rng, n: np.minimum(1.0, 1e-4 / rng.random(n)),
}


@pytest.mark.parametrize("shape", LONG_SHAPES)
def test_power_series_changes_nothing(shape, monkeypatch):
    """Long samples by the series and by the unabridged integral, also where the series has to give
    up most of its values.
    """
    z = np.tile(LONG_SHAPES[shape](np.random.default_rng(5), 5000), (5, 1))
    nats = np.array([0.1, 3.0, 30.0, 700.0, 20_000.0])
    assert z.shape[1] > dirichlet.LONG
    by_series = quantile(z, nats)
    told = by_series > 0
    log_p = log_cdf(z, by_series)
    monkeypatch.setattr(dirichlet, "LONG", 10_000)
    np.testing.assert_allclose(by_series, quantile(z, nats), rtol=2e-11)
    np.testing.assert_allclose(
        log_p[told], log_cdf(z[told], by_series[told]), rtol=1e-12, atol=1e-12
    )


def test_series_that_is_too_short_is_noticed():
    """Four large values cannot be summed by a series along the whole path, 5,000 small ones can."""
    nothing = np.zeros((2, 1))
    large = np.array([[0.5, -0.5] * 2]).T
    small = np.array([[1.0, -1.0] * 2500]).T / np.sqrt(5000)
    assert np.isnan(
        dirichlet._along_path(nothing, dirichlet._power_series(large), np.zeros(1))
    ).all()
    by_series = dirichlet._along_path(nothing, dirichlet._power_series(small), np.zeros(1))
    np.testing.assert_allclose(
        by_series, dirichlet._along_path(small, np.zeros((0, 1), complex), np.zeros(1)), rtol=1e-13
    )


@pytest.mark.parametrize("n", [2, 5, 40, 300, LONG + 3])
def test_rarer_is_the_verdict_of_the_probability(n):
    """Where the verdict is open, and on both sides of it; the integral is taken in the middle."""
    rng = np.random.default_rng(n)
    kinds = [rng.random((9, n)), rng.integers(0, 2, (9, n)), rng.random((9, n)) ** 8]
    z = np.concatenate(kinds).astype(float)
    z[0] = 0
    m = z.mean(axis=1) * rng.uniform(0.2, 1.1, len(z))
    log_p = log_cdf(z, m)
    known = np.isfinite(log_p) & (log_p < 0)
    assert known.sum() > 15
    for shift in (-9, -2, -0.5, -1e-6, 1e-6, 0.5, 2, 9):
        nats = np.where(known, -log_p + shift, 3.0)
        nats = np.where(nats > 0, nats, 3.0)
        np.testing.assert_array_equal(is_rarer(z, m, nats), log_p < -nats)


def test_rarer_at_the_ends():
    z = np.ones((4, 3))
    m = np.array([-1.0, 0.0, 1.0, 2.0])
    assert is_rarer(z, m, np.full(4, 5.0)).tolist() == [True, True, False, False]
    assert is_rarer(np.zeros((1, 3)), np.zeros(1), np.ones(1)).tolist() == [False]


def test_the_integral_stays_within_its_limits():
    """A density of variance 1 at its mean: two values of a sample give it its extremes."""
    rng = np.random.default_rng(0)
    found = []
    for n in (2, 3, 30):
        z = np.concatenate([rng.random((200, n)), rng.random((200, n)) ** 20])
        padded = np.concatenate([z.T, np.zeros((1, 400)), np.full((1, 400), np.inf)])
        saddle = dirichlet._saddle(padded, rng.uniform(-30, 100, 400))
        found.append(dirichlet._log_probability(saddle) - saddle.log_p)
    found = np.concatenate(found)
    assert dirichlet._LEAST_CORRECTION < found.min() < -0.01
    assert 0.01 < found.max() < dirichlet._MOST_CORRECTION
