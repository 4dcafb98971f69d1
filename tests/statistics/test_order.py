"""Order statistics and shares against the binomial distribution, worked by hand."""

from inspect import unwrap

import numpy as np
import pytest
from scipy.special import bdtrc
from scipy.stats import binom

from saecert.statistics.binomial_tail import log_at_most
from saecert.statistics.order import quantile_rank, quantile_upper, share_lower, values_needed

NATS = -np.log(0.05)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [300, 1000, 5000])
def test_the_rank_is_the_smallest_that_keeps_the_promise(n, level):
    rank = quantile_rank(n, level, NATS)
    assert binom.sf(rank - 1, n, level) <= 0.05 < binom.sf(rank - 2, n, level)


def test_five_coins_by_hand():
    """P(5 of 5 below the median) = 1/32, P(at least 4) = 6/32."""
    x = np.array([[5.0, 1.0, 4.0, 2.0, 3.0], [9.0, 9.0, 1.0, 1.0, 1.0]])
    assert quantile_upper(x, 0.5, -np.log(1 / 32)).tolist() == [5.0, 9.0]
    assert quantile_upper(x, 0.5, -np.log(6 / 32 + 1e-12)).tolist() == [4.0, 9.0]


def test_a_quantile_too_extreme_says_how_many_sequences_it_needs():
    with pytest.raises(ValueError, match=r"at 0.99 is too extreme for 298 .* needs 299"):
        quantile_rank(298, 0.99, NATS)
    assert quantile_rank(299, 0.99, NATS) == 299
    assert 0.99**299 <= 0.05 < 0.99**298
    for n in range(1, 60):  # exact powers: rounding may ask for one more, never for one less
        least = values_needed(0.5, n * np.log(2))
        assert least in (n, n + 1) and 0.5**least <= np.exp(-n * np.log(2))
        assert quantile_rank(least, 0.5, n * np.log(2)) == least


@pytest.mark.parametrize(("n", "level", "nats"), [(5000, 0.5, 1000.0), (5000, 0.01, 2000.0)])
def test_the_rank_keeps_its_promise_where_the_probability_underflows(n, level, nats):
    """It had the rank at which both sides of the comparison are 0: 3827, of 746 nats."""
    rank = quantile_rank(n, level, nats)
    assert log_at_most(n - rank, n, 1 - level) <= -nats
    assert log_at_most(n - rank + 1, n, 1 - level) > -nats


def test_far_ranks_are_those_of_the_probabilities():
    for n, level, nats in [(5000, 0.5, 305.0), (100_000, 0.99, 500.0), (700, 0.9, 302.0)]:
        rarely = bdtrc(np.arange(n), n, level) <= np.exp(-nats)
        expected = int(np.argmax(rarely)) + 1 if rarely.any() else n
        if n >= values_needed(level, nats):
            assert quantile_rank(n, level, nats) == expected
    least = values_needed(0.99, 800.0)
    assert least * np.log(0.99) <= -800 < (least - 1) * np.log(0.99)
    assert quantile_rank(least, 0.99, 800.0) == least
    with pytest.raises(ValueError, match=r"at nats 800 it needs"):
        quantile_rank(least - 1, 0.99, 800.0)


@pytest.mark.parametrize("nats", [0.0, -1.0, float("nan"), float("inf")])
def test_nats_are_positive_and_finite(nats):
    with pytest.raises(ValueError, match="must be positive and finite"):
        quantile_rank(100, 0.5, nats)


def test_a_value_that_was_not_measured_never_lowers_a_quantile():
    x = np.arange(100.0)
    limit = quantile_upper(x, 0.9, NATS)
    assert not quantile_upper(np.where(x < 5, np.nan, x), 0.9, NATS) < limit


@pytest.mark.parametrize("inside", [[0.5] * 10, [np.nan] * 10, [2, -1] * 5])
def test_a_trial_is_inside_or_not(inside):
    with pytest.raises(ValueError, match="inside or not"):
        unwrap(share_lower)(np.array(inside), NATS)  # tests check types before it could


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 1.5, float("nan")])
def test_a_level_lies_between_0_and_1(level):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        values_needed(level, NATS)


def test_a_share_is_clopper_and_pearsons():
    inside = np.arange(1000) < 990
    low = share_lower(inside, NATS)
    assert binom.sf(989, 1000, low) == pytest.approx(0.05)
    assert share_lower(np.zeros(10, bool), NATS) == 0.0
    assert share_lower(np.ones(10, bool), NATS) == pytest.approx(0.05 ** (1 / 10))


def test_share_and_quantile_say_the_same():
    """At least `level` is within t exactly when the quantile's limit is at most t."""
    x = np.random.default_rng(0).exponential(size=500)
    limit = quantile_upper(x, 0.9, NATS)
    assert share_lower(x <= limit, NATS) >= 0.9 > share_lower(x < limit, NATS)
