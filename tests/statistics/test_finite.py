"""Bounds on the mean of a finite list: exact enumeration of all samples, coverage, mutants."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm

from saecert.statistics.betting import CAP
from saecert.statistics.coverage import coverage_table
from saecert.statistics.finite import FINITE, betting_upper, finite_upper, rejects
from saecert.statistics.inequalities import INEQUALITIES, dirichlet_upper, lower
from saecert.statistics.inequalities import betting_upper as with_replacement
from saecert.statistics.mutants import finite_mutants
from saecert.statistics.populations import listed

DELTAS = (0.05, 0.2, 0.5, 0.9)


def all_samples(values, n):
    """Every ordered sample of `n` of the list, each equally likely."""
    return np.array(list(itertools.permutations(values, n)))


def sequences_of_coins(size, ones, n):
    """Every sequence of n zeros and ones from a list with so many ones, and its probability."""
    rows = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    heads = rows.sum(axis=1).astype(int)
    there = (heads <= ones) & (n - heads <= size - ones)
    ways = [math.perm(ones, k) * math.perm(size - ones, n - k) for k in heads[there]]
    return rows[there], np.array(ways) / math.perm(size, n)


@pytest.mark.parametrize("size", [5, 8, 11])
def test_misses_by_exact_enumeration_of_lists_of_zeros_and_ones(size):
    worst = dict.fromkeys(DELTAS, 0.0)
    for n, ones in itertools.product(range(2, size + 1), range(1, size)):
        z, chances = sequences_of_coins(size, ones, n)
        assert math.isclose(chances.sum(), 1)
        for delta in DELTAS:
            nats = np.full(len(z), -np.log(delta))
            missed = rejects(z, np.full((len(z), 1), ones / size), nats, size)[:, 0]
            worst[delta] = max(worst[delta], chances[missed].sum())
    assert all(worst[delta] <= delta for delta in DELTAS)
    assert worst[0.5] > 0.3, "a bound that never misses would prove nothing"


def test_misses_by_exact_enumeration_of_other_lists():
    rng = np.random.default_rng(0)
    for values in (*rng.beta(0.3, 0.6, size=(4, 6)), np.array([0, 0, 0.01, 0.02, 1, 1])):
        for n, delta in itertools.product((2, 4, 6), DELTAS):
            bounds = betting_upper(all_samples(values, n), 0, 1, -np.log(delta), population_size=6)
            assert (bounds < values.mean() - 1e-12).mean() <= delta


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("delta", [0.05, 0.5])
def test_every_inequality_keeps_its_promise_on_lists(name, delta):
    upper = {name: finite_upper(name, 60)}
    lists = [
        listed(f"{k} ones", (np.arange(60) < k).astype(float), 0.0, 1.0) for k in (1, 6, 30, 59)
    ]
    lists.append(listed("beta", np.random.default_rng(0).beta(0.1, 0.5, 60), 0.0, 1.0))
    settings = {"populations": lists, "draws": 2000, "delta": delta, "progress": False}
    rows = coverage_table(upper, (3, 30, 54), **settings)
    assert {row["verdict"] for row in rows} == {"valid"}
    assert name != "betting" or max(row["miss_rate"] for row in rows) > 0.5 * delta


@pytest.mark.parametrize(
    ("mutant", "size", "ones", "n", "delta"),
    [
        ("a list too short", 100, 97, 90, 0.05),
        ("finite-population factor", 100, 97, 90, 0.5),
        ("dirichlet, without replacement", 5, 4, 3, 0.5),
    ],
)
def test_every_mutant_is_rejected_on_a_list(mutant, size, ones, n, delta):
    lists = [listed("ones", (np.arange(size) < ones).astype(float), 0.0, 1.0)]
    tested = {"betting": finite_upper("betting", size), mutant: finite_mutants(size)[mutant]}
    settings = {"populations": lists, "draws": 4000, "delta": delta, "progress": False}
    rows = coverage_table(tested, (n,), **settings)
    assert [row["verdict"] for row in rows] == ["valid", "rejected"]


def test_dirichlet_is_false_without_replacement_at_small_delta_too():
    """One value at lo among 59, three drawn: below the mean whenever that one is drawn."""
    drawn = dirichlet_upper(np.array([0.0, 1.0, 1.0]), 0, 1, -np.log(0.05))
    assert drawn < 58 / 59 and 3 / 59 > 0.0508


def wealth_path(z, m, delta, size):
    """The wealth in plain scalar arithmetic: no logarithms, no vectors."""
    n = len(z)
    weights = [size / (size - j) for j in range(n)]
    wealth = 1.0
    squares = 0.25
    total = 0.0
    path = []
    for i, value in enumerate(z):
        mean = (size * m - total) / (size - i)
        if mean < 0:
            return [*path, math.inf]
        p = delta * wealth
        scale = weights[i] / math.sqrt(sum(w * w for w in weights[i:]) * squares / (i + 1))
        bet = min(norm.pdf(norm.ppf(p)) / p * scale, CAP / mean)
        wealth *= 1 + bet * (value - mean)
        path.append(wealth)
        if wealth >= 1 / delta:
            break
        total += value
        squares += (value - (0.5 + total) / (i + 2)) ** 2
    return path


def test_equals_the_wealth_in_scalar_arithmetic():
    rng = np.random.default_rng(0)
    for z in rng.random((15, 20)):
        for m in (0.05, 0.3, 0.4, 0.45, 0.6):
            reached = max(wealth_path(z, m, 0.05, 25)) >= 20
            assert rejects(z[None], np.array([[m]]), -np.log([0.05]), 25)[0, 0] == reached


def test_rejected_means_are_an_interval_that_starts_at_0():
    rng = np.random.default_rng(2)
    m = np.linspace(0.001, 0.999, 400)
    for size, n in ((30, 25), (30, 30), (300, 40)):
        z = rng.beta(0.3, 0.5, size=(30, n))
        rejected = rejects(z, np.tile(m, (30, 1)), np.full(30, 2.0), size)
        assert (np.diff(rejected.astype(int), axis=1) <= 0).all() and rejected.any()


def test_nothing_is_unknown_of_a_list_drawn_to_the_end():
    x = np.random.default_rng(0).random(50) * 3 - 1
    for name in FINITE:
        upper = finite_upper(name, 50)
        assert upper(x, -1, 2, 3.0) == x.mean()
        assert lower(upper, x, -1, 2, 3.0) == x.mean()


def test_width_shrinks_with_the_share_that_was_drawn():
    """The normal factor is sqrt(1 - n / N): .894 at a fifth of the list, and a huge list changes
    nothing.
    """
    rng = np.random.default_rng(0)
    x = rng.beta(2, 3, size=(10, 500))
    wide = (with_replacement(x, 0, 1, 3.0) - x.mean(axis=1)).mean()
    for share in (0.2, 0.5):
        narrow = betting_upper(x, 0, 1, 3.0, population_size=round(500 / share)) - x.mean(axis=1)
        assert -0.01 < narrow.mean() / wide - np.sqrt(1 - share) < 0.03
    endless = betting_upper(x, 0, 1, 3.0, population_size=10**12)
    np.testing.assert_allclose(endless, with_replacement(x, 0, 1, 3.0), atol=1e-6)


def test_what_is_refused():
    for name in set(INEQUALITIES) - set(FINITE):
        with pytest.raises(ValueError, match=f"'{name}' is not valid .* take .*'betting'"):
            finite_upper(name, 100)
    for size in (1, 0, -5, True):
        with pytest.raises(ValueError, match="population_size must be a whole number"):
            finite_upper("betting", size)
    for name in FINITE:
        with pytest.raises(ValueError, match="of at least 10, the values drawn from the list"):
            finite_upper(name, 9)(np.zeros(10), 0, 1, 3.0)
