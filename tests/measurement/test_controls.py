"""Any proxy in place of the SAE: its pool is masked before decoding, and its certificate is that of
an SAE with those losses."""

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, make_sae
from synthetic_losses import ALPHA, HI, make_losses

from saecert import certify, collect
from saecert.measurement.controls import as_sae, best_atoms, mix, mixed, pooled, random_encoder
from saecert.measurement.proxies import (
    Proxy,
    full,
    permuted_dictionary,
    pool,
    random_decoder,
    shuffled_latents,
)
from saecert.measurement.site import Site
from saecert.subjects.forward import native_acts

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def site():
    acts = torch.randn(2, 30, D_MODEL, generator=torch.Generator().manual_seed(0)) * 2
    return Site(acts, make_sae(HOOK), np.arange(2, dtype=np.uint64), first=1)


def test_the_pool_of_the_reconstruction_is_the_pool(site):
    some = pool(np.arange(0, D_SAE, 2), D_SAE)
    again = pooled(Proxy("again", lambda site: site.decode(site.latents), "again"), some)
    torch.testing.assert_close(
        again.replace(site), site.decode(site.latents * some.kept), rtol=0, atol=0
    )
    torch.testing.assert_close(again.replace(site), some.replace(site))
    assert again.name == f"again {some.name}" and some.key in again.key and again.kept is None


