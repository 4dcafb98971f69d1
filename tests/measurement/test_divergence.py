"""KL divergence of smoothed predictions against a direct computation on the whole vocabulary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import identity_sae

from saecert.certificates.divergence import divergence_limit, divergence_range
from saecert.dictionaries.fidelity import local_fidelity
from saecert.measurement import divergence as module
from saecert.measurement.collect import collect
from saecert.measurement.divergence import divergence

HOOK = "blocks.1.hook_resid_post"
PROXIES = ["full", "pool(16)", "zero"]
ALPHAS = [0.5, 0.01]


def direct(subject, corpus, replaced, alpha):
    """Mean over positions of the whole KL, from logits of the model with a hook."""
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64))
    hooks = [(HOOK, lambda acts, hook: torch.cat([acts[:, :1], replaced[:, 1:]], dim=1))]
    with torch.no_grad():
        clean = subject.model(tokens)
        spliced = subject.model.run_with_hooks(tokens, fwd_hooks=hooks)
    p, q = (
        (1 - alpha) * logits[:, :-1].double().softmax(-1) + alpha / logits.shape[-1]
        for logits in (clean, spliced)
    )
    return (p * (p / q).log2()).sum(-1).mean(-1).numpy()


def test_it_is_the_divergence_of_whole_distributions(subject, corpora, monkeypatch):
    corpus = corpora["certification"].take(7)
    discovery = corpora["discovery"]
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    monkeypatch.setattr(module, "MIN_ROWS", 5)
    options = {"proxies": PROXIES, "alphas": ALPHAS, "discovery": discovery, "progress": False}
    found = divergence(subject, corpus, [HOOK], batch_size=3, **options)[HOOK]
    assert list(found) == ["full", "pool_16", "zero"]
    _, cache = subject.model.run_with_cache(torch.from_numpy(corpus.tokens.astype(np.int64)))
    acts = cache[HOOK]
    replaced = {"full": subject.sae_at(HOOK)(acts), "zero": torch.zeros_like(acts)}
    for name, spliced in replaced.items():
        for column, alpha in enumerate(ALPHAS):
            expected = direct(subject, corpus, spliced, alpha)
            np.testing.assert_allclose(found[name][:, column], expected, atol=2e-6, rtol=1e-4)
    assert (found["zero"] > 1e-4).all()
    monkeypatch.setattr(module, "clean_run", None)  # measured already: nothing is run
    again = divergence(subject, corpus, [HOOK], **options)[HOOK]
    np.testing.assert_array_equal(again["pool_16"], found["pool_16"])
    _beyond_total_variation(subject, corpus, discovery, found)


def _beyond_total_variation(subject, corpus, discovery, found):
    """Pinsker's inequality at every position, averaged: total variation as a sweep records it."""
    settings = {"discovery": discovery, "pools": [16], "allow_bad_sae": True, "progress": False}
    record = collect(subject, corpus, HOOK, **settings)
    for name, values in found.items():
        for column, alpha in enumerate(ALPHAS):
            least = 2 / np.log(2) * ((1 - alpha) * record.total_variation[name]) ** 2
            assert (values[:, column] >= least - 1e-6).all()
            assert values[:, column].max() <= divergence_range(alpha, subject.d_vocab)


def test_an_exact_sae_diverges_from_nothing_and_has_no_error(subject, corpora):
    corpus = corpora["certification"].take(4)
    exact = replace(subject, saes={HOOK: identity_sae(HOOK).requires_grad_(False)})
    values = divergence(exact, corpus, progress=False)[HOOK]["full"]
    np.testing.assert_allclose(values, 0, atol=1e-6)
    assert (values >= 0).all()
    errors = local_fidelity(exact, corpus, progress=False)[HOOK]["relative error"]
    np.testing.assert_allclose(errors, 0, atol=1e-6)


def test_what_cannot_be_measured_is_refused(subject, corpora):
    corpus = corpora["certification"].take(2)
    with pytest.raises(ValueError, match="alpha must lie strictly between 0 and 1"):
        divergence(subject, corpus, alphas=[1.0], progress=False)
    with pytest.raises(ValueError, match="built from the discovery split"):
        divergence(subject, corpus, proxies=["pool(4)"], progress=False)


def test_the_range_is_reached_at_corners_and_never_left():
    rng = np.random.default_rng(0)
    for alpha in (0.5, 0.01):
        p, q = (1 - alpha) * rng.dirichlet(np.full(8, 0.1), (2, 2000)) + alpha / 8
        assert (p * np.log2(p / q)).sum(axis=1).max() <= divergence_range(alpha, 8)
        p, q = (1 - alpha) * np.eye(8)[:2] + alpha / 8
        assert (p * np.log2(p / q)).sum() == pytest.approx(divergence_range(alpha, 8))


def test_a_limit_on_its_expectation():
    values = np.random.default_rng(0).uniform(0, 0.2, 400)
    found = divergence_limit(values, proxy="full", alpha=0.5, n_vocab=4096)
    assert found.mean < found.upper < found.mean + 0.1
    assert str(found).startswith("KL(f || full), alpha 0.5: 0.")
    with pytest.raises(ValueError, match="is it of another alpha"):
        divergence_limit(values + 9, proxy="full", alpha=0.5, n_vocab=4096)
