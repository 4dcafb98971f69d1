"""Every inequality against hand-worked values and the properties all of them share."""

from __future__ import annotations

import doctest
import itertools
import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from saecert.statistics import betting, coverage, dirichlet, populations, priors, rounding
from saecert.statistics import inequalities as bounds
from saecert.statistics.inequalities import (
    INEQUALITIES,
    chernoff_kl_upper,
    clopper_pearson_upper,
    dirichlet_upper,
    empirical_bernstein_upper,
    hoeffding_upper,
    lower,
    misses,
    tightness,
    yardstick,
)

LN20 = math.log(20)
every = pytest.mark.parametrize("name", INEQUALITIES)


def samples(shape, seed=0):
    """Values on [0, 1] with mass at both ends."""
    return np.random.default_rng(seed).beta(0.4, 0.8, shape)


def test_hand_worked_values():
    x = np.array([0.2, 0.4, 0.6, 0.8])  # mean 1/2, sample variance 1/15
    assert np.isclose(hoeffding_upper(x, 0, 1, 0.5), 0.75)
    assert np.isclose(hoeffding_upper(x, -1, 3, 0.02), 0.7)
    wide = empirical_bernstein_upper(np.tile(x, 250), 0, 1, 0.06)
    variance = (4 / 60) * 750 / 999
    spent = 0.06 + math.log(2)
    assert wide == pytest.approx(
        0.5 + math.sqrt(2 * variance * spent / 1000) + 7 * spent / (3 * 999), rel=1e-12
    )
    kl = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert np.isclose(chernoff_kl_upper(x, 0, 1, 4 * kl), 0.9)
    assert np.isclose(
        dirichlet_upper(np.full(6, 0.25), 0, 1, 6 * math.log(3)), 1 - 0.75 / 3
    )  # 1 - .75 (1 - D_0)
    assert clopper_pearson_upper(0, 1, LN20) == pytest.approx(0.95)
    assert clopper_pearson_upper(3, 3, LN20) == 1


@every
def test_never_above_hi_and_falls_with_delta(name):
    x = samples((5, 30))
    upper = INEQUALITIES[name]
    curve = np.array([upper(x, 0, 1, nats) for nats in (1e-3, 0.1, 1.0, LN20, 10.0, 100.0, 5000.0)])
    assert np.all(np.diff(curve, axis=0) >= 0)
    assert np.all(curve <= 1)
    assert np.all(curve[-1] > 0.999)
    assert np.all(curve[3] > x.mean(axis=1))


@every
def test_shift_and_scale(name):
    x = samples((5, 30))
    upper = INEQUALITIES[name]
    moved = upper(-3 + 7 * x, -3, 4, LN20)
    np.testing.assert_allclose(
        moved, -3 + 7 * upper(x, 0, 1, LN20), rtol=1e-9, atol=7 / betting.GRID
    )
    np.testing.assert_allclose(lower(name, x, 0, 1, LN20), 1 - upper(1 - x, 0, 1, LN20), rtol=1e-9)
    assert np.all(lower(INEQUALITIES[name], x, 0, 1, LN20) < x.mean(axis=1))


@every
def test_batch_equals_loop(name):
    x = samples((3, 4, 25))
    upper = INEQUALITIES[name]
    nats = np.array([1.0, 3.0, 9.0, 2000.0])
    batch = upper(x, 0, 1, nats)
    loop = [[upper(x[i, j], 0, 1, nats[j]) for j in range(4)] for i in range(3)]
    assert batch.shape == (3, 4)
    assert batch.dtype == np.float64
    assert np.ndim(loop[0][0]) == 0
    np.testing.assert_allclose(batch, loop, rtol=1e-11)


@every
def test_equal_values_and_rounding_dust(name):
    upper = INEQUALITIES[name]
    assert upper(np.ones(9), 0, 1, LN20) == 1
    assert 0.2 < upper(np.full(200, 0.2), 0, 1, LN20) < 0.35
    assert 0 < upper(np.zeros(2), 0, 1, 1e-3) <= 1
    dusty = np.array([0.0, 0.1 + 0.2, 1.0]) * (1 + 1e-12) - 1e-12
    np.testing.assert_allclose(
        upper(dusty, 0, 1, 0.1), upper(np.clip(dusty, 0, 1), 0, 1, 0.1), rtol=1e-9
    )


