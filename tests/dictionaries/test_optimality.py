"""Distances of SAEs from an optimum: worked cases, and what cannot be measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import D_MODEL, identity_sae
from sae_lens import StandardSAE, StandardSAEConfig

from saecert.dictionaries.lasso import cost, nonnegative_lasso
from saecert.dictionaries.optimality import matched_lambda, optimality
from saecert.dictionaries.quantities import COSTS
from saecert.dictionaries.samples import as_atoms, chosen_positions, sampled_activations
from saecert.measurement.batch import site_at
from saecert.measurement.loop import Batch
from saecert.measurement.site import Site
from saecert.reporting import measurements
from saecert.reporting.optimality import errors_by_layer
from saecert.reporting.study import open_study

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def measured(subject, corpora):
    sample, chosen = corpora["certification"].take(6), corpora["discovery"].take(20)
    return optimality(subject, sample, [HOOK], discovery=chosen, per_sequence=4, progress=False)


def test_costs_are_in_order_and_between_the_floor_and_no_activity(measured):
    costs = np.stack([measured[HOOK][name] for name in COSTS])
    encoder, optimal, better, floor = costs
    assert costs.shape == (4, 6)
    assert (costs >= 0).all() and (costs <= 1).all()
    assert (encoder >= optimal - 1e-4).all()
    assert (np.minimum(optimal, better) >= floor - 1e-4).all()
    assert measured[HOOK]["gap"] < 1e-4
    limits = errors_by_layer(measured, 0.05, "dirichlet")["encoder's error"]
    assert (limits["lower"] <= limits["mean"]).all()
    assert (limits["mean"] <= limits["upper"]).all()


def test_optimal_codes_imply_the_price_and_the_numbers_are_there(measured):
    values = measured[HOOK]
    often = values["firings, optimal"] >= 3
    np.testing.assert_allclose(
        values["implied_lambda, optimal"][often], values["lambda"], rtol=0.05
    )
    for word in ("encoder", "optimal"):
        assert values[f"gain, {word}"] <= values[f"gain at most, {word}"] + 1e-9
        assert 0 <= values[f"short residuals, {word}"] <= 1


def test_the_matched_price_makes_optimal_codes_as_active(subject, corpora):
    acts = sampled_activations(subject, corpora["discovery"], [HOOK], 4, progress=False)[HOOK]
    view = as_atoms(subject, HOOK, acts.reshape(-1, acts.shape[-1]))
    lam = matched_lambda(*view)
    solved = nonnegative_lasso(view.x, view.atoms, lam, start=view.codes)
    assert solved.sum() == pytest.approx(view.codes.sum(), rel=0.05)
    with pytest.raises(ValueError, match="no latent is ever active"):
        matched_lambda(view.x, view.atoms, np.zeros_like(view.codes))


def test_atoms_and_codes_are_the_reconstruction(subject, corpora):
    sample = corpora["certification"].take(3)
    acts = sampled_activations(subject, sample, [HOOK], 5, progress=False)[HOOK]
    view = as_atoms(subject, HOOK, acts.reshape(-1, acts.shape[-1]))
    sae = subject.sae_at(HOOK)
    rows = torch.from_numpy(acts.reshape(-1, acts.shape[-1]))
    recons = sae.decode(sae.encode(rows)).detach().numpy()
    x_hat = view.codes @ view.atoms + sae.b_dec.detach().numpy()
    np.testing.assert_allclose(x_hat, recons, atol=1e-5)
    np.testing.assert_allclose(
        0.5 * np.square(acts.reshape(recons.shape) - recons).sum(axis=1),
        cost(view.x, view.atoms, view.codes, 1e-12),
        rtol=1e-4,
        atol=1e-6,
    )


def test_sampled_activations_are_those_of_the_model_at_the_positions_chosen(subject, corpora):
    sample = corpora["certification"].take(3)
    places = chosen_positions(sample.ids, sample.first, sample.n_ctx, 5, 0)
    assert (places >= sample.first).all()
    assert (np.diff(places, axis=1) > 0).all()
    acts = sampled_activations(subject, sample, [HOOK], 5, progress=False)[HOOK]
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    _, cached = subject.model.run_with_cache(tokens)
    expected = cached[HOOK][torch.arange(3)[:, None], torch.from_numpy(places)]
    np.testing.assert_allclose(acts, expected.numpy(), atol=1e-5)
    batch = Batch(tokens, sample.ids, sample.first, 0)
    assert site_at(subject, batch, HOOK, cached[HOOK]).acts.shape[-1] == acts.shape[-1]


def test_more_positions_than_there_are_is_refused(subject, corpora):
    with pytest.raises(ValueError, match="per_sequence must be 1 to 23"):
        sampled_activations(subject, corpora["discovery"], [HOOK], 99, progress=False)


def with_sae(subject, sae):
    return replace(subject, saes={HOOK: sae})


def test_negative_codes_of_an_encoder_are_refused(subject):
    class Signed(StandardSAE):
        def encode(self, x):
            return x @ self.W_enc

    sae = Signed(StandardSAEConfig(d_in=D_MODEL, d_sae=D_MODEL))
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(D_MODEL))
        sae.W_dec.copy_(torch.eye(D_MODEL))
    acts = np.ones((1, D_MODEL))
    acts[0, 3] = -1
    with pytest.raises(ValueError, match="1 codes are negative"):
        as_atoms(with_sae(subject, sae), HOOK, acts)


def test_an_sae_that_decodes_in_another_way_is_refused(subject, monkeypatch):
    monkeypatch.setattr(Site, "linear", ())
    with pytest.raises(ValueError, match="decode by adding up"):
        as_atoms(subject, HOOK, np.zeros((1, D_MODEL)))


def test_an_exact_sae_leaves_nothing_over(subject):
    acts = np.random.default_rng(0).normal(size=(5, D_MODEL))
    view = as_atoms(with_sae(subject, identity_sae(HOOK)), HOOK, acts)
    np.testing.assert_allclose(view.codes @ view.atoms, view.x, atol=1e-6)


@pytest.mark.shared_cache
def test_kept_costs_are_those_of_activations_measured_again():
    """Random sequences of one record: at the kept price, without what was fitted on discovery."""
    (kept,) = [
        file
        for file in measurements.all_kept("arrays")
        if file.request["quantity"] == "optimality" and "blocks.2" in file.request["hook_name"]
    ]
    held = measurements.find_arrays(kept.request)
    study = open_study(kept.request["subject"], n_seq=kept.request["n_seq"])
    rows = [0, 17, 101]
    sample = study.sample
    chosen = type(sample)(
        **{
            **vars(sample),
            "tokens": sample.tokens[rows],
            "keys": tuple(sample.keys[row] for row in rows),
        }
    )
    hook, settings = kept.request["hook_name"], kept.request["settings"]
    options = {"seed": settings["seed"], "progress": False}
    acts = sampled_activations(study.subject, chosen, [hook], settings["per_sequence"], **options)
    view = as_atoms(study.subject, hook, acts[hook].reshape(-1, acts[hook].shape[-1]))
    lam = float(f"{float(held['lambda']):.2g}")
    solved = nonnegative_lasso(view.x, view.atoms, lam, start=view.codes, tol=1e-5)
    nothing = 0.5 * np.square(view.x).sum(axis=1)
    for name, codes in (("encoder", view.codes), ("optimal", solved)):
        share = np.minimum(cost(view.x, view.atoms, codes, lam) / nothing, 1)
        again = share.reshape(len(rows), -1).mean(axis=1)
        np.testing.assert_allclose(again, held[name][rows], atol=5e-4)
