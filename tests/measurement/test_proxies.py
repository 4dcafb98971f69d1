"""Proxies keep what they must keep, destroy what they must destroy, and do so whatever the
batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_MODEL, D_SAE, make_sae
from sae_lens import SAE, StandardSAE, StandardSAEConfig

from saecert.measurement.proxies import (
    donor_codes,
    full,
    mean_ablation,
    noise,
    pca,
    permuted_dictionary,
    pool,
    random_decoder,
    shuffled_latents,
    shuffled_positions,
    top,
    zero_ablation,
)
from saecert.measurement.site import Site, atom_norms
from saecert.measurement.survey import survey
from saecert.measurement.sweep import sweep

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture
def site():
    """Two sequences of 30 tokens; the first token of each is not spliced."""
    acts = torch.randn(2, 30, D_MODEL, generator=torch.Generator().manual_seed(0)) * 2
    return Site(acts, make_sae(HOOK), np.arange(2, dtype=np.uint64), first=1)


def codes_of(proxy, site):
    """The codes that a proxy decodes."""
    seen = []
    decode = site.sae.decode
    site.sae.decode = lambda codes: seen.append(codes) or decode(codes)
    proxy.replace(site)
    return seen[-1]


def test_pools_are_nested_and_end_in_the_full_sae(site):
    order = np.random.default_rng(0).permutation(D_SAE)
    torch.testing.assert_close(pool(order, D_SAE).replace(site), full().replace(site))
    mask = torch.zeros(D_SAE).index_fill(0, torch.from_numpy(order[:10]), 1.0)
    torch.testing.assert_close(
        pool(order[:10], D_SAE).replace(site), site.sae.decode(site.latents * mask)
    )
    assert (
        pool(order[:10], D_SAE).name == "pool_10"
        and pool(order[:10], D_SAE).key == pool(order[:10][::-1], D_SAE).key
    )
    assert pool(order[:10], D_SAE).key != pool(order[1:11], D_SAE).key
    assert torch.equal(pool(order[:10], D_SAE).kept, mask) and full().kept is None


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("standard", {}),
        ("standard", {"normalize_activations": "layer_norm"}),
        ("gated", {}),
        ("jumprelu", {"normalize_activations": "constant_norm_rescale"}),
        ("topk", {"k": 5}),
        ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": 5}),
        ("matching_pursuit", {"residual_threshold": 0.5, "apply_b_dec_to_input": False}),
    ],
)
def test_a_pool_of_any_sae_is_what_the_sae_decodes_from_its_latents(site, kind, settings):
    sae = SAE.from_dict(
        {"architecture": kind, "d_in": D_MODEL, "d_sae": D_SAE, **settings}
    ).requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for parameter in sae.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    site = replace(site, sae=sae)
    mask = torch.zeros(D_SAE).index_fill(0, torch.arange(0, D_SAE, 2), 1.0)
    expected = site.decode(site.latents * mask)
    assert (expected - site.recons).abs().max() > 0.1
    torch.testing.assert_close(
        pool(np.arange(0, D_SAE, 2), D_SAE).replace(site), expected, atol=1e-4, rtol=1e-4
    )
    silent = replace(site, sae=make_sae(HOOK))
    silent.sae.threshold.data.fill_(1e6)
    assert torch.equal(silent.decode_only(mask), silent.recons) and not len(silent.active[0])


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
    torch.testing.assert_close(
        pca(mean, basis[:4]).replace(Site(once, site.sae, site.ids)), once, atol=1e-5, rtol=1e-4
    )


def test_shuffled_latents_keep_each_token_s_activations_and_move_them_anew_at_each_token(site):
    codes = codes_of(shuffled_latents(seed=3), site)
    torch.testing.assert_close(
        codes.sort(dim=-1).values, site.latents.sort(dim=-1).values, rtol=0, atol=0
    )
    assert ((codes != 0) & (site.latents != 0)).sum() < 0.5 * (codes != 0).sum(), (
        "nearly all are in another place"
    )
    repeated = Site(site.acts[:1, :1].expand(1, 30, D_MODEL), site.sae, site.ids[:1])
    assert len(torch.unique(codes_of(shuffled_latents(), repeated)[0] != 0, dim=0)) > 25, (
        "equal tokens are shuffled differently"
    )
    silent = Site(torch.zeros(1, 5, D_MODEL), site.sae, site.ids[:1])
    assert (codes_of(shuffled_latents(), silent) == 0).all()


def test_every_latent_is_drawn_equally_often_by_the_shuffling():
    acts = torch.randn(1, 4000, D_MODEL, generator=torch.Generator().manual_seed(1)) * 2
    site = Site(acts, make_sae(HOOK), np.array([7], dtype=np.uint64))
    on = (codes_of(shuffled_latents(), site) != 0).double()[0]
    expected = on.mean(dim=0).mean()
    assert (on.mean(dim=0) - expected).abs().max() < 5 * (expected * (1 - expected) / 4000).sqrt()


def test_permuted_dictionary_is_one_permutation_that_moves_every_latent(site):
    codes = codes_of(permuted_dictionary(D_SAE, seed=1), site)
    torch.testing.assert_close(
        codes.sort(dim=-1).values, site.latents.sort(dim=-1).values, rtol=0, atol=0
    )
    one_hot = Site(site.acts[:, :1], site.sae, site.ids)
    one_hot.__dict__["latents"] = torch.eye(D_SAE)[None]
    moved = codes_of(permuted_dictionary(D_SAE, seed=1), one_hot)[0]
    assert (
        (moved.sum(dim=0) == 1).all()
        and (moved.sum(dim=1) == 1).all()
        and moved.diagonal().sum() == 0
    )
    torch.testing.assert_close(codes, site.latents @ moved)


def test_shuffled_positions_keep_the_codes_of_the_sequence_but_not_their_places(site):
    codes = codes_of(shuffled_positions(seed=1), site)
    for shuffled, real in zip(codes, site.latents, strict=True):
        assert sorted(shuffled.tolist()) == sorted(real.tolist())
        assert torch.equal(shuffled[0], real[0]), "the position that is not spliced stays"
        assert (shuffled != real).any(dim=-1)[1:].float().mean() > 0.7
    assert not torch.equal(codes[0], codes_of(shuffled_positions(seed=2), site)[0])


def test_donor_codes_are_those_of_other_text_and_ignore_the_sequence(subject, corpora, site):
    donors = corpora["discovery"].take(5)
    short = Site(site.acts[:, : donors.n_ctx], subject.sae_at(HOOK), site.ids, first=1)
    other = Site(short.acts * 2, short.sae, site.ids, first=1)
    _, cache = subject.model.run_with_cache(torch.from_numpy(donors.tokens.astype(np.int64)))
    real = short.sae.decode(short.sae.encode(cache[HOOK]))
    replaced = donor_codes(subject, donors, HOOK).replace(short)
    assert all(min((row - donor).abs().max() for donor in real) < 1e-5 for row in replaced)
    assert torch.equal(replaced, donor_codes(subject, donors, HOOK).replace(other))
    many = Site(short.acts[:1].repeat(60, 1, 1), short.sae, np.arange(60, dtype=np.uint64))
    assert len(torch.unique(donor_codes(subject, donors, HOOK).replace(many), dim=0)) == 5, (
        "every donor has its turn"
    )
    with pytest.raises(ValueError, match="the donors have 24 tokens, the sequences 30"):
        donor_codes(subject, donors, HOOK).replace(site)


def test_random_decoder_writes_unit_vectors_and_matching_restores_the_norm(site):
    with torch.no_grad():
        site.sae.b_dec += 0.1
    plain = random_decoder(D_SAE, D_MODEL, seed=1).replace(site) - site.sae.b_dec
    matched = random_decoder(D_SAE, D_MODEL, seed=1, match_norm=True).replace(site) - site.sae.b_dec
    real = site.recons - site.sae.b_dec
    torch.testing.assert_close(matched.norm(dim=-1), real.norm(dim=-1))
    torch.testing.assert_close(
        torch.nn.functional.cosine_similarity(matched, plain, dim=-1), torch.ones(2, 30)
    )
    assert torch.nn.functional.cosine_similarity(matched, real, dim=-1).mean().abs() < 0.15
    one_hot = Site(site.acts[:1, :1], site.sae, site.ids[:1])
    one_hot.__dict__["latents"] = torch.eye(D_SAE)[None]
    atoms = random_decoder(D_SAE, D_MODEL, seed=1).replace(one_hot)[0] - site.sae.b_dec
    torch.testing.assert_close(atoms.norm(dim=-1), torch.ones(D_SAE))
    torch.testing.assert_close(plain, site.latents @ atoms, atol=1e-5, rtol=1e-4)


def test_top_keeps_the_largest_activations_of_each_token(site):
    full_codes = site.latents
    codes = codes_of(top(2), site)
    assert torch.equal((codes != 0).sum(dim=-1), (full_codes != 0).sum(dim=-1).clamp_max(2))
    assert torch.equal(codes[codes != 0], full_codes[codes != 0])
    left_out = (full_codes * (codes == 0)).amax(dim=-1)
    smallest = codes.masked_fill(codes == 0, torch.inf).amin(dim=-1)
    assert (left_out <= smallest).all()
    assert torch.allclose(top(10_000).replace(site), site.recons, atol=1e-5)
    with pytest.raises(ValueError, match="at least 1"):
        top(0)


def test_noise_has_the_norm_of_the_error_and_none_of_its_direction(site):
    added = noise(seed=2).replace(site) - site.acts
    error = site.recons - site.acts
    torch.testing.assert_close(added.norm(dim=-1), error.norm(dim=-1))
    assert torch.nn.functional.cosine_similarity(added, error, dim=-1).mean().abs() < 0.15
    assert (
        torch.nn.functional.cosine_similarity(added[:, 1:], added[:, :-1], dim=-1).mean().abs()
        < 0.15
    ), "drawn anew at each position"


@pytest.mark.parametrize("proxy", [shuffled_latents(), noise()], ids=lambda proxy: proxy.name)
def test_a_prefix_gets_the_same_draws(site, proxy):
    prefix = Site(site.acts[:, :7], site.sae, site.ids, first=1)
    torch.testing.assert_close(proxy.replace(prefix), proxy.replace(site)[:, :7])


def test_another_seed_is_another_proxy():
    sized = (lambda seed: permuted_dictionary(8, seed), lambda seed: random_decoder(8, 4, seed))
    for make in (shuffled_latents, shuffled_positions, noise, *sized):
        assert make(1).key != make(2).key and make(1).name == make(2).name


def test_losses_of_every_proxy_are_the_same_at_batch_sizes_1_and_32(
    subject, corpora, tmp_path, monkeypatch
):
    corpus = corpora["certification"].take(20)
    discovery = corpora["discovery"]
    surveyed = survey(subject, discovery, HOOK, progress=False)
    chosen = [
        full(),
        pool(surveyed.ranking()[:20], D_SAE),
        mean_ablation(surveyed.mean),
        zero_ablation(),
        pca(surveyed.mean, surveyed.components(4)),
    ]
    chosen += [
        shuffled_latents(),
        permuted_dictionary(D_SAE),
        shuffled_positions(),
        donor_codes(subject, discovery.take(8), HOOK),
        noise(),
    ]
    chosen += [random_decoder(D_SAE, D_MODEL, match_norm=match) for match in (False, True)]
    measured = []
    for batch_size in (1, 32):
        monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / str(batch_size)))
        settings = {"alphas": (0.5,), "batch_size": batch_size, "progress": False}
        measured.append(sweep(subject, corpus, {HOOK: chosen}, **settings)[HOOK])
    for name in measured[0].loss:
        np.testing.assert_allclose(
            measured[0].loss[name], measured[1].loss[name], atol=1e-5, err_msg=name
        )
        assert (
            name == "clean"
            or np.abs(measured[0].loss[name] - measured[0].loss["clean"]).max() > 1e-4
        )
    assert len(measured[0].loss) == 13 and measured[1].provenance["batch_dependence"] < 1e-5


def test_an_sae_that_rescales_at_run_time_decodes_any_codes_at_the_scale_of_this_batch():
    torch.manual_seed(0)
    sae = StandardSAE(
        StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE, normalize_activations="constant_norm_rescale")
    )
    site = Site(torch.randn(2, 5, D_MODEL) * 3, sae, np.arange(2, dtype=np.uint64))
    torch.testing.assert_close(pool(np.arange(D_SAE), D_SAE).replace(site), site.recons)
    torch.testing.assert_close(site.decode(site.latents, sae.W_dec), site.recons)


def test_atom_norms_are_those_of_what_a_latent_writes(site):
    with torch.no_grad():
        site.sae.W_dec *= torch.linspace(0.5, 2, D_SAE)[:, None]
    torch.testing.assert_close(atom_norms(site.sae), torch.linspace(0.5, 2, D_SAE))


def test_pool_outside_the_dictionary():
    with pytest.raises(
        ValueError, match="latent 64 is outside the dictionary, which has latents 0 to 63"
    ):
        pool(np.array([1, 64]), D_SAE)
    with pytest.raises(ValueError, match="repeated"):
        pool(np.array([1, 1]), D_SAE)