@pytest.mark.parametrize("nats", [0.2, LN20, 60.0, 650.0])
def test_dirichlet_is_clopper_pearson_on_coins(nats):
    k = np.array([0, 1, 3, 40, 199, 200])
    coins = (np.arange(200) < k[:, None]).astype(float)
    np.testing.assert_allclose(
        dirichlet_upper(coins, 0, 1, nats), clopper_pearson_upper(k, 200, nats), rtol=1e-11
    )


def test_dirichlet_ignores_order_and_lo_and_rises_with_every_value():
    x = samples((6, 50))
    bound = dirichlet_upper(x, 0, 1, LN20)
    np.testing.assert_allclose(dirichlet_upper(x[:, ::-1].copy(), -5, 1, LN20), bound, rtol=1e-12)
    more = np.minimum(x + 0.05 * (np.arange(50) % 7 == 0), 1)
    assert np.all(dirichlet_upper(more, 0, 1, LN20) > bound)
    assert np.all(dirichlet_upper(x, 0, 1.5, LN20) > bound)


def test_kl_is_never_wider_than_hoeffding():
    x = np.concatenate([samples((20, 40)), np.zeros((1, 40)), np.ones((1, 40))])
    for nats in (0.01, LN20, 50.0):
        assert np.all(chernoff_kl_upper(x, 0, 1, nats) <= hoeffding_upper(x, 0, 1, nats) + 1e-15)


@every
@pytest.mark.parametrize("delta", [0.5, 0.05])
def test_misses_is_the_verdict_of_the_bound(name, delta):
    """Also for means just above a bound (closer than the grid of `betting_upper`) and at the ends
    of the support.
    """
    x = 2 + 3 * samples((300, 12), seed=8)
    nats = -np.log(delta)
    bound = INEQUALITIES[name](x, 2, 5, nats)
    for mean in (
        2.0,
        3.0,
        *np.minimum(np.quantile(bound, [0.1, 0.5, 0.9], method="lower") + 1e-7, 5.0),
        4.5,
        5.0,
    ):
        np.testing.assert_array_equal(misses(name, x, 2, 5, nats, mean), bound < mean)
    np.testing.assert_array_equal(misses(INEQUALITIES[name], x, 2, 5, nats, 3.0), bound < 3.0)


def test_large_samples():
    x = samples((1, 100_000))
    for name in ("hoeffding", "empirical_bernstein", "chernoff_kl", "dirichlet"):
        assert 0 < INEQUALITIES[name](x, 0, 1, LN20)[0] - x.mean() < 0.006


def test_yardstick_and_tightness_by_hand():
    x = np.array([0.0, 1.0] * 50)  # mean 1/2, standard deviation sqrt(25 / 99)
    normal = 1.6448536 * math.sqrt(25 / 99) / 10
    rare = (1 - 0.05**0.01) * 0.5
    assert np.isclose(yardstick(x, 1, LN20), math.hypot(normal, rare))
    assert np.isclose(yardstick(x, 3, LN20), math.hypot(normal, 5 * rare))
    assert np.isclose(tightness(0.5 + 2 * math.hypot(normal, rare), x, 1, LN20), 2)
    assert tightness(1.0, np.ones(5), 1, LN20) == 1
    assert np.isfinite(yardstick(x, 1, 5000.0))


def test_dirichlet_is_tight():
    rng = np.random.default_rng(5)
    coins = (rng.random((40, 500)) < 0.3).astype(float)
    smooth = rng.beta(20, 30, (40, 500))
    for x, limit in ((coins, 1.05), (smooth, 1.15)):
        average = tightness(dirichlet_upper(x, 0, 1, LN20), x, 1, LN20).mean()
        assert 0.95 < average <= limit


