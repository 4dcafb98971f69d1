"""Proxies keep what they must keep."""

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, make_sae

from saecert.proxies import Site, full, mean_ablation, pca, pool, zero_ablation


@pytest.fixture
def site():
    acts = torch.randn(2, 7, D_MODEL, generator=torch.Generator().manual_seed(0)) * 2
    return Site(acts, make_sae("blocks.1.hook_resid_post"), np.arange(2, dtype=np.uint64))


def test_pools_are_nested_and_end_in_the_full_sae(site):
    order = np.random.default_rng(0).permutation(D_SAE)
    torch.testing.assert_close(pool(order, D_SAE).replace(site), full().replace(site))
    kept = torch.zeros(D_SAE).index_fill(0, torch.from_numpy(order[:10]), 1.0)
    torch.testing.assert_close(pool(order[:10], D_SAE).replace(site), site.sae.decode(site.latents * kept))
    assert pool(order[:10], D_SAE).name == "pool_10" and pool(order[:10], D_SAE).key == pool(order[:10][::-1], D_SAE).key
    assert pool(order[:10], D_SAE).key != pool(order[1:11], D_SAE).key


def test_dense_controls(site):
    assert (zero_ablation().replace(site) == 0).all()
    mean = torch.arange(D_MODEL, dtype=torch.float32)
    assert (mean_ablation(mean).replace(site) == mean).all()


def test_pca_projects_and_keeps_its_span(site):
    flat = site.acts.flatten(0, 1)
    mean = flat.mean(0)
    basis = torch.linalg.svd(flat - mean, full_matrices=False).Vh
    torch.testing.assert_close(pca(mean, basis).replace(site), site.acts, atol=1e-5, rtol=1e-4)
    once = pca(mean, basis[:4]).replace(site)
    torch.testing.assert_close(pca(mean, basis[:4]).replace(Site(once, site.sae, site.ids)), once, atol=1e-5, rtol=1e-4)


def test_pool_outside_the_dictionary():
    with pytest.raises(ValueError, match="latent 64 is outside the dictionary, which has latents 0 to 63"):
        pool(np.array([1, 64]), D_SAE)
    with pytest.raises(ValueError, match="repeated"):
        pool(np.array([1, 1]), D_SAE)
