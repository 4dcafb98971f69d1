"""Differences of two samples' means lie within their limits as often as promised."""

import numpy as np
import pytest
from scipy.stats import binom

from saecert.statistics.unpaired import two_sample_limits

DRAWS = 200
TRUTH = 2 / 5 - 0.3


def _missed(nats, inequality, copies=1):
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(DRAWS):
        a = rng.beta(2, 3, 60)
        b = (rng.random(90) < 0.3).astype(float)
        a, b = np.repeat(a, copies), np.repeat(b, copies)
        low, high = two_sample_limits(a, b, (0, 1), nats, inequality)
        missed += not low <= TRUTH <= high
    return missed


@pytest.mark.parametrize("inequality", ["hoeffding", "chernoff_kl"])
def test_limits_hold_as_often_as_promised(inequality):
    assert _missed(np.log(2 / 0.1), inequality) <= binom.ppf(1 - 1e-4, DRAWS, 0.1)


def test_values_that_are_counted_many_times_are_caught():
    assert _missed(np.log(2 / 0.1), "chernoff_kl", copies=40) > binom.ppf(1 - 1e-4, DRAWS, 0.1)


def test_they_shrink_with_the_samples_and_exchange_sides():
    rng = np.random.default_rng(0)
    a, b = rng.random(4_000), rng.random(4_000)
    low, high = two_sample_limits(a, b, (0, 1), 3.0, "hoeffding")
    few = two_sample_limits(a[:50], b[:50], (0, 1), 3.0, "hoeffding")
    assert high - low < few[1] - few[0]
    assert two_sample_limits(b, a, (0, 1), 3.0, "hoeffding") == pytest.approx((-high, -low))
