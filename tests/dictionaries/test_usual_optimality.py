"""Distances from an optimum with outlier tokens told apart."""

import numpy as np
import pytest

from saecert.dictionaries import usual_optimality as usual
from saecert.dictionaries.optimality import costs_of
from saecert.dictionaries.quantities import COSTS
from saecert.dictionaries.samples import as_atoms, sampled_activations

HOOK = "blocks.0.hook_resid_post"
OPTIONS = {"per_sequence": 4, "per_discovery": 6, "n_fitted": 40, "progress": False}


@pytest.fixture(scope="module")
def texts(corpora):
    return corpora["certification"].take(6), corpora["discovery"].take(20)


@pytest.fixture(scope="module")
def views(subject, texts):
    return [
        as_atoms(subject, HOOK, acts[HOOK].reshape(-1, acts[HOOK].shape[-1]))
        for acts in (
            sampled_activations(subject, text, [HOOK], 4, progress=False) for text in texts
        )
    ]


@pytest.mark.filterwarnings("ignore:.* samples for .* latents")
def test_costs_are_in_order_and_latents_are_told_by_price(subject, texts):
    sample, chosen = texts
    found = usual.usual_optimality(subject, sample, [HOOK], discovery=chosen, **OPTIONS)[HOOK]
    encoder, optimal, better, floor = (found[name] for name in COSTS)
    assert encoder.shape == (6,)
    assert (encoder >= optimal - 1e-4).all()
    assert (np.minimum(optimal, better) >= floor - 1e-4).all()
    assert found["usual"].tolist() == [1.0] * 6
    assert found["usual, discovery"] == 1
    fires = found["firings, encoder"] > 0
    assert found["implied_lambda, encoder"].dtype == np.float16
    assert np.isfinite(found["implied_lambda, encoder"][fires]).all()
    assert np.isnan(found["implied_lambda, encoder"][~fires]).all()


@pytest.mark.filterwarnings("ignore:.* samples for .* latents")
def test_outliers_decide_nothing(subject, texts, monkeypatch):
    """A token made a thousand times as long changes what counts as usual, and no price."""
    sample, chosen = texts
    measured = sampled_activations(subject, chosen, [HOOK], 6, progress=False)[HOOK].copy()
    measured[3, 2] *= 1000
    there = sampled_activations(subject, sample, [HOOK], 4, progress=False)[HOOK].copy()
    there[1, 0] *= 1000
    made = {len(chosen): measured, len(sample): there}
    monkeypatch.setattr(
        usual, "sampled_activations", lambda subject, text, *_, **__: {HOOK: made[len(text)]}
    )
    found = usual.usual_optimality(subject, sample, [HOOK], discovery=chosen, **OPTIONS)[HOOK]
    assert found["usual, discovery"] == pytest.approx(1 - 1 / 120)
    assert found["usual"].tolist() == [1.0, 0.75, 1.0, 1.0, 1.0, 1.0]
    typical = np.median(np.linalg.norm(measured, axis=-1))
    assert found["lambda"] < 2 * typical
    assert np.abs(found["implied lambda"]) < 2 * typical


def test_what_does_not_count_costs_nothing_and_is_in_no_average(views):
    sample, chosen = views
    counted = np.ones(len(sample.x), dtype=bool)
    counted[:4] = False
    some = costs_of(sample, chosen.atoms, 0.5, 6, 0, counted)
    everything = costs_of(sample, chosen.atoms, 0.5, 6, 0)
    for name in COSTS:
        assert some[name][0] == 0
        np.testing.assert_array_equal(some[name][1:], everything[name][1:])
    assert some["l0, encoder"] == (sample.codes[4:] > 0).sum(axis=1).mean()
