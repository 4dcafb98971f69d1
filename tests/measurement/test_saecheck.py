"""The look at an SAE before it is measured: real SAEs in the wrong place or at the wrong scale are
found out."""

import copy
from dataclasses import replace

import pytest
import torch
from conftest import N_CTX, identity_sae, make_sae, make_texts

from saecert import load_corpus, load_subject
from saecert.measurement.saecheck import Fit, Trial, _order, acceptable, check_sae, fit

HOOK = "blocks.3.hook_resid_post"


@pytest.fixture(scope="module")
def texts(shipped):
    return load_corpus(make_texts(60), shipped, split="certification", n_ctx=40)


def with_sae(subject, hook, sae):
    return replace(subject, saes={hook: sae}, listed={})


def test_shipped_saes_pass_and_are_best_where_they_are(shipped, texts):
    for hook in shipped.hook_names:
        facts = check_sae(shipped, texts, hook)
        assert facts["problem"] is None and facts["best_at"] == hook and facts["n_seq"] == 4
        assert (
            0.8 < facts["explained_variance"] < 1
            and facts["listed_l0"] / 3 < facts["l0"] < facts["listed_l0"] * 3
        )


def test_explained_variance_and_l0_by_hand():
    acts = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[1.0, 4.0], [3.0, 4.0]]])
    whole = fit(identity_sae("", d_in=2), acts)
    assert (whole.explained, whole.l0) == (1.0, 1.5)
    # error: a quarter of the squared norms 1, 9, 17, 25; each is 1 + 4 away from the mean (2, 2)
    half = identity_sae("", d_in=2)
    half.W_dec.data /= 2
    assert fit(half, acts).explained == pytest.approx(1 - 13 / 20)
    half.threshold.data.fill_(5.0)
    silent = fit(half, acts)
    assert (silent.explained, silent.l0) == (pytest.approx(1 - 52 / 20), 0.0)
    doubled = fit(half, acts, Trial("", scale=2.0))
    expected = 1 - (52 - 0.75 * (9 + 16 + 9 + 16)) / 20
    assert doubled.explained == pytest.approx(expected)
    assert doubled.l0 == 1.0, "6 and 8 pass the threshold, 2 does not"


@pytest.mark.parametrize(
    ("explained", "l0", "listed", "fits"),
    [
        (0.3, 5.0, None, True),
        (1.0, 5.0, 15.0, True),
        (1.0, 15.0, 5.0, True),
        (0.29, 5.0, 5.0, False),
        (float("nan"), 5.0, 5.0, False),
        (0.9, 16.0, 5.0, False),
        (0.9, 1.6, 5.0, False),
    ],
)
def test_limits(explained, l0, listed, fits):
    assert acceptable(Fit(explained, l0, 1.0, 0.1, 0.2), listed) == fits


def test_both_explained_variances_by_hand_and_in_words():
    usual = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]]).repeat(10, 1)
    acts = torch.cat([usual, torch.tensor([[0.0, 400.0]])])[None]
    half = identity_sae("", d_in=2)
    half.W_dec.data /= 2
    found = fit(half, acts)
    assert found.without_outliers == pytest.approx(1 - 13 / 20)
    flat = acts[0].double()
    expected = 1 - (flat / 2).square().sum() / (flat - flat.mean(dim=0)).square().sum()
    assert found.explained == pytest.approx(expected.item()) and found.explained > 0.7
    assert found.outlier_share == pytest.approx(1 / 41)
    told = f"{found.explained:.2f} of the variance over all tokens, 0.35 without the 2.4 % of "
    assert found.told().startswith(told + "outliers (norm above 8 times the median), with 1.49")


def test_the_record_tells_both_and_outliers_decide_nothing_between_layers(shipped, texts):
    facts = check_sae(shipped, texts, HOOK)
    if not facts["outlier_share"]:
        assert facts["explained_variance_without_outliers"] == facts["explained_variance"]
    hook = "blocks.5.hook_resid_post"
    wrong = with_sae(shipped, hook, shipped.sae_at("blocks.4.hook_resid_post"))
    facts = check_sae(wrong, texts, hook, allow_bad_sae=True)
    both = ("explained_variance", "explained_variance_without_outliers")
    for name in both:
        assert f"{facts[name]:.2f}" in facts["problem"] or not facts["outlier_share"]
    assert "BOS left out; at least 0.3 over all tokens is asked for" in facts["problem"]
    loud = Fit(0.99, 5.0, 1.0, 0.4, 0.01)
    quiet = Fit(0.8, 5.0, 1.0, 0.7, 0.01)
    assert max([loud, quiet], key=lambda one: _order(one, None)) is quiet


