"""Several ways of splicing an SAE in, from one run, against runs of the model by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from saecert.dictionaries import spliced as module
from saecert.dictionaries.protocols import (
    EXEMPT,
    KL,
    LOST,
    MODEL,
    N_VOCAB,
    POOL,
    REPLACED,
    SAE,
    SMOOTHED_KL,
    Protocol,
    Splice,
    array_name,
)
from saecert.dictionaries.spliced import replaced, spliced
from saecert.measurement.divergence import divergence
from saecert.measurement.proxies import top
from saecert.measurement.site import Site
from saecert.measurement.survey import survey

HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
HOOK = HOOKS[0]
SPLICES = [(0, EXEMPT), (2, EXEMPT), (0, REPLACED), (2, REPLACED), (0, LOST)]
CONTEXTS = (24, 9)
N_POOL = 20
ALPHA = 0.3


@pytest.fixture(scope="module")
def sample(corpora):
    return corpora["certification"].take(5)


@pytest.fixture(scope="module")
def site(subject, sample):
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    with torch.no_grad():
        _, cache = subject.model.run_with_cache(tokens)
    return Site(cache[HOOK], subject.sae_at(HOOK), sample.ids, sample.first)


@pytest.fixture
def measured(subject, sample, corpora, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1)
    monkeypatch.setattr(module, "MIN_ROWS", 7)
    return measure(subject, sample, corpora, HOOKS, SPLICES)


def measure(subject, sample, corpora, hooks, splices, **options):
    settings = {"pool": N_POOL, "discovery": corpora["discovery"], "contexts": CONTEXTS}
    settings |= {"alpha": ALPHA, "progress": False, **options}
    return spliced(subject, sample, hooks, splices=splices, **settings)


def by_hand(subject, sample, codes, bos, n_ctx):
    """Loss, KL and smoothed KL in bits in double precision, from whole logits of a short run."""
    tokens = torch.from_numpy(sample.tokens[:, :n_ctx].astype(np.int64))
    recons = subject.sae_at(HOOK).decode(codes)

    def splice(acts, hook):
        first = acts[:, :1] if bos == EXEMPT else recons[:, :1]
        return torch.cat([first, recons[:, 1:n_ctx]], dim=1)

    with torch.no_grad():
        clean = subject.model(tokens)
        changed = subject.model.run_with_hooks(tokens, fwd_hooks=[(HOOK, splice)])
    p, q = (logits[:, :-1].double().softmax(-1) for logits in (clean, changed))
    smooth_p, smooth_q = ((1 - ALPHA) * x + ALPHA / x.shape[-1] for x in (p, q))
    loss, model = (
        -x.gather(-1, tokens[:, 1:, None])[..., 0].log2().mean(-1) for x in (smooth_q, smooth_p)
    )
    divergences = ((a * (a / b).log2()).sum(-1).mean(-1) for a, b in ((p, q), (smooth_p, smooth_q)))
    return (model, loss, *divergences)


@pytest.mark.parametrize("n_ctx", CONTEXTS)
@pytest.mark.parametrize(("n_active", "bos"), SPLICES)
def test_every_way_is_that_of_a_run_of_its_own_on_short_sequences(
    subject, sample, corpora, site, measured, n_active, bos, n_ctx
):
    order = survey(subject, corpora["discovery"], HOOK, progress=False).ranking("frequency")
    pool = torch.zeros(64)
    pool[torch.from_numpy(order[:N_POOL].copy())] = 1
    protocol = Protocol(Splice(n_active, bos), n_ctx)
    for what, codes in ((SAE, site.latents), (POOL, site.latents * pool)):
        codes = largest_by_hand(codes, n_active)
        if bos == LOST:
            codes[:, 0] = 0
        model, loss, kl, smoothed = by_hand(subject, sample, codes, bos, n_ctx)
        close(measured, protocol, what, loss)
        if what == SAE:
            close(measured, protocol, MODEL, model)
            close(measured, protocol, KL, kl)
            close(measured, protocol, SMOOTHED_KL, smoothed)


def close(measured, protocol, what, expected):
    found = measured[HOOK][array_name(what, protocol)]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, rtol=1e-4)


def largest_by_hand(codes, n_active):
    codes = codes.clone()
    if n_active:
        for row in codes.flatten(0, 1):
            order = row.argsort(descending=True)
            row[order[n_active:]] = 0
    return codes


def test_a_restriction_is_exact_and_bos_keeps_its_own(site):
    for n_active in (1, 2, 64):
        found = replaced(site, Splice(n_active, REPLACED))
        torch.testing.assert_close(found, top(n_active).replace(site), rtol=0, atol=0)
    exempt = replaced(site, Splice(2, EXEMPT))
    assert torch.equal(exempt[:, 0], site.acts[:, 0])
    assert torch.equal(exempt[:, 1:], replaced(site, Splice(2, REPLACED))[:, 1:])
    lost = replaced(site, Splice(0, LOST))
    assert torch.allclose(lost[:, 0], site.sae.b_dec.expand_as(lost[:, 0]))
    assert torch.equal(lost[:, 1:], replaced(site, Splice())[:, 1:])
    most = int((site.latents != 0).sum(dim=-1).max())
    torch.testing.assert_close(replaced(site, Splice(most)), replaced(site, Splice()))
    assert not torch.equal(replaced(site, Splice(most - 1)), replaced(site, Splice()))


def test_a_pool_is_masked_before_the_largest_are_taken(site):
    first = site.latents.argmax(dim=-1)
    kept = torch.ones(64)
    kept[first[0, 3]] = 0
    found = replaced(site, Splice(1, REPLACED), kept)[0, 3]
    second = site.latents[0, 3].clone()
    second[first[0, 3]] = 0
    assert second.max() > 0
    alone = torch.zeros_like(second)
    alone[second.argmax()] = second.max()
    torch.testing.assert_close(found, site.sae.decode(alone))


def test_one_shared_run_gives_what_separate_ones_give(subject, sample, corpora, measured):
    with_cache = measure(subject, sample, corpora, [HOOK], SPLICES[:1])
    for name, values in with_cache[HOOK].items():
        np.testing.assert_array_equal(values, measured[HOOK][name])
    other = replace(sample, tokens=sample.tokens[::-1].copy())
    together = measure(subject, other, corpora, HOOKS, SPLICES, batch_size=5)
    for hook in HOOKS:
        for splice in SPLICES:
            some = replace(other, tokens=np.concatenate([other.tokens, other.tokens[:1]]))
            alone = measure(subject, some, corpora, [hook], [splice], batch_size=1)[hook]
            for name, values in alone.items():
                np.testing.assert_allclose(values[:5], together[hook][name], atol=2e-6)


def test_it_agrees_with_the_divergence_of_a_proxy(subject, sample, corpora, measured):
    options = {"proxies": ["full", "top(2)"], "alphas": [ALPHA], "progress": False}
    found = divergence(subject, sample, [HOOK], **options)[HOOK]
    for proxy, n_active in (("full", 0), ("top_2", 2)):
        name = array_name(SMOOTHED_KL, Protocol(Splice(n_active), 24))
        np.testing.assert_allclose(measured[HOOK][name], found[proxy][:, 0], atol=2e-6)


def test_what_was_measured_is_not_measured_again(subject, sample, corpora, measured, monkeypatch):
    monkeypatch.setattr(module, "clean_run", None)
    again = measure(subject, sample, corpora, HOOKS, SPLICES)
    np.testing.assert_array_equal(list(again[HOOK].values()), list(measured[HOOK].values()))


def test_another_pool_or_another_order_of_ways_is_another_measurement(
    subject, sample, corpora, measured
):
    larger = measure(subject, sample, corpora, [HOOK], SPLICES[:2], pool=60)[HOOK]
    name = array_name(POOL, Protocol(Splice(), 24))
    assert not np.array_equal(larger[name], measured[HOOK][name])
    back = measure(subject, sample, corpora, [HOOK], SPLICES[1::-1])[HOOK]
    np.testing.assert_array_equal(back[name], measured[HOOK][name])


def test_without_a_pool_the_whole_dictionary_stays(subject, sample, corpora):
    found = spliced(subject, sample, [HOOK], progress=False)[HOOK]
    protocol = Protocol(Splice(), 24)
    losses = [found[array_name(what, protocol)] for what in (SAE, POOL)]
    np.testing.assert_array_equal(*losses)
    assert len(found) == 6 and set(found[N_VOCAB]) == {subject.d_vocab}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splices": [(-1, EXEMPT)]}, "at least 0 active latents"),
        ({"splices": [(0, "kept")]}, "unknown 'kept' at BOS; there are exempt"),
        ({"contexts": [1]}, "a context of 1 tokens: sequences have 24"),
        ({"contexts": [25]}, "a context of 25 tokens"),
        ({"pool": 65}, "does not fit a dictionary of 64"),
        ({"pool": 4, "discovery": None}, "chosen on the discovery split: give one"),
        ({"alpha": 1.0}, "alpha must lie strictly between 0 and 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(subject, sample, corpora, options, message):
    options = {"discovery": corpora["discovery"], "progress": False, **options}
    with pytest.raises(ValueError, match=message):
        spliced(subject, sample, [HOOK], **options)


def test_bos_that_is_not_there_or_settled_elsewhere_is_refused(subject, sample):
    bare = replace(sample, bos=False)
    with pytest.raises(ValueError, match="do not begin with one"):
        spliced(subject, bare, [HOOK], splices=[(0, REPLACED)], progress=False)
    settled = replace(sample, exempt_bos=False)
    with pytest.raises(ValueError, match="leave exempt_bos at True"):
        spliced(subject, settled, [HOOK], progress=False)
