"""Coverage of the bound under each pool rule: a miss is below the mean of what is bounded."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses

from saecert.certificates.certificate import certify
from saecert.certificates.terms import joint_loss
from saecert.records import Discovery
from saecert.statistics.inequalities import chernoff_kl_upper, dirichlet_upper, misses
from saecert.statistics.priors import product_prior_nats, uniform_prior_nats

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


# Coverage: a miss is `bound < mean of the very quantity bounded`


def three_atoms(rng: np.random.Generator, *shape: int):
    """Losses (f, g, g_A): all at lo, only the pooled proxy at hi (clipped), all at hi; E v_A = lo +
    0.12 (hi - lo).
    """
    atom = rng.choice(3, p=[0.88, 0.05, 0.07], size=shape)
    return tuple(np.array(values)[atom] for values in ([LO, LO, HI], [LO, LO, HI], [LO, HI, HI]))


def missed(x: np.ndarray, delta: float, truth: float, nats: float = 0.0) -> np.ndarray:
    """Whether the default bound at `delta` and `nats` more lies below `truth`, row by row."""
    return misses("dirichlet", x, LO, HI, math.log(1 / delta) + nats, truth)


def test_fixed_pool_covers_and_five_times_delta_is_caught():
    truth = LO + 0.12 * (HI - LO)
    clean, full, pooled = three_atoms(np.random.default_rng(1), 2000, 100)
    joint = joint_loss(clean, full, pooled, HI)
    assert not misses_too_often(missed(joint, DELTA, truth))
    assert misses_too_often(missed(joint, 5 * DELTA, truth))
    for row in range(3):  # certify() is that very computation
        certificate = certify(make_losses(clean[row], full[row], {4: pooled[row]}), pool=4)
        assert certificate.bound == pytest.approx(dirichlet_upper(joint[row], LO, HI, math.log(20)))


def test_nested_pools_cover_jointly_and_free_selection_is_caught():
    draws = 1000
    n = 100
    sizes = (1, 2, 3, 4, 6, 8, 10, 12, 14)
    truth = LO + 0.12 * (HI - LO)
    clean = np.full(n, LO)
    pooled = np.where(np.random.default_rng(2).random((draws, len(sizes), n)) < 0.12, HI, LO)
    joint = joint_loss(clean, clean, pooled, HI)
    assert not misses_too_often(
        missed(joint, DELTA, truth, math.log(len(sizes))).any(axis=1)
    )  # any k missing is one miss
    assert misses_too_often(missed(joint, DELTA, truth).any(axis=1))
    certificate = certify(
        make_losses(clean, clean, dict(zip(sizes, pooled[0], strict=True))),
        method="nested",
        pool=sizes,
    )
    expected = dirichlet_upper(joint[0], LO, HI, math.log(len(sizes) / DELTA))
    assert [point["bound"] for point in certificate.curve] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("prior", ["product", "uniform"])
def test_any_subset_chosen_on_the_sample_is_covered(prior):
    """Every one of 16 pools has its own losses; the adversary shows the one that errs, if any
    does.
    """
    draws = 400
    n = 60
    m = 4
    discovery = Discovery(
        rule="frequency", order=np.arange(m), n_active=np.array([0, 1, 4, 6]), n_seq=6
    )
    subsets = [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=m)]
    cost = [
        uniform_prior_nats(int(s.sum()), m)
        if prior == "uniform"
        else product_prior_nats(s, discovery.n_active, discovery.n_seq, n)
        for s in subsets
    ]
    rng = np.random.default_rng(3)
    truth = LO + 0.3 * (HI - LO)
    valid, mutant = np.zeros((2, draws), dtype=bool)
    for nats in cost:
        joint = np.where(rng.random((draws, n)) < 0.3, HI, LO)
        valid |= missed(joint, DELTA, truth, nats)
        mutant |= missed(joint, DELTA, truth)
    assert not misses_too_often(valid)
    assert misses_too_often(mutant)


@pytest.mark.parametrize("prior", ["product", "uniform"])
def test_what_the_sample_does_not_show_is_covered_and_free_selection_is_caught(prior):
    """Each of 40 kinds of text has a latent of its own, without which the pooled proxy fails.

    The product prior through `certify`: on discovery none was active, so that no silent latent is
    worth adding. The uniform prior would take the whole dictionary, of which nothing is unseen; but
    the theorem holds for every subset, and here for the active set itself.
    """
    draws = 40
    n = 40
    m = 40
    rng = np.random.default_rng(4)
    valid, mutant = np.zeros((2, draws), dtype=bool)
    for draw in range(draws):
        kinds = rng.integers(m, size=n)
        discovery = Discovery(
            rule="frequency", order=np.arange(m), n_active=np.zeros(m, np.int64), n_seq=80
        )
        record = make_losses(
            np.full(n, LO), d_sae=m, active=np.eye(m, dtype=bool)[kinds], discovery=discovery
        )
        certificate = certify(
            record, method="in_sample", prior="product", inequality="chernoff_kl", eps=()
        )
        k = len(set(kinds.tolist()))
        truth = LO + (HI - LO) * (1 - k / m)  # E v_A for the pool A that this sample chose
        assert certificate.k == k
        price = certificate.selection_nats if prior == "product" else uniform_prior_nats(k, m)
        joint = np.full(n, LO)
        bound = chernoff_kl_upper(joint, LO, HI, math.log(20) + price)
        if prior == "product":
            assert certificate.bound == pytest.approx(bound)
        valid[draw] = bound < truth
        mutant[draw] = chernoff_kl_upper(joint, LO, HI, math.log(20)) < truth
    assert not misses_too_often(valid)
    assert misses_too_often(mutant)
