"""Horizon KL against hidden states of the models themselves, and its errors."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import identity_sae, make_texts

from saecert import load_corpus, load_subject
from saecert.certificates.divergence import divergence_range
from saecert.dictionaries import horizon as horizons
from saecert.dictionaries.horizon import chosen_horizons, divergences, horizon, largest_smoothed_kl
from saecert.dictionaries.quantities import CEILING, OUTPUT, PERTURBATIONS, divergence_name
from saecert.measurement.proxies import noise
from saecert.measurement.site import Site

HOOK = "blocks.0.hook_resid_post"
ALPHA = 0.5


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def loaded(request, folders):
    subject = load_subject(folders[request.param])
    return subject, load_corpus(
        make_texts(30, seed=3), subject, split="certification", n_ctx=24
    ).take(5)


def parts_of(model):
    """Blocks, final norm and unembedding of the Hugging Face model, by its own names."""
    original = model.original_model
    body = original.model if hasattr(original, "model") else original.transformer
    blocks = body.layers if hasattr(body, "layers") else body.h
    norm = body.norm if hasattr(body, "norm") else body.ln_f
    return original, blocks, norm, original.lm_head


def residuals_by_hand(model, tokens, layer, changed=None):
    """The residual stream behind every block, with `changed` put in behind block `layer`."""
    original, blocks, _, _ = parts_of(model)
    seen = []

    def keep(module, args, output):
        states = output[0] if isinstance(output, tuple) else output
        if changed is not None and len(seen) == layer:
            states = changed
        seen.append(states)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    hooks = [block.register_forward_hook(keep) for block in blocks]
    try:
        original(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def kl_by_hand(model, clean, changed, alpha):
    """KL in bits of each position, in double precision."""
    _, _, norm, head = parts_of(model)
    p, q = (head(norm(states)).double().softmax(-1) for states in (clean, changed))
    p, q = ((1 - alpha) * x + alpha / x.shape[-1] for x in (p, q))
    return (p * (p / q).log2()).sum(-1)


@torch.no_grad()
def test_horizon_kl_by_hand(loaded):
    subject, sample = loaded
    measured = horizon(subject, sample, [HOOK], alpha=ALPHA, batch_size=2, progress=False)[HOOK]
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    clean = residuals_by_hand(subject.model, tokens, 0)
    site = Site(clean[0], subject.sae_at(HOOK), sample.ids, 1)
    replaced = {"SAE error": site.recons, "noise": noise(0).replace(site)}
    for perturbation, states in replaced.items():
        changed = residuals_by_hand(subject.model, tokens, 0, site.splice(states))
        for h, depth in {0: 0, 1: 1, OUTPUT: 2}.items():
            for alpha, divergence in {0: "KL", ALPHA: "smoothed KL"}.items():
                by_hand = kl_by_hand(subject.model, clean[depth], changed[depth], alpha)
                name = divergence_name(divergence, perturbation, h)
                expected = by_hand[:, 1:-1].mean(1)
                assert expected.min() > 0.01
                np.testing.assert_allclose(measured[name], expected, rtol=1e-3, atol=1e-5)


def test_all_blocks_on_is_the_output(loaded):
    subject, sample = loaded
    for hook_name, furthest in {HOOK: 2, "blocks.1.hook_resid_post": 1}.items():
        values = horizon(subject, sample, [hook_name], horizons=[furthest], progress=False)
        for perturbation in PERTURBATIONS:
            at = [
                values[hook_name][divergence_name("KL", perturbation, h)]
                for h in (furthest, OUTPUT)
            ]
            np.testing.assert_allclose(*at, rtol=1e-5, atol=1e-7)


@torch.no_grad()
def test_errors_are_of_one_length_and_bos_keeps_its_own(loaded):
    subject, sample = loaded
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    acts = residuals_by_hand(subject.model, tokens, 0)[0]
    site = Site(acts, subject.sae_at(HOOK), sample.ids, 1)
    lengths = [(x - acts).norm(dim=-1) for x in horizons._perturbed(site, 0)]
    assert len(lengths) == len(PERTURBATIONS)
    for length in lengths[1:]:
        torch.testing.assert_close(length, lengths[0], rtol=1e-4, atol=1e-5)


def test_values_do_not_depend_on_the_batch_or_the_chunk(loaded, monkeypatch, tmp_path):
    subject, sample = loaded
    first = horizon(subject, sample, batch_size=5, progress=False)
    assert list(first) == list(subject.hook_names)
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(horizons, "CHUNK_BYTES", 1)
    monkeypatch.setattr(horizons, "MIN_ROWS", 7)
    again = horizon(subject, sample, batch_size=2, progress=False)
    for hook_name, values in first.items():
        for name, rows in values.items():
            np.testing.assert_allclose(again[hook_name][name], rows, rtol=1e-3, atol=1e-5)


def test_an_exact_sae_moves_nothing(subject, corpora):
    hook_name = "blocks.1.hook_resid_post"
    exact = replace(subject, saes={hook_name: identity_sae(hook_name).requires_grad_(False)})
    values = horizon(exact, corpora["certification"].take(4), progress=False)[hook_name]
    ceiling = values.pop(CEILING)
    assert set(ceiling) == {largest_smoothed_kl(0.5, 320)}
    for name, rows in values.items():
        np.testing.assert_allclose(rows, 0, atol=1e-5, err_msg=name)


@torch.no_grad()
def test_smoothed_kl_reaches_its_ceiling_and_no_further(subject, monkeypatch):
    logits = torch.full((2, 320), -1e4)
    logits[0, 3] = logits[1, 5] = 0  # certain of different words
    monkeypatch.setattr(horizons.forward, "logits_of", lambda model, rows: rows)
    (plain, smoothed), (same, none) = divergences(
        subject.model, logits[:1], [logits[1:], logits[:1]], 0.01
    )
    ceiling = largest_smoothed_kl(0.01, 320)
    assert plain[0] > 1000 and same[0] == none[0] == 0
    assert smoothed[0] == pytest.approx(ceiling, rel=1e-5)
    assert ceiling == pytest.approx(divergence_range(0.01, 320))
    assert ceiling == pytest.approx(0.99 * math.log2((0.99 + 0.01 / 320) / (0.01 / 320)))


@pytest.mark.parametrize(
    ("hook_name", "n_blocks", "expected"),
    [
        ("blocks.0.hook_resid_pre", 6, [0, 1, 2, 4]),
        ("blocks.0.hook_resid_post", 6, [0, 1, 2, 4]),
        ("blocks.4.hook_resid_post", 6, [0]),
        ("blocks.5.hook_resid_post", 6, [0]),
        ("blocks.0.hook_mlp_out", 2, [0]),
        ("blocks.6.hook_resid_pre", 12, [0, 1, 2, 4]),
    ],
)
def test_default_horizons_stop_before_the_output(hook_name, n_blocks, expected):
    assert chosen_horizons(hook_name, n_blocks, None) == expected


def test_bad_settings(subject, corpora):
    sample = corpora["certification"].take(2)
    with pytest.raises(ValueError, match=r"^horizon 3: after .* come 2 of 3 blocks.* 0 to 2$"):
        horizon(subject, sample, [HOOK], horizons=[0, 3], progress=False)
    with pytest.raises(ValueError, match=r"^horizon -1"):
        horizon(subject, sample, [HOOK], horizons=[-1], progress=False)
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        horizon(subject, sample, [HOOK], alpha=1.0, progress=False)
    with pytest.raises(ValueError, match="hook"):
        horizon(subject, sample, ["blocks.2.hook_resid_post"], progress=False)
