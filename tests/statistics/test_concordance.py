"""Limits on Kendall's tau: worked values, and how often they are wrong."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from saecert.statistics.concordance import kendall_limits


def test_the_estimate_is_that_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 31))
    assert kendall_limits(a, b, 3.0)[0] == pytest.approx(kendalltau(a, b).statistic)


def test_each_limit_is_wrong_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    correlation = 0.6
    a = rng.normal(size=(2000, 60))
    b = correlation * a + np.sqrt(1 - correlation**2) * rng.normal(size=a.shape)
    tau = 2 / np.pi * np.arcsin(correlation)
    _, low, high = kendall_limits(a, b, np.log(1 / 0.1))
    for wrong in (low > tau, high < tau):
        assert wrong.mean() <= 0.1 + 3 * np.sqrt(0.09 / 2000)
    overstated = kendall_limits(a, b, np.log(1 / 0.9))[1] > tau
    assert overstated.mean() > 0.13  # a limit that spends too much delta is noticed


def test_four_pairs_are_needed():
    with pytest.raises(ValueError, match="four pairs or more, got 3"):
        kendall_limits(np.arange(3.0), np.arange(3.0), 3.0)
