"""Coverage: five inequalities pass on populations with teeth, and every mutant is caught by the same test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from saecert.bounds import INEQUALITIES, hoeffding_upper
from saecert.populations import REJECT_AT, Population, bernoulli, coverage_table, mutants, rare_event, with_teeth


def verdicts(rows):
    """Inequalities that some population rejects."""
    return {row["inequality"] for row in rows if row["verdict"] == "rejected"}


@pytest.mark.parametrize("population", [*with_teeth(100), *with_teeth(5, delta=0.5)], ids=lambda p: p.name)
def test_stated_mean_and_support_are_right(population):
    x = population.sample(np.random.default_rng(0), (400, 1000))
    assert x.shape == (400, 1000)
    assert population.lo <= x.min() <= x.max() <= population.hi
    error = x.std() / np.sqrt(x.size)
    assert abs(x.mean() - population.mean) < 4 * error


def test_point_mass_is_missed_as_often_as_planned():
    *_, noisy, two = with_teeth(30, delta=0.1)
    rng = np.random.default_rng(1)
    for population, unseen in ((noisy, 0.102), (two, 0.3)):
        rate = (population.sample(rng, (20_000, 30)) < 1).all(axis=1).mean()
        assert abs(rate - unseen) < 4 * np.sqrt(unseen * (1 - unseen) / 20_000)


@pytest.mark.parametrize("name", INEQUALITIES)
def test_every_inequality_keeps_its_promise(name):
    """20,000 samples of 100 and of 8 on every population: a miss rate of 5.6 % instead of 5 % would be noticed."""
    rows = coverage_table({name: INEQUALITIES[name]}, (8, 100), progress=False)
    assert len(rows) == 8
    assert verdicts(rows) == set()
    assert max(row["miss_rate"] for row in rows) > (0.02 if name in ("dirichlet", "betting") else 0)


def test_large_delta_is_kept_too():
    """At delta = 1/2 sharp bounds miss often: nothing hides behind rarity."""
    rows = coverage_table({k: INEQUALITIES[k] for k in ("dirichlet", "betting")}, (20, 100), draws=4000, delta=0.5, progress=False)
    assert verdicts(rows) == set()
    assert max(row["miss_rate"] for row in rows) > 0.35


@pytest.mark.parametrize(("mutant", "n"), list(zip(mutants(), (500, 500, 500, 100), strict=True)))
def test_every_mutant_is_rejected(mutant, n):
    rows = coverage_table({mutant: mutants()[mutant]}, (n,), draws=500 if n == 100 else 4000, progress=False)
    assert verdicts(rows) == {mutant}


def test_rows_and_their_limits():
    """A bound that never holds misses every time; its limits are those of 50 successes in 50 trials."""

    def low(x, lo, hi, nats):
        return x.mean(axis=-1) - 1

    (row,) = coverage_table({"low": low}, (5,), populations=lambda n, delta: [bernoulli(0.5)], draws=50, progress=False)
    assert row == {
        "inequality": "low",
        "population": "Bernoulli(0.5)",
        "n": 5,
        "draws": 50,
        "misses": 50,
        "miss_rate": 1.0,
        "ci_low": pytest.approx(0.005 ** (1 / 50)),
        "ci_high": 1.0,
        "delta": 0.05,
        "verdict": "rejected",
    }


def test_verdict_is_a_binomial_test():
    """Rejected exactly when so many misses have probability below 1e-4 at delta."""
    for missed in range(60, 100):
        rows = coverage_table(
            {"first rows": lambda x, lo, hi, nats, k=missed: np.where(np.arange(len(x)) < k, 0.0, 1.0)},
            populations=lambda n, delta: [bernoulli(0.5)],
            draws=1000,
            progress=False,
        )
        assert rows[0]["misses"] == missed
        assert (rows[0]["verdict"] == "rejected") == (binom.sf(missed - 1, 1000, 0.05) < REJECT_AT)


def test_seed_fixes_the_table_and_inequalities_share_samples():
    both = coverage_table(draws=300, progress=False)
    again = coverage_table({"hoeffding": hoeffding_upper}, draws=300, progress=False)
    assert [row for row in both if row["inequality"] == "hoeffding"] == again
    other = coverage_table(draws=300, seed=1, progress=False)
    assert [row["misses"] for row in other] != [row["misses"] for row in both]


def test_progress_goes_to_stderr(capsys):
    coverage_table({"hoeffding": hoeffding_upper}, (5,), draws=10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "coverage" in captured.err


def test_errors():
    with pytest.raises(ValueError, match="outside its support"):
        Population("wrong", 0.0, 1.0, 1.5, lambda rng, size: np.zeros(size))
    with pytest.raises(ValueError, match="strictly between 0 and 1, got 1.5"):
        rare_event("impossible", 0.1, 1.5, 10)
    with pytest.raises(ValueError, match="0 < delta < 1"):
        coverage_table(delta=1.5)
