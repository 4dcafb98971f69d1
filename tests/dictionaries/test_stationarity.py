"""Conditions on atoms: they hold at an optimum and fail elsewhere; the best new atom."""

import math

import numpy as np
import pytest

from saecert.dictionaries.lasso import nonnegative_lasso
from saecert.dictionaries.learned import better_atoms, improved_dictionary, learn_dictionary
from saecert.dictionaries.stationarity import (
    best_new_atom,
    largest_gain,
    overall_lambda,
    stationarity,
)

LAM = 0.3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4, 3))
    return rng.exponential(size=(40, 4)) * (rng.random((40, 4)) < 0.4) @ truth


@pytest.fixture(scope="module")
def optimum(data):
    return learn_dictionary(data, 4, LAM, n_starts=3, tol=1e-10)


def test_every_condition_holds_at_a_dictionary_that_was_learned(data, optimum):
    found = stationarity(data, optimum.atoms, optimum.codes, LAM)
    used = found.firings > 0
    np.testing.assert_allclose(found.implied_lambda[used], LAM, rtol=1e-3)
    assert found.angle[used].max() < 0.5
    assert found.distance[used].max() < 0.01
    assert found.turn[used].max() < 0.1
    assert math.isclose(overall_lambda(data, optimum.atoms, optimum.codes), LAM, rel_tol=1e-3)


def test_turned_atoms_are_not_stationary_and_codes_that_are_not_shrunk_imply_no_price(
    data, optimum
):
    turned = optimum.atoms + 0.2 * np.random.default_rng(1).normal(size=optimum.atoms.shape)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    codes = nonnegative_lasso(data, turned, LAM, tol=1e-10)
    found = stationarity(data, turned, codes, LAM)
    assert np.nanmax(found.angle) > 5
    np.testing.assert_allclose(found.implied_lambda, LAM, rtol=1e-3)  # codes are optimal still
    alone = np.array([[1.0, 0.0, 0.0]])
    x = np.array([[2.0, 1.0, 0.0], [3.0, -1.0, 0.0]])
    plain = stationarity(x, alone, x[:, :1], LAM)
    assert plain.implied_lambda[0] == pytest.approx(0, abs=1e-12)
    assert plain.distance[0] > 1


def test_an_atom_by_hand():
    x = np.array([[2.0, 1.0]])
    found = stationarity(x, np.array([[1.0, 0.0]]), np.array([[1.5]]), 1.0)
    assert found.firings.tolist() == [1]
    assert found.implied_lambda[0] == pytest.approx(0.5)
    assert found.angle[0] == pytest.approx(math.degrees(math.atan2(1, 0.5)))
    assert found.distance[0] == pytest.approx(math.hypot(-0.5, 1.0))
    # E[z r] / E[z^2] = (0.5, 1) * 1.5 / 2.25, added to the atom (1, 0)
    assert found.turn[0] == pytest.approx(math.degrees(math.atan2(1.5, 2.25 + 0.75)))


def test_fewer_samples_than_latents_are_warned_of(data):
    atoms = np.eye(3)
    with pytest.warns(UserWarning, match="2 samples for 3 latents"):
        stationarity(data[:2], atoms, np.maximum(data[:2], 0), LAM)


def test_a_silent_atom_has_no_numbers():
    x = np.array([[2.0, 1.0]] * 3)
    found = stationarity(x, np.eye(2), np.array([[1.0, 0.0]] * 3), 1.0)
    assert found.firings.tolist() == [3, 0]
    assert np.isnan(found.angle[1]) and np.isnan(found.implied_lambda[1])


@pytest.mark.parametrize("seed", range(5))
def test_the_best_new_atom_in_the_plane_is_that_of_a_dense_search(seed):
    rng = np.random.default_rng(seed)
    residuals = rng.normal(size=(12, 2))
    found = best_new_atom(residuals, LAM, seed=seed)
    angles = np.linspace(0, 2 * np.pi, 20_001)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    dense = np.maximum(residuals @ circle - LAM, 0).mean(axis=0).max()
    assert found.gain >= dense - 1e-9
    assert found.gain <= dense + 1e-6
    assert dense <= found.upper
    assert np.linalg.norm(found.direction) == pytest.approx(1)


def test_what_no_atom_exceeds_is_reached_where_it_can_be():
    # one residual: its own direction gains all of it
    assert largest_gain(np.array([[3.0, 4.0]]), 1.0) == pytest.approx(4.0)
    # residuals of length 2 lam along one line: the parabola touches the hinge there
    line = np.array([[2.0, 0.0], [-2.0, 0.0]])
    assert largest_gain(line, 1.0) == pytest.approx(1.0)
    assert best_new_atom(line, 1.0).gain == pytest.approx(0.5)
    assert largest_gain(np.array([[0.5, 0.5]]), 1.0) == 0


def test_a_new_atom_lowers_the_cost_where_the_gain_says_so(data, optimum):
    residuals = data - optimum.codes @ optimum.atoms
    found = best_new_atom(residuals, LAM)
    wider = learn_dictionary(data, 5, LAM, n_starts=4, tol=1e-8)
    assert (found.gain > 1e-6) == (wider.cost < optimum.cost - 1e-6)


def test_better_atoms_fit_the_same_codes_better_and_a_strong_pull_keeps_them():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(5, 12))
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    x = rng.exponential(size=(200, 5)) * (rng.random((200, 5)) < 0.4) @ truth
    atoms = truth + 0.1 * rng.normal(size=truth.shape)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = nonnegative_lasso(x, atoms, 0.05)
    moved = better_atoms(x, atoms, codes, 1e-3)
    error = [np.square(x - codes @ rows).sum() for rows in (moved, atoms)]
    assert error[0] < error[1]
    np.testing.assert_allclose(better_atoms(x, atoms, codes, 1e9), atoms, atol=1e-6)
    improved, _ = improved_dictionary(x, atoms, 0.05)
    assert (improved * truth).sum(axis=1).mean() > (atoms * truth).sum(axis=1).mean()


def test_an_optimum_is_not_improved(data, optimum):
    codes = nonnegative_lasso(data, optimum.atoms, LAM)
    assert np.square(better_atoms(data, optimum.atoms, codes, 1e4) - optimum.atoms).max() < 1e-6


@pytest.mark.parametrize("wrong", [{"n_atoms": 0}, {"n_starts": 0}])
def test_learning_takes_an_atom_and_a_start(data, wrong):
    with pytest.raises(ValueError, match="n_atoms and n_starts must be 1 or more"):
        learn_dictionary(data, **{"n_atoms": 2, "lam": LAM, **wrong})
