"""Kendall's tau against scipy and by hand, and how often its limits are wrong."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from saecert.statistics.rank import (
    kendall_limits,
    kendall_limits_of_pairs,
    kendall_tau,
    tau_of_intervals,
)


def test_tau_by_hand():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert kendall_tau(x, x) == 1
    assert kendall_tau(x, -x) == -1
    # pairs: 5 in order, 1 not
    assert kendall_tau(x, np.array([1.0, 2.0, 4.0, 3.0])) == pytest.approx(4 / 6)
    # a tie in y: 5 of 6 pairs count
    assert kendall_tau(x, np.array([1.0, 2.0, 3.0, 3.0])) == pytest.approx(5 / 6)
    assert kendall_tau(np.array([0.0, 1.0, np.inf, np.inf]), x) == pytest.approx(5 / 6)


def test_tau_is_that_of_scipy_row_by_row():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 5, 40))
    y = x + rng.normal(size=x.shape)
    taus = kendall_tau(x, y)
    for place in np.ndindex(3, 5):
        assert taus[place] == pytest.approx(kendalltau(x[place], y[place]).statistic)


def test_many_rows_are_those_one_by_one():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 9, 1000))
    assert kendall_tau(x, y).tolist() == [kendall_tau(a, b) for a, b in zip(x, y, strict=True)]


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_limits_of_tau_hold_as_often_as_promised(correlation):
    """Of a bivariate normal, tau is 2 / pi times the arcsine of the correlation."""
    rng = np.random.default_rng(2)
    n_samples, n, delta = 400, 60, 0.2
    x, noise = rng.normal(size=(2, n_samples, n))
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    truth = 2 / math.pi * math.asin(correlation)
    low, high = kendall_limits(x, y, math.log(2 / delta))
    assert ((low > truth) | (high < truth)).mean() <= delta
    width = math.sqrt(2 * math.log(2 / delta) / 30)
    assert high[0] - low[0] == pytest.approx(2 * width)


def test_a_limit_without_its_width_would_be_wrong_half_the_time():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 300, 60))
    assert (kendall_tau(x, y) > 0).mean() > 0.4


def test_tau_of_intervals_by_hand():
    points = np.array([1.0, 2.0, 3.0])
    assert tau_of_intervals((points, points), (points, points)) == (1.0, 1.0)
    assert tau_of_intervals((points, points), (-points, -points)) == (-1.0, -1.0)
    wide = (points - 5, points + 5)
    assert tau_of_intervals((points, points), wide) == (-1.0, 1.0)
    # only the outer two are told apart: one pair of three is known
    some = (points - 0.6, points + 0.6)
    assert tau_of_intervals((points, points), some) == (pytest.approx(-1 / 3), 1.0)


def test_tau_of_what_lies_in_intervals_is_between_the_ends():
    rng = np.random.default_rng(4)
    for _ in range(50):
        x, y = rng.normal(size=(2, 6))
        ends = [(v - rng.random(6), v + rng.random(6)) for v in (x, y)]
        low, high = tau_of_intervals(*ends)
        assert low - 1e-12 <= kendall_tau(x, y) <= high + 1e-12


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], "one shape"),
        ([1.0], [1.0], "two values or more"),
        ([1.0, np.nan], [1.0, 2.0], "nan has no rank"),
    ],
    ids=["shapes", "one value", "nan"],
)
def test_tau_of_nothing_to_rank(x, y, says):
    with pytest.raises(ValueError, match=says):
        kendall_tau(np.array(x), np.array(y))


def test_limits_need_nats_and_intervals_need_ends():
    x = np.arange(4.0)
    with pytest.raises(ValueError, match="nats must be positive"):
        kendall_limits(x, x, 0.0)
    with pytest.raises(ValueError, match="lower end lies above"):
        tau_of_intervals((x + 1, x), (x, x))
    with pytest.raises(ValueError, match="two numbers or more"):
        tau_of_intervals((x[:1], x[:1]), (x[:1], x[:1]))


def test_each_limit_of_pairs_is_wrong_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    correlation = 0.6
    a = rng.normal(size=(2000, 60))
    b = correlation * a + np.sqrt(1 - correlation**2) * rng.normal(size=a.shape)
    tau = 2 / np.pi * np.arcsin(correlation)
    low, high = kendall_limits_of_pairs(a, b, np.log(1 / 0.1))
    for wrong in (low > tau, high < tau):
        assert wrong.mean() <= 0.1 + 3 * np.sqrt(0.09 / 2000)
    overstated = kendall_limits_of_pairs(a, b, np.log(1 / 0.9))[0] > tau
    assert overstated.mean() > 0.13  # a limit that spends too much delta is noticed


def test_four_pairs_are_needed():
    with pytest.raises(ValueError, match="four pairs or more, got 3"):
        kendall_limits_of_pairs(np.arange(3.0), np.arange(3.0), 3.0)


def test_pairs_of_infinities_and_of_unsigned_numbers_have_an_order():
    """Pairs 1, tie, -1, 1 in x, all 1 in y: as finite numbers in the same order."""
    finite = np.array([3.0, 1.0, 5.0, 5.0, 0.0, 7.0, 2.0, 1.0])
    y = np.array([2, 1] * 4, dtype=np.uint8)
    expected = kendall_limits_of_pairs(finite, y.astype(float), 1.0)
    infinite = np.array([3.0, -np.inf, np.inf, np.inf, 0.0, np.inf, 2.0, 1.0])
    assert kendall_limits_of_pairs(infinite, y, 1.0) == expected
    assert kendall_limits_of_pairs(finite.astype(np.uint8), y, 1.0) == expected
    assert kendall_limits_of_pairs(finite, 3 - y, 1.0) != expected


def test_nan_has_no_order():
    with pytest.raises(ValueError, match="nan has no rank"):
        kendall_limits_of_pairs(np.array([1.0, 2.0, np.nan, 1.0]), np.arange(4.0), 1.0)
