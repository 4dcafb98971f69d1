"""Costs of an SAE's atoms, of other directions and of the wide limit, by sequence."""

import numpy as np
import pytest

from saecert.dictionaries.lasso import cost, nonnegative_lasso
from saecert.dictionaries.samples import as_atoms, sampled_activations
from saecert.dictionaries.wide_limit import directions, wide_limit

HOOK = "blocks.0.hook_resid_post"
LAM = 0.3


@pytest.fixture(scope="module")
def texts(corpora):
    return corpora["certification"].take(5), corpora["discovery"].take(12)


@pytest.fixture(scope="module")
def measured(subject, texts):
    sample, chosen = texts
    options = {"discovery": chosen, "prices": {HOOK: LAM}, "per_sequence": 6, "progress": False}
    return wide_limit(subject, sample, [HOOK], **options)[HOOK]


def test_costs_are_those_of_the_sequences(subject, texts, measured):
    acts = sampled_activations(subject, texts[0], [HOOK], 6, progress=False)[HOOK]
    x, atoms, codes = as_atoms(subject, HOOK, acts.reshape(-1, acts.shape[-1]))
    best = nonnegative_lasso(x, atoms, LAM, start=codes, tol=1e-8)
    nothing = 0.5 * np.square(x).sum(axis=1)
    shares = (cost(x, atoms, best, LAM) / nothing).reshape(5, 6).mean(axis=1)
    np.testing.assert_allclose(measured["optimal"], shares, atol=1e-4)
    length = np.linalg.norm(x, axis=1)
    assert (length > LAM).all()
    floor = ((LAM * length - LAM**2 / 2) / nothing).reshape(5, 6).mean(axis=1)
    np.testing.assert_allclose(measured["floor"], floor)


def test_nothing_is_below_the_floor_and_all_is_solved(measured):
    assert {name: values.shape for name, values in measured.items()} == dict.fromkeys(
        ("optimal", "directions", "floor", "gap"), (5,)
    )
    assert (measured["optimal"] > measured["floor"]).all()
    assert (measured["directions"] > measured["floor"]).all()
    assert (measured["gap"] < 1e-4).all()


def test_the_floor_is_attained_by_one_atom_for_each_activation(subject, texts):
    """Discovery that holds the sample itself, and an SAE as wide as there are activations."""
    sample = texts[0].take(2)
    options = {"discovery": sample, "prices": {HOOK: LAM}, "per_sequence": 2, "progress": False}
    assert subject.sae_at(HOOK).cfg.d_sae >= 4
    values = wide_limit(subject, sample, [HOOK], **options)[HOOK]
    np.testing.assert_allclose(values["directions"], values["floor"], atol=1e-4)


def test_directions_are_spread_over_the_rows_and_of_norm_1():
    x = np.array([[3.0, 0], [0, 0], [0, 2], [-5, 0], [0, -1]])
    np.testing.assert_allclose(directions(x, 2), [[1, 0], [0, -1]])
    np.testing.assert_allclose(directions(x, 9), [[1, 0], [0, 1], [-1, 0], [0, -1]])


def test_a_hook_point_without_a_price_is_refused(subject, texts):
    with pytest.raises(ValueError, match=f"no price for {HOOK}"):
        wide_limit(subject, texts[0], [HOOK], discovery=texts[1], prices={}, progress=False)
