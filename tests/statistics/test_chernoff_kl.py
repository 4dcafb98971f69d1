"""The Chernoff limit from a mean alone: by hand, against the sample form, and its coverage."""

import math

import numpy as np
import pytest
from scipy.special import rel_entr
from scipy.stats import binom

from saecert.statistics.coverage import coverage_table
from saecert.statistics.inequalities import chernoff_kl, chernoff_kl_upper, hoeffding_upper
from saecert.statistics.populations import bernoulli

LN20 = math.log(20)


def test_by_hand():
    """Of a mean at lo the limit is lo + (1 - exp(-nats/n)) (hi - lo); of 1/2 what kl says."""
    assert chernoff_kl(2.0, 50, 2.0, 6.0, LN20) == pytest.approx(6 - 4 * 0.05**0.02, rel=1e-12)
    kl = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert chernoff_kl(0.5, 7, 0, 1, 7 * kl) == pytest.approx(0.9, rel=1e-12)
    assert chernoff_kl(1.0, 7, 0, 1, LN20) == 1.0


def test_it_is_the_limit_of_any_sample_with_that_mean():
    x = np.random.default_rng(0).beta(0.4, 0.8, (20, 60))
    for nats in (0.01, LN20, 500.0):
        limits = chernoff_kl(x.mean(axis=1), 60, 0, 1, nats)
        np.testing.assert_array_equal(limits, chernoff_kl_upper(x, 0, 1, nats))
        assert np.all(limits <= hoeffding_upper(x, 0, 1, nats) + 1e-15)


def test_it_is_on_the_safe_side_of_its_equation_and_rises_with_the_mean():
    means = np.linspace(0, 0.999, 200)
    limits = chernoff_kl(means, 1_000, 0, 1, LN20)
    assert np.all(np.diff(limits) > 0)
    spent = 1_000 * (rel_entr(means, limits) + rel_entr(1 - means, 1 - limits))
    assert np.all(spent > LN20 * (1 - 1e-9))
    assert chernoff_kl(0.3, 1_000, 0, 1, np.array([1.0, 2.0])).shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5, 10, 0, 1, 3.0), "mean = 1.5 lies outside"),
        ((math.nan, 10, 0, 1, 3.0), "mean = nan lies outside"),
        ((0.5, 10, 1, 1, 3.0), "finite lo < hi"),
        ((0.5, 0, 0, 1, 3.0), "n >= 1"),
        ((0.5, 10, 0, 1, 0.0), "nats = "),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        chernoff_kl(*arguments)


def test_coverage_of_coins_exactly():
    """P(limit < p) of n tosses, summed, for every p: never above delta, and near it where rare."""
    delta, n = 0.05, 200
    counts = np.arange(n + 1)
    limits = chernoff_kl(counts / n, n, 0, 1, -math.log(delta))
    chances = [0.98, 0.9, 0.5]
    rare = [1 - (chance * delta) ** (1 / n) for chance in chances]
    for p in [*rare, 0.02, 0.1, 0.5, 0.9]:
        assert binom.pmf(counts[limits < p], n, p).sum() <= delta
    missed = [binom.pmf(counts[limits < p], n, p).sum() for p in rare]
    assert missed == pytest.approx([chance * delta for chance in chances])


def reverse_divergence(x, lo, hi, nats):
    """A mutant: the largest q with n kl(q, mean) <= nats; of a mean at lo that is lo."""
    mean = np.clip((x.mean(axis=-1) - lo) / (hi - lo), 1e-12, 1 - 1e-12)
    inside, outside = mean, np.ones_like(mean)
    for _ in range(60):
        middle = 0.5 * (inside + outside)
        fits = x.shape[-1] * (rel_entr(middle, mean) + rel_entr(1 - middle, 1 - mean)) <= nats
        inside, outside = np.where(fits, middle, inside), np.where(fits, outside, middle)
    return lo + (hi - lo) * outside


def half_the_nats(x, lo, hi, nats):
    """A mutant: the normal approximation's exponent counted twice."""
    return chernoff_kl(x.mean(axis=-1), x.shape[-1], lo, hi, nats / 2)


def from_the_mean(x, lo, hi, nats):
    return chernoff_kl(x.mean(axis=-1), x.shape[-1], lo, hi, nats)


def hardly_seen(n, delta):
    """Coins whose head a sample misses with almost delta, and with twice as much."""
    return [bernoulli(1 - (chance * delta) ** (1 / n)) for chance in (0.98, 2.0)]


def test_coverage_where_it_hurts_and_its_mutants():
    rules = {f.__name__: f for f in (from_the_mean, reverse_divergence, half_the_nats)}
    options = {"draws": 4_000, "progress": False}
    rows = coverage_table(rules, (100, 500), populations=hardly_seen, **options)
    rows += coverage_table({"from_the_mean": from_the_mean}, (100, 500), **options)
    rejected = {row["inequality"] for row in rows if row["verdict"] == "rejected"}
    assert rejected == {"reverse_divergence", "half_the_nats"}
    sharp = max(row["miss_rate"] for row in rows if row["inequality"] == "from_the_mean")
    assert sharp > 0.04
