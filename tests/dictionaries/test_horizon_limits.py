"""Statements on horizon KL: hand-worked values, coverage, and a mutant that must be caught."""

import math

import numpy as np
import pytest

from saecert.dictionaries import horizon_limits
from saecert.dictionaries.horizon_limits import (
    against_controls,
    known_pairs,
    last_against_first,
    mean_divergences,
    output_against_local,
    paired,
    t_interval,
)
from saecert.dictionaries.quantities import (
    CEILING,
    DIVERGENCES,
    OUTPUT,
    PERTURBATIONS,
    divergence_name,
    horizons_of,
)

HOOKS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def made_up(n_seq=60):
    """KL of two hook points: the SAE's error twice that of noise, and local half the output."""
    rng = np.random.default_rng(0)
    measured = {}
    for depth, name in enumerate(HOOKS, start=1):
        base = depth * rng.uniform(0.1, 0.2, n_seq)
        size = dict(zip(PERTURBATIONS, (2.0, 1.0, 2.0), strict=True))
        measured[name] = {
            divergence_name(divergence, p, h): size[p] * base * (1 + (h == OUTPUT))
            for divergence in DIVERGENCES
            for p in PERTURBATIONS
            for h in (0, OUTPUT)
        }
        measured[name][CEILING] = np.full(n_seq, 12.0)
    return measured


def test_paired_by_hand():
    first = np.array([[1.0, 2.0, 3.0, 4.0]])
    second = np.array([[1.0, 1.0, 4.0, 1.0]])
    row = paired((first, second), (first / 2, second / 2), 10.0, 0.2, "hoeffding").iloc[0]
    assert (row["mean"], row["smoothed"], row["share"]) == (0.75, 0.375, 0.5)
    half = 20 * math.sqrt(math.log(4 / 0.2) / 8)
    assert row["smoothed, upper"] == pytest.approx(min(0.375 + half, 10))
    # P(at most 2 of 4 successes) is 1/20 at the upper end
    p = row["share, upper"]
    tail = sum(math.comb(4, k) * p**k * (1 - p) ** (4 - k) for k in range(3))
    assert tail == pytest.approx(0.2 / 4)
    assert row["share, lower"] == pytest.approx(1 - p)


def test_t_interval_by_hand():
    low, high = t_interval(np.array([[1.0, 2.0, 3.0]]), 0.05)
    width = 4.302653 / math.sqrt(3)  # the .975 quantile with two degrees of freedom, over sqrt n
    assert (low[0], high[0]) == pytest.approx((2 - width, 2 + width), rel=1e-6)


@pytest.mark.parametrize("inequality", ["dirichlet", "hoeffding"])
def test_all_limits_hold_together_as_often_as_promised(inequality):
    assert known_pairs(0.05, inequality, seed=1) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_limits_that_forget_how_many_they_are_miss_too_often(monkeypatch):
    def mutant(plain, smoothed, ceiling, delta, inequality, n_pairs):
        return paired(plain, smoothed, ceiling, 4 * n_pairs * delta, inequality, n_pairs)

    monkeypatch.setattr(horizon_limits, "paired", mutant)
    missed = horizon_limits.known_pairs(0.05, "dirichlet", seed=1)
    assert missed > 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_tables_of_made_up_values():
    measured = made_up()
    assert horizons_of(measured[HOOKS[0]]) == [0, OUTPUT]
    means = mean_divergences(measured, 0.05)
    assert len(means) == 2 * 3 * 2
    assert (means["lower"] < means["mean"]).all() and (means["mean"] < means["upper"]).all()
    against = against_controls(measured, 0.05, "dirichlet")
    assert against.index.names == ["control", "horizon", "hook_name"]
    assert (against["share, lower"].loc["noise"] > 0.8).all()
    # ties with shuffled latents count for them
    assert (against["share"].loc["shuffled latents"] == 0).all()
    np.testing.assert_array_equal(against["mean"].loc["shuffled latents"], 0)
    trend = last_against_first(measured, 0.05, "dirichlet")
    assert trend.index.tolist() == [0, OUTPUT] and (trend["mean"] > 0).all()
    damped = output_against_local(measured, 0.05, "dirichlet")
    assert damped.index.tolist() == list(HOOKS) and (damped["share"] == 1).all()


def test_a_hook_point_without_blocks_behind_it_is_left_out():
    measured = made_up()
    last = measured[HOOKS[1]]
    last[divergence_name("KL", "SAE error", OUTPUT)] = last[divergence_name("KL", "SAE error", 0)]
    assert output_against_local(measured, 0.05, "dirichlet").index.tolist() == [HOOKS[0]]
    alone = {HOOKS[1]: last}
    assert output_against_local(alone, 0.05, "dirichlet").empty
