"""Coverage: five inequalities pass under three pool rules on populations with teeth, and every
mutant is caught by the same test.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from saecert.records import Discovery
from saecert.statistics.coverage import REJECT_AT, coverage_table
from saecert.statistics.inequalities import INEQUALITIES, dirichlet_upper, hoeffding_upper
from saecert.statistics.mutants import mutants, unpaid
from saecert.statistics.populations import (
    Draw,
    Population,
    bernoulli,
    fixed,
    in_sample,
    in_sample_with_teeth,
    nested,
    nested_with_teeth,
    rare_event,
    repeated,
    resampled,
    with_teeth,
)
from saecert.statistics.priors import product_prior_nats


def verdicts(rows):
    """Inequalities that some population rejects."""
    return {row["inequality"] for row in rows if row["verdict"] == "rejected"}


@pytest.mark.parametrize(
    "population", [*with_teeth(100), *with_teeth(5, delta=0.5)], ids=lambda p: p.name
)
def test_stated_mean_and_support_are_right(population):
    x, ((mean,),), ((nats,),) = population.draw(np.random.default_rng(0), 400, 1000)
    assert x.shape == (400, 1, 1000) and nats == 0
    assert population.lo <= x.min() <= x.max() <= population.hi
    error = x.std() / np.sqrt(x.size)
    assert abs(x.mean() - mean) < 4 * error


def test_point_mass_is_missed_as_often_as_planned():
    *_, noisy, two = with_teeth(30, delta=0.1)
    rng = np.random.default_rng(1)
    for population, unseen in ((noisy, 0.102), (two, 0.3)):
        rate = (population.draw(rng, 20_000, 30).x < 1).all(axis=2).mean()
        assert abs(rate - unseen) < 4 * np.sqrt(unseen * (1 - unseen) / 20_000)


@pytest.mark.parametrize("name", INEQUALITIES)
def test_every_inequality_keeps_its_promise(name):
    """20,000 samples of 100 and of 8 on every population: a miss rate of 5.6 % instead of 5 % would
    be noticed.
    """
    rows = coverage_table({name: INEQUALITIES[name]}, (8, 100), progress=False)
    assert len(rows) == 8
    assert verdicts(rows) == set()
    assert max(row["miss_rate"] for row in rows) > (0.02 if name in ("dirichlet", "betting") else 0)


def test_large_delta_is_kept_too():
    """At delta = 1/2 sharp bounds miss often: nothing hides behind rarity."""
    rows = coverage_table(
        {k: INEQUALITIES[k] for k in ("dirichlet", "betting")},
        (20, 100),
        draws=4000,
        delta=0.5,
        progress=False,
    )
    assert verdicts(rows) == set()
    assert max(row["miss_rate"] for row in rows) > 0.35


@pytest.mark.parametrize(("mutant", "n"), list(zip(mutants(), (500, 500, 500, 100), strict=True)))
def test_every_mutant_is_rejected(mutant, n):
    rows = coverage_table(
        {mutant: mutants()[mutant]}, (n,), draws=500 if n == 100 else 4000, progress=False
    )
    assert verdicts(rows) == {mutant}


SETTINGS = {"draws": 1000, "progress": False}


@pytest.mark.parametrize(
    "teeth",
    [
        nested_with_teeth,
        in_sample_with_teeth,
        lambda n, delta: in_sample_with_teeth(n, delta, "product"),
    ],
)
def test_every_inequality_keeps_its_promise_when_the_sample_chooses(teeth):
    rows = coverage_table(INEQUALITIES, (20, 100), populations=teeth, **SETTINGS)
    assert {row["rule"] for row in rows} < {"T2", "T3"} and len(rows) in (40, 35)
    assert verdicts(rows) == set()


@pytest.mark.parametrize(("teeth", "spared"), [(nested_with_teeth, 0), (in_sample_with_teeth, 1)])
def test_choosing_on_the_sample_has_to_be_paid_for(teeth, spared):
    rows = coverage_table(
        {"free choice": dirichlet_upper},
        (100,),
        populations=lambda n, delta: [unpaid(c) for c in teeth(n, delta)],
        **SETTINGS,
    )
    assert verdicts(rows) == {"free choice"}
    assert max(row["miss_rate"] for row in rows) > (0.99 if spared else 0.1)


def test_the_cheapest_superset_has_to_be_paid_for_and_has_the_mean_of_what_is_paid():
    """64 latents that are more likely silent: the product prior leaves out what was not seen."""
    *_, last = in_sample_with_teeth(100, prior="product")
    rows = coverage_table(
        {"dirichlet": dirichlet_upper}, populations=[last, unpaid(last)], **SETTINGS
    )
    assert [row["verdict"] for row in rows] == ["valid", "rejected"]
    whole = in_sample("toy", bernoulli(0.2), 4, 0.1, "uniform", 7, extended=True)
    drawn = whole.draw(np.random.default_rng(0), 500, 7)
    silent = np.isclose(drawn.mean, 1 - 0.8 * 0.9**4)
    assert (silent | np.isclose(drawn.mean, 0.2)).all(), "nothing, or the whole dictionary"
    assert abs(silent.mean() - 0.9**28) < 0.03
    assert np.allclose(drawn.nats, np.log(5))


def test_a_latent_that_is_rarely_missed_leaves_nothing_to_spare():
    one = in_sample_with_teeth(20)[0]
    (row,) = coverage_table(
        {"dirichlet": dirichlet_upper}, (20,), populations=[one], progress=False
    )
    assert row["population"] == "one rare latent" and abs(row["miss_rate"] - 0.0245) < 0.005


def test_any_pool_missing_is_one_miss():
    """Two pools of mean 0.5: the bound of the first sample misses for one, of the second for both,
    of the third for none.
    """
    x = np.array([[[0.0, 0.2], [0.6, 0.8]], [[0.0, 0.2], [0.2, 0.4]], [[0.6, 0.8], [0.8, 0.8]]])
    seen = []

    def mean(x, lo, hi, nats):
        seen.append(nats)
        return x.mean(axis=-1)

    by_hand = Population(
        "by hand",
        0.0,
        1.0,
        lambda *size: Draw(x, np.full((1, 2), 0.5), np.full((1, 2), np.log(2))),
        "T2",
    )
    (row,) = coverage_table(
        {"mean": mean}, (2,), populations=[by_hand], draws=3, delta=0.1, progress=False
    )
    assert row["misses"] == 2 and row["rule"] == "T2"
    assert np.allclose(np.concatenate(seen), np.log(20)), "ln(1/delta) + ln 2"


def test_nested_pools_have_independent_values():
    drawn = nested(bernoulli(0.5), 3).draw(np.random.default_rng(0), 2000, 4)
    assert drawn.x.shape == (2000, 3, 4)
    assert np.allclose(drawn.nats, np.log(3)) and (drawn.mean == 0.5).all()
    assert np.abs(np.corrcoef(drawn.x[:, :, 0].T) - np.eye(3)).max() < 0.1


def test_means_of_pools_read_off_a_sample():
    """Four latents that fire with probability 0.1, seven sequences: the law of |A|, and the mean of
    fresh sequences for each A.
    """
    rng = np.random.default_rng(0)
    drawn = in_sample("toy", bernoulli(0.2), 4, 0.1, "uniform", 7).draw(rng, 20_000, 7)
    active = rng.random((20_000, 7, 4)) < 0.1
    pools = active.any(axis=1)
    fresh = np.where((rng.random((20_000, 4)) < 0.1)[:, None] & ~pools[:, None], 1.0, 0.0).any(
        axis=(1, 2)
    )
    value = np.where(fresh, 1.0, rng.random(20_000) < 0.2)
    for size in range(5):
        mean = 1 - 0.8 * 0.9 ** (4 - size)
        of_size = np.isclose(drawn.mean, mean)
        assert abs(of_size.mean() - (pools.sum(axis=1) == size).mean()) < 0.02
        assert abs(value[pools.sum(axis=1) == size].mean() - mean) < 0.05
        assert np.allclose(drawn.nats[of_size], np.log([1, 4, 6, 4, 1][size] * 5)), (
            "ln C(4, k) + ln 5"
        )


def test_product_prior_rests_on_discovery():
    drawn = in_sample("toy", bernoulli(0.2), 2, 0.25, "product", 8).draw(
        np.random.default_rng(0), 50, 8
    )
    seen = Discovery("frequency", np.arange(2), np.array([2, 2]), 8)
    prices = {
        round(product_prior_nats(np.arange(2) < k, seen.n_active, seen.n_seq, 8), 9)
        for k in range(3)
    }
    assert set(drawn.nats.ravel().round(9)) == prices


def test_measured_losses_are_a_population():
    values = np.array([[1.0, 2.0, 6.0], [4.0, 5.0, 9.0]])
    pools = resampled("toy", values, 0.0, 10.0)
    drawn = pools.draw(np.random.default_rng(0), 500, 4)
    assert (pools.rule, drawn.mean.tolist(), drawn.nats.tolist()) == (
        "T2",
        [[3.0, 6.0]],
        [[np.log(2)] * 2],
    )
    assert set(drawn.x.ravel()) == set(values.ravel())
    assert (drawn.x[:, 1] - drawn.x[:, 0] == 3).all(), "the same sequences for both pools"
    slack = resampled("toy", values[:1], 0.0, 10.0, truth=2.5)
    assert slack.rule == "T1" and slack.draw(np.random.default_rng(0), 5, 4).mean.tolist() == [
        [2.5]
    ]


def test_dependence_is_caught():
    """Documents in groups of four: a quarter of the sample size that the bound believes in."""
    drawn = repeated(bernoulli(0.5), 4).draw(np.random.default_rng(0), 6, 10)
    assert (drawn.x[..., :3] == drawn.x[..., 3:6]).all() and drawn.x.shape == (6, 1, 10)
    groups = {
        g: coverage_table(populations=[repeated(bernoulli(0.5), g)], **SETTINGS) for g in (1, 4)
    }
    assert verdicts(groups[1]) == set()
    assert verdicts(groups[4]) >= {"dirichlet", "betting", "chernoff_kl", "hoeffding"}


def test_rows_and_their_limits():
    """A bound that never holds misses every time; its limits are those of 50 successes in 50
    trials.
    """

    def low(x, lo, hi, nats):
        return x.mean(axis=-1) - 1

    (row,) = coverage_table(
        {"low": low}, (5,), populations=[bernoulli(0.5)], draws=50, progress=False
    )
    assert row == {
        "inequality": "low",
        "rule": "T1",
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
            {
                "first rows": lambda x, lo, hi, nats, k=missed: np.where(
                    np.arange(len(x)) < k, 0.0, 1.0
                )
            },
            populations=[bernoulli(0.5)],
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


def test_fewer_draws_where_there_are_too_many_values():
    rows = coverage_table(
        {"hoeffding": hoeffding_upper},
        (10, 100),
        populations=[nested(bernoulli(0.5), 2)],
        values=4000,
        progress=False,
    )
    assert [row["draws"] for row in rows] == [200, 20]


def test_progress_goes_to_stderr(capsys):
    coverage_table({"hoeffding": hoeffding_upper}, (5,), draws=10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "coverage" in captured.err


def test_errors():
    with pytest.raises(ValueError, match="outside its support"):
        fixed("wrong", 0.0, 1.0, 1.5, lambda rng, size: np.zeros(size))
    with pytest.raises(ValueError, match="strictly between 0 and 1, got 1.5"):
        rare_event("impossible", 0.1, 1.5, 10)
    with pytest.raises(ValueError, match="0 < delta < 1"):
        coverage_table(delta=1.5)