def test_of_two_pools_what_both_have_is_left(site):
    first = np.arange(0, 0 + D_SAE // 2)
    second = np.arange(D_SAE // 4, D_SAE // 4 + D_SAE // 2)
    both = pool(np.intersect1d(first, second), D_SAE)
    torch.testing.assert_close(
        pooled(pool(first, D_SAE), pool(second, D_SAE)).replace(site), both.replace(site)
    )


@pytest.mark.parametrize(
    "proxy",
    [shuffled_latents(), permuted_dictionary(D_SAE), random_decoder(D_SAE, D_MODEL)],
    ids=lambda p: p.name,
)
def test_a_pool_cuts_down_any_proxy_and_all_latents_leave_it_as_it_is(site, proxy):
    _ = site.recons  # what the site has computed already must not leak into the pooled proxy
    everything = pool(np.arange(D_SAE), D_SAE)
    nothing = pool(np.arange(0), D_SAE)
    torch.testing.assert_close(
        pooled(proxy, everything).replace(site), proxy.replace(site), rtol=0, atol=0
    )
    bias = site.decode(torch.zeros_like(site.latents))
    torch.testing.assert_close(pooled(proxy, nothing).replace(site), bias)
    half = pooled(proxy, pool(np.arange(D_SAE // 2), D_SAE)).replace(site)
    assert not torch.equal(half, proxy.replace(site)) and not torch.equal(half, bias)


def test_the_mask_is_on_the_atoms_that_are_written_with(site):
    proxy = permuted_dictionary(D_SAE)
    atom = 5
    (source,) = torch.nonzero(
        proxy.replace(Site(site.acts, site.sae, site.ids)).new_tensor(_sources(proxy)) == atom
    )[0]
    alone = pooled(proxy, pool(np.array([atom]), D_SAE)).replace(site) - site.sae.b_dec
    torch.testing.assert_close(alone, site.latents[..., source, None] * site.sae.W_dec[atom])


def _sources(proxy):
    """The atom that each latent writes with."""
    sae = make_sae(HOOK)
    unit = Site(torch.zeros(1, 1, D_MODEL), sae, np.zeros(1, dtype=np.uint64))
    written = []
    for latent in range(D_SAE):
        unit.__dict__["latents"] = torch.nn.functional.one_hot(
            torch.tensor([[latent]]), D_SAE
        ).float()
        seen = []
        sae.decode = lambda codes, seen=seen: seen.append(codes) or torch.zeros(1, 1, D_MODEL)
        proxy.replace(unit)
        written.append(int(seen[0].argmax()))
    return written


def test_a_control_is_certified_like_an_sae():
    clean = np.full(50, 4.0)
    control = np.full(50, 5.0)
    cut = np.full(50, 5.5)
    losses = make_losses(clean, full=np.full(50, 4.1), pools={8: np.full(50, 4.2)})
    losses.loss.update({"odd": control[None], "odd pool_8": cut[None]})
    record = as_sae(losses, "odd")
    terms = certify(record, pool=8, eps=()).terms
    assert terms == {
        "proxy risk": 5.5,
        "reconstruction gap": 1.0,
        "pool mismatch": 0.5,
        "complexity": pytest.approx(terms["complexity"]),
    }
    assert certify(record, pool=16, eps=()).terms["pool mismatch"] == 0 and record.pool_sizes == (
        8,
        16,
    )
    assert (
        record.provenance["proxy"] == "odd"
        and record.discovery is None
        and not record.outside_firings
    )
    assert record.fingerprint() != losses.fingerprint() and "odd" in record.loss


def test_the_model_as_its_own_proxy_has_only_complexity():
    certificate = certify(
        as_sae(make_losses(np.linspace(3, 5, 50), full=np.full(50, 9.0)), "clean"), pool=16, eps=()
    )
    assert certificate.terms["reconstruction gap"] == 0 and certificate.terms[
        "proxy risk"
    ] == pytest.approx(4.0)
    assert certificate.bound == pytest.approx(certificate.direct) and certificate.bound < HI


def test_pools_that_were_not_measured_for_the_control_are_not_borrowed_from_the_sae():
    losses = make_losses(np.full(20, 4.0), pools={8: np.full(20, 4.2)})
    assert as_sae(losses, "clean").pool_sizes == (16,)
    with pytest.raises(ValueError, match="a pool of 8 latents was not measured"):
        certify(as_sae(losses, "clean"), pool=8, eps=())
    with pytest.raises(KeyError, match="'odd' was not measured; there are clean, full, pool_8"):
        as_sae(losses, "odd")


def test_measured_controls_agree_with_the_sae_where_they_are_the_sae(subject, corpora):
    some = pool(np.arange(D_SAE // 2), D_SAE)
    twin = Proxy("twin", lambda site: site.decode(site.latents), "twin")
    losses = collect(
        subject,
        corpora["certification"],
        HOOK,
        controls=False,
        extra=[full_again(), some, pooled(twin, some)],
        progress=False,
    )
    assert np.array_equal(losses.at("twin pool_32", ALPHA), losses.at("pool_32", ALPHA))
    assert np.array_equal(as_sae(losses, "again").at("full", ALPHA), losses.at("full", ALPHA))


def full_again():
    return Proxy("again", full().replace, "again")


def test_best_atoms_are_found_again_and_a_latent_that_never_fires_gets_none():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 8, generator=generator).relu()
    atoms = torch.randn(8, 3, generator=generator)
    torch.testing.assert_close(best_atoms(codes, codes @ atoms), atoms, atol=1e-2, rtol=1e-2)
    codes[:, 5] = 0.0
    assert (best_atoms(codes, codes @ atoms)[5] == 0).all()


def test_mixing_keeps_what_whole_blocks_write():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(5, 27, generator=generator).relu()
    atoms = torch.randn(27, 7, generator=generator)
    new_codes = mix(codes, 8)
    new_atoms = mix(atoms.T, 8).T
    for k in (8, 16, 24, 27):
        torch.testing.assert_close(new_codes[:, :k] @ new_atoms[:k], codes[:, :k] @ atoms[:k])
    assert (new_codes != 0).sum() > 1.5 * (codes != 0).sum()
    assert torch.equal(new_codes[:, 24:], codes[:, 24:])


def test_mixed_latents_reconstruct_what_the_sae_does_and_so_do_their_pools(site):
    order = np.random.default_rng(0).permutation(D_SAE)
    proxy = mixed(site.sae, order, 8)
    torch.testing.assert_close(proxy.replace(site), site.recons, atol=1e-5, rtol=1e-4)
    cut = pooled(proxy, pool(np.arange(16), D_SAE))
    expected = pool(order[:16], D_SAE).replace(site)
    torch.testing.assert_close(cut.replace(site), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("block", [0, 3, 128])
def test_blocks_are_powers_of_two_that_fit(site, block):
    with pytest.raises(ValueError, match=f"power of two of at most 64, got {block}"):
        mixed(site.sae, np.arange(D_SAE), block)


def test_a_random_encoder_with_more_latents_reconstructs_better(subject, corpora):
    discovery = corpora["discovery"]
    tokens = torch.from_numpy(discovery.tokens.astype(np.int64))
    acts = native_acts(subject.model, tokens, HOOK)
    mean = acts[:, 1:].mean(dim=(0, 1))
    site = Site(acts, subject.sae_at(HOOK), discovery.ids, first=1)
    errors = []
    for k in (2, 8, 64):
        proxy = random_encoder(subject, discovery, HOOK, mean, k)
        assert proxy.name == f"random_{k}"
        errors.append((proxy.replace(site) - acts)[:, 1:].square().mean().item())
    assert errors == sorted(errors, reverse=True) and errors[2] < 0.5 * acts.var().item()
    other = random_encoder(subject, discovery, HOOK, mean, 8, seed=1)
    assert other.key != random_encoder(subject, discovery, HOOK, mean, 8).key
    with pytest.raises(ValueError, match="65 active latents asked of a random encoder of 64"):
        random_encoder(subject, discovery, HOOK, mean, 65)
