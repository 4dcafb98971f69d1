"""Limits on what removing latents costs: joint, capped, and for one kind against the other."""

import numpy as np
import pytest

from saecert.dictionaries.latent_limits import CAP, kinds_apart, removal_limits
from saecert.statistics.inequalities import dirichlet_upper


def made(rng, n=300, trained=0.05, random=0.0):
    return {
        "trained cost": rng.normal(trained, 0.02, size=(n, 3)),
        "random cost": rng.normal(random, 0.02, size=(n, 2)),
    }


def test_each_of_all_latents_pays_its_share():
    measured = made(np.random.default_rng(0))
    frame = removal_limits(measured, 0.05)
    assert frame["kind"].tolist() == ["trained"] * 3 + ["random"] * 2
    assert frame["rank"].tolist() == [1, 2, 3, 1, 2]
    by_hand = dirichlet_upper(measured["random cost"][:, 1], -CAP, CAP, np.log(2 * 5 / 0.05))
    assert frame["upper"].iloc[4] == pytest.approx(float(by_hand))
    assert (frame["lower"] < frame["mean"]).all() and (frame["mean"] < frame["upper"]).all()
    assert (frame["lower"][:3] > 0).all() and (frame["lower"][3:] < 0).all()


def test_a_sequence_counts_for_the_cap_at_most():
    measured = made(np.random.default_rng(0))
    measured["trained cost"][0, 0] = 100.0
    row = removal_limits(measured, 0.05).iloc[0]
    assert row["capped"] == pytest.approx(1 / 300)
    rest = measured["trained cost"][1:, 0].sum()
    assert row["mean"] == pytest.approx((rest + CAP) / 300)
    assert row["whole"] == pytest.approx((rest + 100) / 300), "not cut off, and without limits"


def test_all_limits_hold_together_often_enough():
    """Rare large costs and small ones: all limits of 5 latents hold in 95 % of samples."""
    rng = np.random.default_rng(1)
    draws = 60
    missed = 0
    for _ in range(draws):
        rare = (rng.random((100, 5)) < 0.02) * 0.2
        measured = {"trained cost": rare[:, :3], "random cost": rare[:, 3:]}
        frame = removal_limits(measured, 0.05)
        truth = 0.02 * 0.2
        missed += bool(((frame["lower"] > truth) | (frame["upper"] < truth)).any())
    assert missed / draws <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    # unpaid, the same limits miss more often than they may
    unpaid = 0
    for _ in range(draws):
        rare = (rng.random((100, 5)) < 0.02) * 0.2
        upper = dirichlet_upper(rare.T, -CAP, CAP, np.log(1 / 0.5))
        unpaid += bool((upper < 0.004).any())
    assert unpaid / draws > 0.05


def test_kinds_apart_by_hand_and_alike():
    rng = np.random.default_rng(2)
    low, more, high = kinds_apart(made(rng), 0.05)
    assert 0 < low < more < high
    assert more == pytest.approx(0.05, abs=0.005)
    low, _, high = kinds_apart(made(rng, trained=0.0), 0.05)
    assert low < 0 < high


def test_a_cap_of_nothing_is_refused():
    with pytest.raises(ValueError, match="cap=0 must be above 0"):
        removal_limits(made(np.random.default_rng(0)), 0.05, cap=0)
