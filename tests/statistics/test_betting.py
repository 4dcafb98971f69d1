"""The betting test: a wealth worked by hand, predictability, the interval of rejected means, and
bets without a horizon.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from saecert.statistics.betting import (
    CAP,
    FRACTIONS,
    GRID,
    WEIGHTS,
    mixture,
    rejects,
    smallest_kept,
)


def wealth_path(z, m, delta):
    """The same wealth in plain scalar arithmetic: no logarithms, no vectors."""
    n = len(z)
    wealth = 1.0
    seen = 0.0
    squares = 0.25
    path = []
    for t, value in enumerate(z):
        p = delta * wealth
        variance = squares / (t + 1)
        bet = min(norm.pdf(norm.ppf(p)) / p / np.sqrt((n - t) * variance), CAP / m)
        wealth *= 1 + bet * (value - m)
        path.append(wealth)
        if wealth >= 1 / delta:
            break
        seen += value
        squares += (value - (0.5 + seen) / (t + 2)) ** 2
    return path


def test_equals_the_wealth_in_scalar_arithmetic():
    rng = np.random.default_rng(0)
    for z in rng.random((20, 30)):
        for m in (0.05, 0.3, 0.4, 0.45, 0.6):
            reached = max(wealth_path(z, m, 0.05)) >= 20
            assert rejects(z[None], np.array([[m]]), -np.log([0.05]))[0, 0] == reached


def test_first_bet_by_hand():
    """Two values, prior variance 1/4: the first bet is phi(Phi^-1(.05)) / .05 / sqrt(2 / 4) =
    2.917, capped at .9 / m.
    """
    assert np.isclose(wealth_path([1.0, 1.0], 0.2, 0.05)[0], 1 + 2.9171 * 0.8, atol=1e-4)
    assert np.isclose(wealth_path([1.0, 1.0], 0.5, 0.05)[0], 1 + 1.8 * 0.5)


def test_bets_do_not_see_the_value_they_bet_on():
    """Whether the target is reached by time t does not change when later values do, with n
    fixed.
    """
    rng = np.random.default_rng(1)
    z = rng.random((200, 40))
    early = z.copy()
    early[:, 30:] = 0.0  # nothing is won after value 30
    late = early.copy()
    late[:, 35:] = 1.0
    m = np.full((200, 1), 0.35)
    nats = np.full(200, 2.0)
    assert np.all(rejects(late, m, nats) >= rejects(early, m, nats))
    assert 0 < rejects(early, m, nats).mean() < 1


def test_rejected_means_are_an_interval():
    """What the module's proof says, on data chosen to upset it: jumps, lattices, large delta, few
    values.
    """
    rng = np.random.default_rng(2)
    m = np.tile(np.linspace(0.001, 1, 400), (300, 1))
    for n, nats in ((2, 0.05), (5, 0.5), (20, 3.0), (60, 40.0)):
        z = np.concatenate(
            [rng.beta(0.1, 0.3, (100, n)), rng.integers(0, 3, (100, n)) / 2, rng.random((100, n))]
        )
        rejected = rejects(z, m, np.full(300, nats))
        assert np.all(np.diff(rejected.astype(int), axis=1) <= 0)


def test_search_ends_on_the_last_rejected_grid_point_for_any_batch():
    rng = np.random.default_rng(3)
    z = rng.random((150, 40))
    nats = np.full(150, 3.0)
    found = smallest_kept(z, nats)  # bisection
    assert rejects(z, found[:, None], nats).all()
    assert not rejects(z, found[:, None] + 1 / GRID, nats).any()
    np.testing.assert_array_equal(smallest_kept(z[:20], nats[:20]), found[:20])  # 7 points a pass
    np.testing.assert_array_equal(smallest_kept(z[:1], nats[:1]), found[:1])  # 127 points a pass


def test_nothing_is_rejected_without_evidence():
    assert smallest_kept(np.zeros((1, 50)), np.array([3.0])) == 0
    assert smallest_kept(np.ones((1, 50)), np.array([5000.0])) == 0


def test_mixture_equals_the_wealth_in_scalar_arithmetic():
    """Eight gamblers, each with a constant share of what they own at stake; in pieces as in one
    go.
    """
    z = np.random.default_rng(4).random((3, 25))
    m = 0.4
    log_wealth, stakes = mixture(z, m)
    for row, path in zip(z, log_wealth, strict=True):
        purses = list(WEIGHTS)
        for value, found in zip(row, path, strict=True):
            purses = [
                purse * (1 + fraction / m * (value - m))
                for purse, fraction in zip(purses, FRACTIONS, strict=True)
            ]
            assert np.isclose(np.exp(found), sum(purses))
    early, so_far = mixture(z[:, :10], m)
    late, end = mixture(z[:, 10:], m, so_far)
    np.testing.assert_allclose(np.concatenate([early, late], axis=1), log_wealth, atol=1e-12)
    np.testing.assert_allclose(end, stakes, atol=1e-12)


def test_mixture_is_a_martingale_and_nobody_is_ruined():
    """Its expectation over a coin of mean m stays 1, exactly, by the tree of all outcomes."""
    tree = (np.arange(2**10)[:, None] >> np.arange(10)) % 2
    for m in (0.1, 0.5, 0.97):
        wealth = np.exp(mixture(tree.astype(float), m)[0])
        odds = np.prod(np.where(tree == 1, m, 1 - m), axis=1)
        np.testing.assert_allclose(odds @ wealth, 1, rtol=1e-12)
        assert wealth.min() > 0
    assert np.isclose(WEIGHTS.sum(), 1) and FRACTIONS.max() < 1
