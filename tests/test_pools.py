"""The survey against a plain computation on the whole cache of activations."""

import numpy as np
import pytest
import torch

from saecert.pools import survey

HOOK = "blocks.1.hook_resid_post"


def test_survey_by_hand(subject, corpora):
    corpus = corpora["discovery"]
    _, cache = subject.model.run_with_cache(torch.from_numpy(corpus.tokens.astype(np.int64)))
    acts = cache[HOOK][:, 1:]
    latents = subject.sae_at(HOOK).encode(acts)
    found = survey(subject, corpus, HOOK, batch_size=7, progress=False)
    np.testing.assert_array_equal(found.token_count, (latents > 0).sum((0, 1)).numpy())
    np.testing.assert_array_equal(found.sequence_count, (latents > 0).any(1).sum(0).numpy())
    flat, recons = acts.flatten(0, 1).double(), subject.sae_at(HOOK).decode(latents).flatten(0, 1).double()
    assert found.fvu == pytest.approx(((flat - recons).square().sum() / (flat - flat.mean(0)).square().sum()).item(), rel=1e-5)
    assert found.l0 == pytest.approx((latents > 0).sum(-1).float().mean().item())
    assert found.silent == (found.token_count == 0).mean()


def test_order_is_by_frequency_with_ties_by_index(subject, corpora):
    found = survey(subject, corpora["discovery"], HOOK, progress=False)
    counts = found.token_count[found.order]
    assert (np.diff(counts) <= 0).all() and sorted(found.order.tolist()) == list(range(64))
    assert (np.diff(found.order)[np.diff(counts) == 0] > 0).all()
