"""How an SAE fits, with and without outlier tokens, and at which depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import identity_sae, make_texts

from saecert import load_corpus
from saecert.measurement import fitting as module
from saecert.measurement.fitting import Fitting, best_layer, by_layer, fitting
from saecert.measurement.saecheck import check_sae

HOOKS = ("blocks.0.hook_resid_post", "blocks.5.hook_resid_post")


@pytest.fixture(scope="module")
def texts(shipped):
    return load_corpus(make_texts(60), shipped, split="certification", n_ctx=40)


def test_both_shares_by_hand(subject, corpora, monkeypatch):
    rng = np.random.default_rng(0)
    acts = torch.from_numpy(rng.normal(size=(50, 16)) + 2).float()
    acts[3] *= 1000
    sae = identity_sae(HOOKS[0])
    sae.W_dec.data /= 2  # half of every activation is left
    monkeypatch.setattr(module, "_activations", lambda *_: {HOOKS[0]: acts})
    found = fitting(replace(subject, saes={HOOKS[0]: sae}), corpora["discovery"], HOOKS[0])
    usual = torch.cat([acts[:3], acts[4:]]).double()
    for some, explained in ((acts.double(), found.all_tokens), (usual, found.without_outliers)):
        spread = (some - some.mean(dim=0)).square().sum()
        expected = 1 - (some / 2).square().sum() / spread
        assert explained == pytest.approx(expected.item(), rel=1e-5)
    assert found.outlier_share == pytest.approx(1 / 50)
    assert "over all tokens" in str(found) and "without the 2 % of outliers" in str(found)


def test_it_is_what_the_check_says(shipped, texts):
    found = fitting(shipped, texts, HOOKS[1])
    facts = check_sae(shipped, texts, HOOKS[1])
    assert found.all_tokens == pytest.approx(facts["explained_variance"], abs=1e-4)
    if not found.outlier_share:
        assert found.without_outliers == found.all_tokens and "none an outlier" in str(found)
    assert isinstance(found, Fitting)


@pytest.mark.parametrize(("of", "placed"), [HOOKS, HOOKS[::-1]])
def test_an_sae_of_another_depth_is_told_where_it_is_from(shipped, texts, of, placed):
    moved = replace(shipped, saes={placed: shipped.sae_at(of)}, listed={})
    layers = by_layer(moved, texts, placed)
    assert len(layers) == shipped.n_layers
    assert best_layer(moved, texts, placed) == of
    assert layers[of] == by_layer(shipped, texts, of)[of]
