"""The survey against a plain computation on the whole cache of activations, the attribution against
finite differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_sae

from saecert.measurement.survey import RANKINGS, attribution, survey, survey_layers
from saecert.storage import cache_dir
from saecert.subjects.forward import native_acts

HOOK = "blocks.1.hook_resid_post"


def test_survey_by_hand(subject, corpora):
    corpus = corpora["discovery"]
    sae = make_sae(HOOK).requires_grad_(False)
    sae.W_dec *= torch.linspace(0.2, 3, len(sae.W_dec))[:, None]
    subject = replace(subject, saes={HOOK: sae})
    _, cache = subject.model.run_with_cache(torch.from_numpy(corpus.tokens.astype(np.int64)))
    acts = cache[HOOK][:, 1:]
    latents = subject.sae_at(HOOK).encode(acts)
    surveyed = survey(subject, corpus, HOOK, batch_size=7, progress=False)
    np.testing.assert_array_equal(surveyed.token_count, (latents > 0).sum((0, 1)).numpy())
    np.testing.assert_array_equal(surveyed.sequence_count, (latents > 0).any(1).sum(0).numpy())
    flat = acts.flatten(0, 1).double()
    recons = subject.sae_at(HOOK).decode(latents).flatten(0, 1).double()
    assert surveyed.fvu == pytest.approx(
        ((flat - recons).square().sum() / (flat - flat.mean(0)).square().sum()).item(), rel=1e-5
    )
    assert surveyed.l0 == pytest.approx((latents > 0).sum(-1).float().mean().item())
    assert surveyed.silent == (surveyed.token_count == 0).mean()
    written = latents[..., None] * subject.sae_at(HOOK).W_dec
    np.testing.assert_allclose(
        surveyed.energy, written.double().square().sum((0, 1, 3)).numpy(), rtol=1e-4
    )
    covariance = torch.cov(flat.T, correction=0).numpy()
    np.testing.assert_allclose(
        surveyed.directions.T * surveyed.variances @ surveyed.directions, covariance, atol=1e-5
    )
    assert (np.diff(surveyed.variances) <= 0).all()


def test_components_leave_the_share_of_variance_that_they_say(subject, corpora):
    surveyed = survey(subject, corpora["discovery"], HOOK, progress=False)
    acts = native_acts(
        subject.model, torch.from_numpy(corpora["discovery"].tokens.astype(np.int64)), HOOK
    )[:, 1:].flatten(0, 1)
    centred = acts - surveyed.mean
    k = surveyed.n_components(0.2)
    left = [
        (centred - centred @ c.T @ c).square().sum() / centred.square().sum()
        for c in (surveyed.components(k - 1), surveyed.components(k))
    ]
    assert left[1] <= 0.2 < left[0]
    assert surveyed.n_components(0.0) == 16 and surveyed.n_components(1.0) == 1
    with pytest.raises(ValueError, match="17 components asked of activations of width 16"):
        surveyed.components(17)


def test_rankings_are_descending_with_ties_by_index(subject, corpora):
    surveyed = survey(subject, corpora["discovery"], HOOK, progress=False)
    surveyed = replace(
        surveyed,
        attribution=attribution(subject, corpora["discovery"].take(4), HOOK, progress=False),
    )
    for rule, score in zip(
        RANKINGS, (surveyed.token_count, surveyed.energy, surveyed.attribution), strict=True
    ):
        order = surveyed.ranking(rule)
        assert (np.diff(score[order]) <= 0).all() and sorted(order.tolist()) == list(range(64))
        assert (np.diff(order)[np.diff(score[order]) == 0] > 0).all()
    assert len({tuple(surveyed.ranking(rule)) for rule in RANKINGS}) == 3
    with pytest.raises(
        ValueError, match="unknown ranking 'size'; there are frequency, energy, attribution"
    ):
        surveyed.ranking("size")
    with pytest.raises(ValueError, match="attribution was not measured"):
        replace(surveyed, attribution=None).ranking("attribution")


def test_surveys_of_several_hook_points_are_those_of_each(subject, corpora):
    together = survey_layers(subject, corpora["discovery"], subject.hook_names, progress=False)
    for hook_name, surveyed in together.items():
        alone = survey(subject, corpora["discovery"], hook_name, progress=False)
        for name, value in vars(alone).items():
            np.testing.assert_array_equal(vars(surveyed)[name], value, err_msg=name)


def spliced_bits(subject, tokens, codes):
    """Raw bits per token of one sequence, BOS native, `codes` decoded after it: a plain hooked
    forward."""
    sae = subject.sae_at(HOOK)
    logits = subject.model.run_with_hooks(
        tokens,
        fwd_hooks=[
            (HOOK, lambda acts, hook: torch.cat([acts[:, :1], sae.decode(codes)[:, 1:]], dim=1))
        ],
    )
    return torch.nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:]) / np.log(2)


def test_attribution_is_the_first_order_effect_of_removing_a_latent(subject, corpora):
    corpus = corpora["discovery"].take(3)
    sae = subject.sae_at(HOOK)
    expected = np.zeros(64)
    removed = []
    predicted = []
    for row in corpus.tokens.astype(np.int64):
        tokens = torch.from_numpy(row)[None]
        codes = sae.encode(native_acts(subject.model, tokens, HOOK)).detach().requires_grad_()
        loss = spliced_bits(subject, tokens, codes)
        effect = (torch.autograd.grad(loss, codes)[0] * codes)[0].detach()
        expected += effect.abs().sum(0).numpy()
        for position, latent in [
            divmod(i, 64) for i in effect.abs().flatten().topk(5).indices.tolist()
        ]:
            less = codes.detach().clone()
            less[0, position, latent] *= 0.98
            removed.append((loss - spliced_bits(subject, tokens, less)).item() / 0.02)
            predicted.append(effect[position, latent].item())
    for batch_size in (1, 3):
        surveyed = attribution(subject, corpus, HOOK, batch_size=batch_size, progress=False)
        np.testing.assert_allclose(surveyed, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(removed, predicted, rtol=0.1, atol=2e-3)


def test_a_survey_resumes_where_it_was_interrupted(subject, corpora, monkeypatch):
    corpus = corpora["discovery"]
    whole = survey(subject, corpus, HOOK, batch_size=8, progress=False)
    monkeypatch.setenv("SAECERT_CACHE", str(cache_dir() / "other"))
    sae = subject.sae_at(HOOK)
    encode = sae.encode
    sizes = []

    def interrupted(acts):
        sizes.append(len(acts))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return encode(acts)

    monkeypatch.setattr(sae, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        survey(subject, corpus, HOOK, batch_size=8, progress=False)
    resumed = survey(subject, corpus, HOOK, batch_size=8, progress=False)
    assert sum(sizes) == len(corpus) + 8, "only the interrupted batch was measured twice"
    for name, value in vars(whole).items():
        np.testing.assert_array_equal(vars(resumed)[name], value, err_msg=name)
