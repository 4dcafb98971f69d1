"""The sharp bound: the largest of three losses, its split, its place among the statements."""

import math

import numpy as np
import pytest
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.terms import joint_loss, one_sided, sharp_loss
from saecert.statistics.inequalities import INEQUALITIES

DELTA = 0.05


def test_four_terms_of_the_sharp_bound_worked_by_hand():
    clean = [2.0, 3.0, 4.0, 5.0] * 10
    full = [2.5, 3.0, 3.5, 6.0] * 10
    pool = [2.5, 4.0, 3.0, 7.0] * 10
    certificate = certify(make_losses(clean, full, {4: pool}), pool=4, inequality="hoeffding")
    width = (HI - LO) * math.sqrt(math.log(20) / 80)
    expected = {  # largest of the three: 2.5, 4, 4, 7
        "proxy risk": 16.5 / 4,
        "one-sided gap": 0.5 / 4,
        "one-sided mismatch": 0.5 / 4,
        "complexity": width,
    }
    assert certificate.sharp_terms == pytest.approx(expected)
    assert certificate.sharp == pytest.approx(17.5 / 4 + width)
    assert certificate.sharp_complexity["selection"] == 0


def test_sharp_loss_is_the_largest_and_splits_exactly():
    rng = np.random.default_rng(0)
    clean, full, pooled = rng.uniform(LO, HI, (3, 1000))
    sharp = sharp_loss(clean, full, pooled)
    assert sharp.tolist() == [max(row) for row in zip(clean, full, pooled, strict=True)]
    mismatch, gap = one_sided(clean, full, pooled)
    assert min(mismatch.min(), gap.min()) == 0
    np.testing.assert_allclose(pooled + mismatch + gap, sharp, atol=1e-12)
    assert np.all(sharp <= joint_loss(clean, full, pooled, HI) + 1e-12)
    excess = joint_loss(clean, full, pooled, np.inf) - sharp
    order = np.maximum(full - clean, 0) + np.maximum(pooled - full, 0)
    assert np.all(excess >= order - 1e-12)  # what goes up is counted at least once too often


def test_the_sharp_statement_is_the_largest_loss_at_its_own_share():
    losses = random_losses()
    certificate = certify(losses, pool=4)
    largest = np.max([losses.at(name, 0.5) for name in ("clean", "full", "pool_4")], axis=0)
    expected = INEQUALITIES["dirichlet"](largest, LO, HI, math.log(20))
    assert certificate.sharp == pytest.approx(expected, rel=1e-12)
    assert certificate.sharp < certificate.bound
    assert certificate.groups["sharp"] == (["sharp"], DELTA)
    shared = certify(losses, pool=4, budget={"sharp": 0.01, "bound": 0.04})
    assert shared.groups["budget"] == (["bound", "sharp"], pytest.approx(DELTA))
    assert shared.sharp == pytest.approx(certify(losses, pool=4, delta=0.01).sharp)


def test_the_sharp_bound_of_all_latents_counts_a_loss_once():
    """T3 and the whole dictionary: g_A = g, so that s_A is the larger of two losses."""
    losses = random_losses()
    larger = np.maximum(losses.at("clean", 0.5), losses.at("full", 0.5))
    for settings in ({"method": "in_sample"}, {"pool": 16}):
        certificate = certify(losses, **settings)
        assert certificate.sharp_terms["one-sided mismatch"] == 0
        nats = math.log(20) + certificate.selection_nats
        expected = INEQUALITIES["dirichlet"](larger, LO, HI, nats)
        assert certificate.sharp == pytest.approx(expected, rel=1e-12)