def test_sae_of_another_layer_is_named(shipped, texts):
    hook = "blocks.5.hook_resid_post"
    true = "blocks.4.hook_resid_post"
    wrong = with_sae(shipped, hook, shipped.sae_at(true))
    with pytest.raises(
        ValueError,
        match=rf"'{hook}' explains -\d+.*It fits best at '{true}': was it trained there.*"
        "allow_bad_sae=True",
    ):
        check_sae(wrong, texts, hook)
    facts = check_sae(wrong, texts, hook, allow_bad_sae=True)
    assert (
        facts["best_at"] == true
        and facts["explained_variance"] < 0
        and "was it trained there" in facts["problem"]
    )


def test_sae_of_a_layer_far_away_is_named(shipped, texts):
    hook = "blocks.5.hook_resid_post"
    true = "blocks.0.hook_resid_post"
    wrong = with_sae(shipped, hook, shipped.sae_at(true))
    with pytest.raises(ValueError, match=f"It fits best at '{true}': was it trained there"):
        check_sae(wrong, texts, hook)


def test_sae_of_the_layer_before_passes_but_the_record_shows_it(shipped, texts):
    facts = check_sae(
        with_sae(shipped, "blocks.1.hook_resid_post", shipped.saes["blocks.0.hook_resid_post"]),
        texts,
        "blocks.1.hook_resid_post",
    )
    assert facts["problem"] is None and facts["best_at"] == "blocks.0.hook_resid_post"


@pytest.mark.parametrize(("scale", "named"), [(0.03, r"0\.0312|0\.0442"), (9.0, r"8|11\.3")])
def test_sae_of_rescaled_activations_is_named(shipped, texts, scale, named):
    sae = copy.deepcopy(shipped.saes[HOOK])
    sae.fold_activation_norm_scaling_factor(
        1 / scale
    )  # as if trained on activations times `scale`, which was not folded in
    with pytest.raises(
        ValueError,
        match=rf"lists 24; a factor 3.*fits best on activations times about ({named}): "
        "sae.fold_activation_norm",
    ):
        check_sae(with_sae(shipped, HOOK, sae), texts, HOOK)


def test_the_usual_normalisation_is_named_exactly(shipped, texts):
    _, cache = shipped.model.run_with_cache(torch.from_numpy(texts.take(4).tokens).long())
    scale = shipped.model.cfg.d_model**0.5 / cache[HOOK][:, 1:].norm(dim=-1).mean().item()
    sae = copy.deepcopy(shipped.saes[HOOK])
    sae.fold_activation_norm_scaling_factor(1 / scale)
    with pytest.raises(
        ValueError,
        match=rf"times about {scale:.3g}: sae.fold_activation_norm_scaling_factor\({scale:.3g}\)",
    ):
        check_sae(with_sae(shipped, HOOK, sae), texts, HOOK)


def test_centred_activations_are_named(folders):
    hook = "blocks.1.hook_resid_post"
    subject = load_subject(folders["gpt2"], sae=identity_sae(hook))
    corpus = load_corpus(make_texts(60), subject, split="certification", n_ctx=N_CTX)
    sae = identity_sae(hook)
    ones = torch.full((16, 16), 1 / 16)  # right without a mean, and far off with one
    sae.W_enc.data += 40 * torch.cat([ones, -ones]).T
    with pytest.raises(
        ValueError,
        match="fits best on centred activations: load the model with center_writing_weights=True",
    ):
        check_sae(with_sae(subject, hook, sae), corpus, hook)
    centred = load_subject(folders["gpt2"], sae=sae, center_writing_weights=True)
    assert check_sae(centred, corpus, hook)["explained_variance"] > 0.99


def test_an_sae_that_fits_nowhere(subject, corpora):
    hook = "blocks.1.hook_resid_post"
    sae = make_sae(hook)
    sae.W_dec.data = torch.randn(sae.W_dec.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(
        ValueError,
        match="No other layer, rescaling or centring helps: another model's SAE"
        ".*the text is unlike",
    ):
        check_sae(with_sae(subject, hook, sae), corpora["discovery"], hook)


def test_an_sae_of_another_width(folders, corpora):
    hook = "blocks.0.mlp.hook_post"
    wide = load_subject(folders["llama"], sae={hook: make_sae(hook)})
    with pytest.raises(
        ValueError, match="d_in=16 but the activation there has width 32: another model's SAE"
    ):
        check_sae(wide, corpora["discovery"], hook)
