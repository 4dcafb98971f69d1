"""Latents to look at: those of most attribution, where they are strongest, what they are worth."""

import numpy as np
import pytest
import torch

from saecert import collect
from saecert.dictionaries.latents import (
    AFTER,
    BEFORE,
    chosen_latents,
    logit_effect,
    removed,
    strongest,
)
from saecert.dictionaries.quantities import KINDS, RANDOM, TRAINED
from saecert.dictionaries.untrained import untrained
from saecert.measurement.controls import best_atoms
from saecert.measurement.proxies import Proxy
from saecert.measurement.survey import attribution, survey
from saecert.subjects.forward import native_acts

HOOK = "blocks.0.hook_resid_post"
QUIET = {"batch_size": None, "progress": False}


@pytest.fixture
def found(subject, corpora):
    text = corpora["discovery"]
    return strongest(subject, text, [HOOK], n_latents=4, n_places=3, n_tokens=2, progress=False)[
        HOOK
    ]


def codes_of(subject, corpus):
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64))
    codes = subject.sae_at(HOOK).encode(native_acts(subject.model, tokens, HOOK))
    return codes.detach().numpy()


def test_latents_are_those_of_most_attribution(subject, corpora, found):
    moved = attribution(subject, corpora["discovery"], HOOK, progress=False)
    latents = found["trained latents"]
    assert latents.tolist() == np.argsort(-moved, kind="stable")[:4].tolist()
    np.testing.assert_allclose(found["trained share"], moved[latents] / moved.sum())
    fires = codes_of(subject, corpora["discovery"])[:, 1:] != 0
    np.testing.assert_allclose(found["trained firing"], fires.mean(axis=(0, 1))[latents])


def test_places_are_the_strongest_and_windows_stand_around_them(subject, corpora, found):
    corpus = corpora["discovery"]
    codes = codes_of(subject, corpus)
    codes[:, 0] = 0  # BOS does not count
    for row, latent in enumerate(found["trained latents"]):
        mine = codes[..., latent]
        for rank, (sequence, position) in enumerate(found["trained places"][row]):
            peak = np.sort(mine.max(axis=1))[::-1][rank]
            assert mine[sequence, position] == pytest.approx(peak, rel=1e-5)
            assert found["trained peaks"][row, rank] == pytest.approx(peak, rel=1e-5)
            assert found["trained ids"][row, rank] == corpus.ids[sequence] >> np.uint64(11)
            window = found["trained windows"][row, rank]
            assert len(window) == BEFORE + 1 + AFTER and window[BEFORE] == pytest.approx(1)
            after = mine[sequence, position : position + AFTER + 1] / peak
            np.testing.assert_allclose(window[BEFORE:][: len(after)], after, atol=1e-5)
            before = mine[sequence, max(0, position - BEFORE) : position] / peak
            np.testing.assert_allclose(window[BEFORE - len(before) : BEFORE], before, atol=1e-5)


def test_no_text_is_kept_but_single_tokens(subject, found):
    vocabulary = {subject.tokenizer.decode([token]) for token in range(len(subject.tokenizer))}
    words = {
        str(word)
        for name, array in found.items()
        if array.dtype.kind not in "iuf"
        for word in array.ravel()
    }
    assert words <= vocabulary | {""}
    assert (found["trained same"] > 0).all() and (found["trained same"] <= 1).all()


def test_a_latent_that_never_fires_has_no_place(subject, corpora):
    text = corpora["discovery"]
    count = subject.sae_at(HOOK).cfg.d_sae
    whole = strongest(subject, text, [HOOK], n_latents=count, n_places=2, progress=False)[HOOK]
    silent = whole["trained firing"] == 0
    assert silent.any(), "the tiny SAE has rare latents"
    assert (whole["trained places"][silent] == -1).all()
    assert (whole["trained windows"][silent] == 0).all()
    assert (whole["trained places"][~silent][:, 0] >= 0).all()


