"""Binomial tails beyond what a double holds, against decimal arithmetic of sixty digits."""

import doctest
from decimal import Decimal, localcontext
from math import comb

import numpy as np
import pytest
from scipy.special import betainccinv

from saecert.statistics import binomial_tail
from saecert.statistics.binomial_tail import FAR, log_at_most
from saecert.statistics.inequalities import clopper_pearson_upper, dirichlet_upper


def exact_log_tail(k, n, p):
    """``ln P(Binomial(n, p) <= k)`` for the double p, to sixty digits."""
    with localcontext() as context:
        context.prec = 60
        p = Decimal(float(p))
        odds = p / (1 - p)
        total = sum(comb(n, i) * odds**i for i in range(k + 1))
        return (total * (1 - p) ** n).ln()


# the first four came out too low by up to 0.007, and lower at 680 nats than at 670
@pytest.mark.parametrize(
    ("k", "n", "nats"),
    [
        (10, 1000, 700.0),
        (30, 300, 660.0),
        (30, 300, 680.0),
        (10, 100_000, 700.0),
        (0, 1000, 740.0),
        (250, 300, 700.0),
        (150, 300, 301.0),
        (3, 10**9, 744.0),
        (500, 1000, 10_000.0),
        (7, 200_000, 100_000.0),
    ],
)
def test_a_far_limit_is_the_exact_one_and_never_below(k, n, nats):
    limit = clopper_pearson_upper(k, n, nats)
    assert exact_log_tail(k, n, limit) <= -Decimal(nats)
    lower = limit * (1 - 1e-13)
    assert exact_log_tail(k, n, lower) > -Decimal(nats)


def test_where_the_probability_underflows_the_limit_goes_on_rising():
    nats = np.array([100.0, 299.0, 301.0, 560.0, 670.0, 680.0, 744.0, 746.0, 1000.0, 5000.0])
    limits = clopper_pearson_upper(30, 300, nats)
    assert (np.diff(limits[:-1]) > 0).all()
    assert limits[-1] == pytest.approx(1)
    assert clopper_pearson_upper(30, 3000, 1e4) < clopper_pearson_upper(30, 3000, 1.1e4) < 1


def test_on_zeros_and_ones_the_dirichlet_bound_is_clopper_and_pearsons():
    x = np.zeros(1000)
    x[:10] = 1
    for nats in (3.0, 299.0, 700.0, 2000.0):
        limit = clopper_pearson_upper(10, 1000, nats)
        assert dirichlet_upper(x, 0, 1, nats) == pytest.approx(limit, abs=1e-12)


def test_up_to_there_the_limit_is_what_it_was_to_the_bit():
    k = np.arange(0, 100, 7)[:, None]
    nats = np.geomspace(1e-3, FAR, 50)
    np.testing.assert_array_equal(
        clopper_pearson_upper(k, 100, nats), betainccinv(k + 1, 100 - k, np.exp(-nats))
    )


def test_the_two_ways_meet():
    k = np.array([0, 1, 30, 299])
    for n in (300, 5000, 10**6):
        near = clopper_pearson_upper(k, n, FAR)
        far = clopper_pearson_upper(k, n, np.nextafter(FAR, 1000))
        np.testing.assert_allclose(near, far, rtol=1e-11)


def test_far_and_near_rows_of_one_call():
    mixed = clopper_pearson_upper(np.array([3, 10, 3]), 10, np.array([3.0, 700.0, 700.0]))
    alone = [clopper_pearson_upper(k, 10, nats) for k, nats in ((3, 3.0), (10, 700.0), (3, 700.0))]
    assert mixed.tolist() == alone


@pytest.mark.parametrize(
    ("k", "n", "nats"),
    [
        (np.nan, 10, 3.0),
        (2.5, 10, 3.0),
        (3, 10.5, 3.0),
        (3, np.inf, 3.0),
        (-1, 10, 3.0),
        (11, 10, 3),
    ],
)
def test_successes_and_trials_are_whole_numbers(k, n, nats):
    with pytest.raises(ValueError, match="whole numbers with 0 <= k <= n"):
        clopper_pearson_upper(k, n, nats)


@pytest.mark.parametrize("nats", [0.0, -1.0, np.nan, np.inf])
def test_nats_are_positive_and_finite(nats):
    with pytest.raises(ValueError, match="must be positive and finite"):
        clopper_pearson_upper(3, 10, nats)


def test_logarithms_of_tails():
    for k, n, p in ((0, 10, 0.5), (3, 300, 0.9), (250, 300, 0.99), (1000, 10**5, 0.02)):
        exact = float(exact_log_tail(k, n, p))
        assert log_at_most(k, n, p) == pytest.approx(exact, rel=1e-12)


def test_docstrings():
    assert doctest.testmod(binomial_tail, extraglobs={"np": np}).failed == 0
