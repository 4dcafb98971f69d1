"""Pool rules: what they choose, what they cost, and that the cost is needed."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.pool_rules import choose_pools
from saecert.certificates.sample import Sample
from saecert.certificates.terms import joint_loss, sharp_loss
from saecert.records import Discovery
from saecert.statistics.inequalities import dirichlet_upper
from saecert.statistics.priors import (
    cheapest_product_superset,
    cheapest_uniform_superset,
    equal_nats,
    favoured_nats,
    product_prior_nats,
    uniform_prior_nats,
)

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


def _joint(losses, k):
    return joint_loss(*(losses.at(name, 0.5) for name in ("clean", "full", f"pool_{k}")), HI)


# Pool rules and their cost


def test_fixed_pool_is_the_smallest_within_tolerance_on_discovery():
    losses = random_losses()
    assert [
        certify(losses, tolerance=bits, inequality="hoeffding").k for bits in (1.0, 0.1, 0.01)
    ] == [4, 8, 16]
    seen = losses.discovery.losses
    for bits, k in ((1.0, 4), (0.1, 8)):
        assert np.abs(seen.at("full", 0.5) - seen.at(f"pool_{k}", 0.5)).mean() < bits
    sample = dataclasses.replace(losses, loss=losses.loss | {"pool_4": losses.loss["full"]})
    assert (
        certify(sample, inequality="hoeffding").k == 8
    )  # what the certification sample says does not matter
    given = certify(losses, pool=4)
    assert (given.k, given.pool, given.tolerance, given.selection_nats) == (4, 4, None, 0.0)
    assert "states that it was fixed beforehand" in given.pool_rule
    assert certify(losses, pool=16).terms["pool mismatch"] == 0


def test_nested_pools_cost_the_logarithm_of_their_number():
    losses = random_losses()
    nested = certify(losses, method="nested")
    third = math.log(3 / DELTA)
    assert [row["k"] for row in nested.curve] == [4, 8, 16]
    assert nested.selection_nats == pytest.approx(math.log(3))
    assert nested.sharp == min(row["sharp"] for row in nested.curve)
    assert nested.bound == next(row["bound"] for row in nested.curve if row["k"] == nested.k)
    for row in nested.curve:
        sharp = sharp_loss(*(losses.at(x, 0.5) for x in ("clean", "full", f"pool_{row['k']}")))
        assert row["sharp"] == pytest.approx(dirichlet_upper(sharp, LO, HI, third))
        assert row["nats"] == pytest.approx(math.log(3))
        joint = _joint(losses, row["k"])
        assert row["bound"] == pytest.approx(dirichlet_upper(joint, LO, HI, third))
        assert row["bound"] > dirichlet_upper(joint, LO, HI, math.log(1 / DELTA))
    one = certify(losses, method="nested", pool=[8])
    assert one.bound == pytest.approx(certify(losses, pool=8).bound)
    assert certify(losses, method="nested", pool=(4, 8)).pool == [4, 8]


def test_weights_of_a_grid_sum_to_one():
    for count in range(1, 8):
        assert np.exp(-equal_nats(count)).sum() == pytest.approx(1)
        for favourite in range(count):
            weights = np.exp(-favoured_nats(count, favourite))
            assert weights.sum() == pytest.approx(1)
            assert weights[favourite] == pytest.approx(1 if count == 1 else 0.9)
            assert weights.argmax() == favourite


def test_nested_pools_with_weights_from_discovery():
    losses = random_losses()
    chosen = certify(losses).k
    nested = certify(losses, method="nested", prior="discovery")
    assert (chosen, nested.prior, nested.tolerance) == (8, "discovery", 0.1)
    assert "weight 0.9 on 8 (the smallest whose mean mismatch on discovery" in nested.pool_rule
    for row in nested.curve:
        weight = 0.9 if row["k"] == chosen else 0.05
        assert row["nats"] == pytest.approx(-math.log(weight))
        joint = _joint(losses, row["k"])
        limit = dirichlet_upper(joint, LO, HI, math.log(1 / DELTA / weight))
        assert row["bound"] == pytest.approx(limit)
    favoured = next(row for row in nested.curve if row["k"] == chosen)
    equal = next(row for row in certify(losses, method="nested").curve if row["k"] == chosen)
    assert certify(losses).bound < favoured["bound"] < equal["bound"]
    best = next(row for row in nested.curve if row["k"] == nested.k)
    assert (nested.sharp, nested.selection_nats) == (best["sharp"], best["nats"])
    # the weights are fixed before the sample: other losses there, same weights
    other = dataclasses.replace(losses, loss=losses.loss | {"pool_4": losses.loss["full"]})
    again = certify(other, method="nested", prior="discovery")
    assert [row["nats"] for row in again.curve] == [row["nats"] for row in nested.curve]
    # a grid without any size within the tolerance: its largest
    assert (
        "weight 0.9 on 8 "
        in certify(
            losses, method="nested", pool=[4, 8], prior="discovery", tolerance=1e-6
        ).pool_rule
    )


def test_uniform_prior_worked_by_hand_and_sums_to_one():
    assert uniform_prior_nats(3, 16) == pytest.approx(math.log(560 * 17))
    subsets = [subset for k in range(7) for subset in itertools.combinations(range(6), k)]
    assert sum(
        math.exp(-uniform_prior_nats(len(subset), 6)) for subset in subsets
    ) == pytest.approx(1)
    assert uniform_prior_nats(12288, 24576) == pytest.approx(24576 * math.log(2), rel=1e-3)


def test_product_prior_worked_by_hand_and_sums_to_one():
    discovery = Discovery(
        rule="frequency", order=np.arange(6), n_active=np.array([0, 1, 2, 5, 9, 10]), n_seq=10
    )
    fired = discovery.n_active + 0.5
    silent = 10 - discovery.n_active + 0.5
    out = np.exp(betaln(fired, silent + 7) - betaln(fired, silent))
    one_at_a_time = np.prod(
        [(silent + t) / (fired + silent + t) for t in range(7)], axis=0
    )  # Polya's urn: silent seven times in a row
    np.testing.assert_allclose(out, one_at_a_time)
    subsets = [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=6)]
    for inside in subsets:
        assert product_prior_nats(inside, discovery.n_active, discovery.n_seq, 7) == pytest.approx(
            -np.log(np.where(inside, 1 - out, out)).sum()
        )
    assert sum(
        math.exp(-product_prior_nats(inside, discovery.n_active, discovery.n_seq, 7))
        for inside in subsets
    ) == pytest.approx(1)


def test_in_sample_pool_is_the_cheapest_superset_of_what_was_active():
    losses = random_losses()
    active = losses.activity().any(axis=0)
    certificate = certify(losses, method="in_sample", prior="uniform")
    assert active.sum() == 15
    assert certificate.k == 16  # ln 17 for the whole dictionary, ln 16 more for the active set
    assert certificate.selection_nats == pytest.approx(math.log(17))
    assert certificate.terms["pool mismatch"] == 0
    assert certificate.statements["mismatch"]["upper"] > 0
    assert "superset of the 15 latents active on the sample" in certificate.pool_rule
    product = certify(losses, method="in_sample")
    counts = losses.discovery.n_active, losses.discovery.n_seq
    superset, nats = cheapest_product_superset(active, *counts, 60)
    assert (product.k, product.selection_nats) == (superset.sum(), pytest.approx(nats))
    assert product.bound == pytest.approx(
        float(dirichlet_upper(_joint(losses, 16), LO, HI, math.log(20) + product.selection_nats))
    )


def test_nothing_active_costs_no_more_than_the_empty_set():
    silent = make_losses(np.full(20, 3.0), active=np.zeros((20, 16), dtype=bool))
    certificate = certify(silent, method="in_sample", prior="uniform", eps=())
    assert (certificate.k, certificate.selection_nats) == (0, pytest.approx(math.log(17)))


def subsets_of(m: int) -> list[np.ndarray]:
    return [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=m)]


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_the_cheapest_superset_is_that_of_an_enumeration(m):
    rng = np.random.default_rng(m)
    n_active = rng.integers(0, 11, m)
    n_seen = 10
    n_seq = 7
    subsets = subsets_of(m)
    product = [product_prior_nats(s, n_active, n_seen, n_seq) for s in subsets]
    uniform = [uniform_prior_nats(int(s.sum()), m) for s in subsets]
    for active in subsets:
        holds = [bool((s | ~active).all()) for s in subsets]
        superset, nats = cheapest_product_superset(active, n_active, n_seen, n_seq)
        assert (superset | ~active).all()
        assert nats == pytest.approx(min(c for c, h in zip(product, holds, strict=True) if h))
        assert nats == pytest.approx(product_prior_nats(superset, n_active, n_seen, n_seq))
        size, nats = cheapest_uniform_superset(int(active.sum()), m)
        assert active.sum() <= size <= m
        assert nats == pytest.approx(min(c for c, h in zip(uniform, holds, strict=True) if h))
        assert nats == pytest.approx(uniform_prior_nats(size, m))


def test_pools_of_a_choice_share_one_shape():
    sample = Sample.of(random_losses(), 0.5)
    choice = choose_pools(sample, "nested", pool=None, prior="equal", tolerance=0.1)
    assert choice.losses.shape == (3, 60)