def test_costs_are_those_of_a_proxy_without_the_latent(subject, corpora):
    sample, discovery = corpora["certification"], corpora["discovery"]
    costs = removed(subject, sample, [HOOK], discovery=discovery, n_latents=2, progress=False)[HOOK]
    chosen = chosen_latents(subject, discovery, HOOK, 2, 0, QUIET)

    def without(latent):
        def replace(site):
            codes = site.latents.clone()
            codes[..., latent] = 0
            return site.decode(codes)

        return Proxy(f"less_{latent}", replace, f"less {latent}")

    for kind in KINDS:
        proxies = [without(int(latent)) for latent in chosen[kind].latents]
        options = {"discovery": None, "extra": proxies, "allow_bad_sae": True, "progress": False}
        record = collect(chosen[kind].subject, sample, HOOK, alphas=(0.5,), **options)
        np.testing.assert_allclose(costs[f"{kind} full"], record.loss["full"][0], atol=1e-5)
        for column, proxy in enumerate(proxies):
            by_hand = record.loss[proxy.name][0] - record.loss["full"][0]
            np.testing.assert_allclose(costs[f"{kind} cost"][:, column], by_hand, atol=1e-5)
    np.testing.assert_allclose(costs["model"], record.loss["clean"][0], atol=1e-5)
    assert np.abs(costs["trained cost"]).max() > 1e-3


def test_removing_a_silent_latent_costs_nothing(subject, corpora):
    sample, discovery = corpora["certification"], corpora["discovery"]
    count = subject.sae_at(HOOK).cfg.d_sae
    options = {"discovery": discovery.take(12), "n_latents": count, "progress": False}
    costs = removed(subject, sample.take(8), [HOOK], **options)[HOOK]["trained cost"]
    chosen = chosen_latents(subject, discovery.take(12), HOOK, count, 0, QUIET)
    latents = chosen[TRAINED].latents
    fires = (codes_of(subject, sample.take(8))[:, 1:] != 0).any(axis=1)[:, latents]
    assert (costs[~fires] == 0).all() and (~fires).any()


def test_the_untrained_sae_has_random_directions_and_fitted_atoms(subject, corpora):
    discovery = corpora["discovery"]
    surveyed = survey(subject, discovery, HOOK, progress=False)
    other = untrained(subject, discovery, HOOK, k=3, mean=surveyed.mean)
    sae = other.sae_at(HOOK)
    torch.testing.assert_close(sae.W_enc.norm(dim=0), torch.ones(sae.cfg.d_sae))
    tokens = torch.from_numpy(discovery.tokens.astype(np.int64))
    acts = native_acts(subject.model, tokens, HOOK)[:, 1:].flatten(0, 1)
    codes = sae.encode(acts)
    assert ((codes != 0).sum(dim=1) <= 3).all()
    by_hand = ((acts - surveyed.mean) @ sae.W_enc).relu().topk(3).values
    torch.testing.assert_close(codes.topk(3).values, by_hand)
    torch.testing.assert_close(sae.W_dec, best_atoms(codes, acts - surveyed.mean))
    assert chosen_latents(subject, discovery, HOOK, 3, 0, QUIET)[RANDOM].subject.saes.keys() == {
        HOOK
    }


def test_the_logit_effect_by_hand(subject):
    effect = logit_effect(subject, HOOK, np.array([2, 5]))
    model = subject.model.original_model
    atom = subject.sae_at(HOOK).W_dec[5]
    scaled = atom / (atom.square().mean() + model.config.rms_norm_eps).sqrt()
    logits = model.lm_head.weight @ (model.model.norm.weight * scaled)
    torch.testing.assert_close(effect[1], logits - logits.mean(), rtol=1e-4, atol=1e-4)


def test_numbers_that_cannot_be_are_refused(subject, corpora):
    with pytest.raises(ValueError, match="n_places must be at least 1, got 0"):
        strongest(subject, corpora["discovery"], [HOOK], n_places=0)
    with pytest.raises(ValueError, match="65 active latents asked of an untrained SAE of 64"):
        untrained(subject, corpora["discovery"], HOOK, k=65, mean=torch.zeros(16))