@every
def test_errors_say_what_to_do(name):
    upper = INEQUALITIES[name]
    x = samples((3, 10))
    spoiled = x.copy()
    spoiled[1, 4] = np.nan
    for arguments, message in (
        ((x, 1, 0, 3.0), r"lo < hi, got lo = 1, hi = 0"),
        ((x, 0, np.inf, 3.0), r"finite lo < hi"),
        ((x[:, :1], 0, 1, 3.0), r"at least 2 values .* got shape \(3, 1\); add sequences"),
        ((spoiled, 0, 1, 3.0), r"x\[1, 4\] = nan is not finite"),
        ((x + 1, 0, 1, 3.0), r"x\[0, 0\] = .* lies outside .* fixed before measuring"),
        ((x, 0, 1, 0.0), r"positive and finite, got 0.0; for delta = 0.05 pass nats = 3.0"),
        ((x, 0, 1, np.array([3.0, np.inf, 3.0])), r"positive and finite"),
        ((x, 0, 1, np.full(2, 3.0)), r"nats of shape \(2,\) does not fit the leading axes \(3,\)"),
        ((x[0], 0, 1, np.full(10, 3.0)), r"does not fit the leading axes \(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            upper(*arguments)


def test_other_errors():
    x = samples((3, 10))
    with pytest.raises(
        ValueError, match="unknown inequality 'bernstein'; choose one of hoeffding, "
    ):
        lower("bernstein", x, 0, 1, 3.0)
    with pytest.raises(ValueError, match="mean = 2 lies outside"):
        misses("dirichlet", x, 0, 1, 3.0, 2)
    with pytest.raises(ValueError, match="0 <= k <= n"):
        clopper_pearson_upper(5, 4, 3.0)
    with pytest.raises(ValueError, match="is not finite"):
        yardstick(np.array([0.1, np.nan]), 1, 3.0)
    with pytest.raises(ValueError, match="lies outside"):
        yardstick(np.array([0.1, 1.2]), 1, 3.0)


@pytest.mark.parametrize(
    "module", [bounds, betting, dirichlet, coverage, populations, priors, rounding]
)
def test_examples_in_docstrings_run(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_dirichlet_without_replacement_fails_at_a_large_delta_as_its_docstring_says():
    """11 ones among 200 values: by the number of ones in a sample of 150, exactly."""
    ones = np.arange(12)
    samples = (np.arange(150) < ones[:, None]).astype(float)
    bound = dirichlet_upper(samples, 0, 1, -np.log(0.8))
    missed = hypergeom.pmf(ones, 200, 11, 150)[bound < 11 / 200].sum()
    assert missed == pytest.approx(0.96, abs=0.005)


def missed_without_replacement(values, n, delta):
    """Share of all samples of `n` of a list whose Dirichlet bound lies below the mean."""
    rows = np.array(list(itertools.combinations(values, n)), float)
    return np.mean(dirichlet_upper(rows, 0, 1, -math.log(delta)) < np.mean(values))


def test_dirichlet_without_replacement_fails_on_five_values_by_enumeration():
    """Whenever the 0 is drawn, 6 samples of 10; proved inequalities do not."""
    values = [0, 1, 1, 1, 1]
    assert missed_without_replacement(values, 3, 0.5) == pytest.approx(0.6)
    rows = np.array(list(itertools.combinations(values, 3)), float)
    for upper in (hoeffding_upper, chernoff_kl_upper):
        assert np.mean(upper(rows, 0, 1, math.log(2)) < 0.8) <= 0.5


@pytest.mark.parametrize("delta", [0.5, 0.1, 0.05, 0.025, 0.01])
def test_dirichlet_without_replacement_fails_at_every_delta(delta):
    """One 0 among N values, exactly: the bound misses in n / N of samples, more than delta."""
    n = 3
    n_values = math.ceil(n / delta) - 1
    assert 1 - (1 - 1 / n_values) ** n < delta < n / n_values
    row = np.array([0.0, 1.0, 1.0])
    assert dirichlet_upper(row, 0, 1, -math.log(delta)) < 1 - 1 / n_values
    assert dirichlet_upper(np.ones(n), 0, 1, -math.log(delta)) == 1


def test_the_docstring_of_dirichlet_says_so():
    assert "false in general" in dirichlet_upper.__doc__
    assert "No violation is known" not in dirichlet_upper.__doc__


def test_the_worst_known_list_at_one_half():
    """296 ones among 300 values, 275 drawn: by the number of ones in a sample, exactly."""
    ones = np.arange(271, 276)
    bound = clopper_pearson_upper(ones, 275, math.log(2))
    missed = hypergeom.pmf(ones, 300, 296, 275)[bound < 296 / 300].sum()
    assert missed == pytest.approx(0.705, abs=0.001)
