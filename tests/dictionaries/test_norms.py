"""Norms on a corpus, against the same by hand, and what the splice costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_MODEL, identity_sae
from sae_lens import (
    MatchingPursuitSAE,
    MatchingPursuitSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from scipy.stats import kendalltau

from saecert.dictionaries.norms import TOKENS, atoms_of, norms
from saecert.dictionaries.quantities import (
    BANDS,
    COHERENCE,
    COHERENCE_WITH_BIAS,
    outside_name,
    tau_name,
    token_name,
)
from saecert.dictionaries.quasi_orthogonality import coherence, quasi_orthogonality
from saecert.reporting.quantities import MEASURABLE
from saecert.subjects.forward import native_acts

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def sample(corpora):
    return corpora["certification"].take(6)


def measured(subject, sample, **settings):
    return norms(subject, sample, [HOOK], progress=False, **settings)[HOOK]


@pytest.fixture
def rows(subject, sample):
    return measured(subject, sample)


@torch.no_grad()
def by_hand(subject, sample):
    """What is said of every token that is spliced and has a next one."""
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    acts = native_acts(subject.model, tokens, HOOK)[:, 1:-1]
    sae = subject.sae_at(HOOK)
    found = quasi_orthogonality(acts, sae.encode(acts), sae.W_dec, sae.b_dec)
    return {name: values.numpy() for name, values in found.items()}


@torch.no_grad()
def costs_by_hand(subject, sample):
    """Bits that the next token costs more, and total variation, from the Hugging Face model."""
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    original = subject.model.original_model
    sae = subject.sae_at(HOOK)
    logits = [original(tokens).logits]

    def replaced(module, args, output):
        states = output[0] if isinstance(output, tuple) else output
        states = torch.cat([states[:, :1], sae.decode(sae.encode(states))[:, 1:]], dim=1)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    hook = original.model.layers[0].register_forward_hook(replaced)
    logits.append(original(tokens).logits)
    hook.remove()
    clean, spliced = (x.double().softmax(-1)[:, 1:-1] for x in logits)
    targets = tokens[:, 2:, None]
    bits = [-x.gather(-1, targets)[..., 0].log2() for x in (clean, spliced)]
    return (bits[1] - bits[0]).numpy(), ((clean - spliced).abs().sum(-1) / 2).numpy()


def test_rows_are_means_over_tokens_by_hand(subject, sample, rows):
    found = by_hand(subject, sample)
    increase, variation = costs_by_hand(subject, sample)
    ratio = found["norm_f"] / found["norm_z"]
    d_sae = subject.sae_at(HOOK).cfg.d_sae
    expected = {
        "norm_z": found["norm_z"].mean(axis=1),
        "ratio": ratio.mean(axis=1),
        "nmse": found["nmse"].clip(None, 1).mean(axis=1),
        "largest eps_lbo": found["eps_lbo"].max(axis=1),
        "largest eps_identity": found["eps_identity"].max(axis=1),
        "loss_increase": increase.mean(axis=1),
        "total_variation": variation.mean(axis=1),
    }
    for band in BANDS:
        outside = np.abs(found["norm_z"] ** 2 / found["norm_f"] ** 2 - 1) > band
        expected[outside_name(band)] = outside.mean(axis=1)
    for name, values in expected.items():
        np.testing.assert_allclose(rows[name], values, rtol=1e-4, atol=2e-5, err_msg=name)
    assert d_sae > 2


def test_rank_correlations_are_those_of_scipy(subject, sample, rows):
    found = by_hand(subject, sample)
    _, variation = costs_by_hand(subject, sample)
    expected = [kendalltau(x, y).statistic for x, y in zip(found["nmse"], variation, strict=True)]
    np.testing.assert_allclose(rows[tau_name("nmse", "total_variation")], expected, atol=0.01)


def test_tokens_are_some_of_the_sequence_and_depend_on_the_seed(subject, sample, rows):
    found = by_hand(subject, sample)
    kept = rows[token_name("norm_z")]
    assert kept.shape == (len(sample), TOKENS)
    for some, every in zip(kept, found["norm_z"], strict=True):
        distance = np.abs(some[:, None] - every[None]).min(axis=1)
        assert distance.max() < 1e-4
        assert some[0] != some[1]
    other = measured(subject, sample, seed=1)
    assert (other[token_name("norm_z")] != kept).any()
    np.testing.assert_array_equal(other["norm_z"], rows["norm_z"])


def test_rows_do_not_depend_on_the_batch(subject, sample, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    again = measured(subject, sample, batch_size=4)
    for name, values in rows.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, atol=1e-5, err_msg=name)


def test_no_token_is_above_the_truth(subject, sample, rows):
    sae = subject.sae_at(HOOK)
    assert rows[COHERENCE][0] == coherence(sae.W_dec).value
    assert (rows["d_sae"][0], rows["d_in"][0]) == sae.W_dec.shape
    truth = coherence(sae.W_dec, sae.b_dec).value
    assert set(rows[COHERENCE_WITH_BIAS]) == {truth}
    assert (rows["largest eps_identity"] <= truth + 1e-9).all()


def test_an_exact_sae_has_the_norms_of_its_activations_and_costs_nothing(subject, sample):
    exact = replace(subject, saes={HOOK: identity_sae(HOOK)})
    rows = measured(exact, sample)
    np.testing.assert_allclose(rows["ratio"], 1, atol=1e-5)
    np.testing.assert_allclose(rows["total_variation"], 0, atol=1e-5)
    assert (rows["largest eps_identity"] < 1e-6).all()
    assert rows[COHERENCE][0] == 1  # both signs of each coordinate


def test_atoms_are_of_unit_length_where_the_sae_divides_by_their_norms():
    settings = {"d_in": 4, "d_sae": 6, "k": 2}
    torch.manual_seed(0)
    sae = TopKSAE(TopKSAEConfig(**settings, rescale_acts_by_decoder_norm=True))
    with torch.no_grad():
        sae.W_dec.copy_(3 * torch.randn(6, 4))
    atoms, bias = atoms_of(sae)
    codes = torch.rand(5, 6)
    torch.testing.assert_close(codes @ atoms + bias, sae.decode(codes))
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(6))


def test_an_sae_that_normalises_is_judged_on_what_it_reads(subject, sample):
    sae = StandardSAE(
        StandardSAEConfig(d_in=D_MODEL, d_sae=2 * D_MODEL, normalize_activations="layer_norm")
    )
    both = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    with torch.no_grad():
        sae.W_enc.copy_(both.T)
        sae.W_dec.copy_(both)
    sae.cfg.metadata.hook_name = HOOK
    normal = replace(subject, saes={HOOK: sae})
    rows = measured(normal, sample)
    np.testing.assert_allclose(rows["norm_z"], np.sqrt(D_MODEL - 1), rtol=1e-2)
    np.testing.assert_allclose(rows["nmse"], 0, atol=1e-6)


def test_an_sae_of_another_kind_is_refused():
    pursuit = MatchingPursuitSAE(MatchingPursuitSAEConfig(d_in=4, d_sae=6))
    with pytest.raises(ValueError, match="kind 'matching_pursuit' are not known to decode by"):
        atoms_of(pursuit)


def test_a_study_measures_it_by_name(subject, sample, rows):
    settings = {"seed": 0, "progress": False}
    by_name = MEASURABLE["norms"].measure(subject, sample, [HOOK], settings)[HOOK]
    assert by_name.keys() == rows.keys()
    assert MEASURABLE["norms"].by_sequence
