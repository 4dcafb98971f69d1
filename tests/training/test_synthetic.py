"""Worlds whose features are known: the distribution of their samples, and what they refuse."""

import numpy as np
import pytest
from scipy import stats

from saecert.training.synthetic import SIGMA, Superposition, new_world, uniform_directions

RNG = np.random.default_rng(0)
FEW = Superposition(uniform_directions(4, 3, RNG), np.array([0.9, 0.5, 0.1, 0.002]))


def test_features_are_active_as_often_as_they_should_be_and_independently():
    """All 16 patterns of four features, one of them nearly always active: a chi-squared test."""
    codes = FEW.codes(40_000, np.random.default_rng(1)).toarray() != 0
    patterns = codes @ (1 << np.arange(4))
    p = FEW.probabilities
    on = (np.arange(16)[:, None] >> np.arange(4)) & 1
    expected = 40_000 * np.where(on, p, 1 - p).prod(axis=1)
    counts = np.bincount(patterns, minlength=16)
    common = expected >= 5
    observed = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_a_sampler_that_counts_no_place_twice_is_told(monkeypatch):
    """The test above rejects rates of p instead of -ln(1 - p)."""
    wrong = Superposition(FEW.features, FEW.probabilities)
    wrong.__dict__["_rates"] = np.cumsum(FEW.probabilities)
    codes = wrong.codes(40_000, np.random.default_rng(1))
    share = (codes != 0).sum(axis=0)[0] / 40_000
    assert share == pytest.approx(1 - np.exp(-0.9), abs=0.02)
    assert stats.binomtest(int(share * 40_000), 40_000, 0.9).pvalue < 1e-6


def test_strengths_are_lognormal_and_samples_are_sums():
    ((acts, codes),) = FEW.samples(20_000, 20_000, seed=2)
    logs = np.log(codes.data.astype(float))
    assert stats.kstest(logs / SIGMA, "norm").pvalue > 1e-4
    assert acts.dtype == np.float32
    np.testing.assert_allclose(acts, codes.toarray() @ FEW.features, atol=1e-5)


def test_batches_are_of_one_stream_and_the_last_may_be_smaller():
    sizes = [len(acts) for acts, _ in FEW.samples(25, 10, seed=3)]
    assert sizes == [10, 10, 5]
    first, again = (next(FEW.samples(25, 10, seed=3))[0] for _ in range(2))
    assert (first == again).all()
    assert (next(FEW.samples(25, 10, seed=4))[0] != first).any()


def test_worlds_of_the_paper():
    constant = new_world("constant", n_features=3_200, d_in=100, n_active=20, seed=0)
    assert (constant.probabilities == 0.00625).all()
    assert np.linalg.norm(constant.features, axis=1) == pytest.approx(1, abs=1e-6)
    varied = new_world("log-uniform", n_features=3_200, d_in=100, n_active=20, seed=0)
    exponents = np.log10(varied.probabilities)
    assert stats.kstest((exponents + 5.5) / 4.3, "uniform").pvalue > 1e-4
    assert varied.probabilities.sum() == pytest.approx(20, abs=3)


def test_children_are_active_only_with_their_parents_and_without_their_siblings():
    world = new_world("hierarchy", n_features=160, d_in=16, n_active=1, seed=0)
    ((acts, codes),) = world.samples(2_000, 2_000, seed=1)
    on = codes.toarray() > 0
    (root,) = world.model.hierarchy.roots
    assert len(root.children) == 4
    child_of = [child.feature_index for child in root.children]
    children = on[:, child_of]
    assert children.any()
    assert on[children.any(axis=1), root.feature_index].all()
    assert children.sum(axis=1).max() == 1
    np.testing.assert_allclose(acts, codes.toarray() @ world.features, atol=1e-4)
    again = next(world.samples(50, 50, seed=1))[0]
    assert (again == next(world.samples(50, 50, seed=1))[0]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "flat"}, "world is one of"),
        ({"d_in": 1}, "d_in"),
        ({"n_active": 100}, "n_active"),
        ({"name": "hierarchy"}, "too few for a hierarchy"),
    ],
)
def test_worlds_that_are_refused(change, said):
    settings = {"name": "constant", "n_features": 100, "d_in": 20, "n_active": 3, "seed": 0}
    settings |= change
    with pytest.raises(ValueError, match=said):
        new_world(settings.pop("name"), **settings)


@pytest.mark.parametrize(
    ("probabilities", "sigma", "said"),
    [
        (np.array([0.1]), 0.25, "as many firing probabilities"),
        (np.array([0.1, 1.0, 0.1, 0.1]), 0.25, "lie in"),
        (FEW.probabilities, -1.0, "sigma"),
    ],
)
def test_superpositions_that_are_refused(probabilities, sigma, said):
    with pytest.raises(ValueError, match=said):
        Superposition(FEW.features, probabilities, sigma)
