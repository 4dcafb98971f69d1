"""Quality of an SAE on held-out activations, with and without outlier tokens."""

import numpy as np
import pytest
import torch
from conftest import identity_sae
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from saecert.training.figures import figures_line, held_out_figures, outlier_tokens

RNG = np.random.default_rng(0)
ACTS = RNG.normal(size=(400, 3)) * [4, 2, 1] + 5
OUTLIERS = np.array([[900.0, 0, 0], [-900.0, 0, 0]])
BOTH = np.concatenate([ACTS, OUTLIERS])


def zero_sae():
    """Reconstructs the origin, with no latent active."""
    sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=3, d_sae=6))
    with torch.no_grad():
        sae.W_dec.zero_()
        sae.threshold.fill_(1e6)
    return sae


def test_outliers_are_told_by_their_norm():
    assert outlier_tokens(BOTH).tolist() == [False] * 400 + [True] * 2
    assert not outlier_tokens(ACTS).any()


def test_an_exact_sae_explains_everything():
    figures = held_out_figures(identity_sae("blocks.0.hook_resid_post", 3), BOTH, k=1)
    assert figures["n_tokens"] == 402
    assert figures["outlier_share"] == pytest.approx(2 / 402)
    assert figures["l0"] == pytest.approx((3 * 400 + 2) / 402)
    assert figures["silent"] == pytest.approx(1 / 6), "the third coordinate is never negative"
    for explained in figures["explained_variance"].values():
        assert explained == pytest.approx(1, abs=1e-9)


def test_explained_variance_by_hand_with_and_without_outliers():
    figures = held_out_figures(zero_sae(), BOTH, k=1)
    assert figures["l0"] == 0 and figures["silent"] == 1
    for name, acts in (("all", BOTH), ("without_outliers", ACTS)):
        spread = np.square(acts - acts.mean(0)).sum()
        expected = 1 - np.square(acts).sum() / spread
        assert figures["explained_variance"][name] == pytest.approx(expected)
        singular = np.linalg.svd(acts - acts.mean(0), compute_uv=False) ** 2
        first = singular[0] / singular.sum()
        assert figures["pca_explained_variance"][name] == pytest.approx(first)
    pca = figures["pca_explained_variance"]
    assert pca["all"] > 0.99 > 0.85 > pca["without_outliers"], "two tokens are most of the variance"


def test_the_line_says_which_is_which():
    line = figures_line("blocks.0.hook_resid_post", held_out_figures(zero_sae(), BOTH, 1), 1)
    assert "without the 0.5 % of outlier tokens (PCA with 1: 0.99" in line
    assert "L0 0.0, 100.0 % silent" in line
