"""The wide limit: a floor that is reached by one atom a sample, and by growing to it."""

import numpy as np
import pytest

from saecert.dictionaries.lasso import cost, nonnegative_lasso
from saecert.dictionaries.wide import column_generation, wide_cost


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(12, 4))


@pytest.mark.parametrize("lam", [0.1, 0.5, 1.5])
def test_the_floor_is_reached_by_one_atom_a_sample(x, lam):
    length = np.linalg.norm(x, axis=1, keepdims=True)
    codes = nonnegative_lasso(x, x / length, lam, tol=1e-12)
    expected = np.where(length >= lam, lam * length - lam**2 / 2, length**2 / 2)[:, 0]
    np.testing.assert_allclose(wide_cost(x, lam), expected)
    np.testing.assert_allclose(cost(x, x / length, codes, lam), expected, rtol=1e-6)
    residual = x - codes @ (x / length)
    assert (np.linalg.norm(residual, axis=1) <= lam * (1 + 1e-4)).all()


def test_no_dictionary_goes_below_the_floor(x):
    for seed in range(5):
        atoms = np.random.default_rng(seed).normal(size=(500, 4))
        atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
        codes = nonnegative_lasso(x, atoms, 0.4)
        assert (cost(x, atoms, codes, 0.4) >= wide_cost(x, 0.4) - 1e-12).all()


@pytest.mark.parametrize("lam", [0.3, 1.5, 2.0])
def test_growing_from_nothing_ends_with_one_atom_a_sample_that_is_longer_than_lambda(x, lam):
    grown = column_generation(x, lam, rounds=300, tol=1e-5, at_once=2)
    costs = [step.cost for step in grown]
    assert costs[0] == pytest.approx(0.5 * np.square(x).sum(axis=1).mean())
    assert (np.diff(costs) <= 1e-6).all()
    assert costs[-1] == pytest.approx(grown[-1].floor, rel=1.1e-5)
    long = x[np.linalg.norm(x, axis=1) > lam]
    directions = long / np.linalg.norm(long, axis=1, keepdims=True)
    nearest = (grown[-1].atoms @ directions.T).max(axis=0)
    assert (nearest > 0.999).all()
    assert grown[-1].n_atoms >= len(long)


def test_directions_that_samples_share_need_one_atom():
    x = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    grown = column_generation(x, 0.5, rounds=40, tol=1e-7)
    assert grown[-1].n_atoms == 2
    assert grown[-1].cost == pytest.approx(grown[-1].floor, rel=1e-6)


def test_lambda_is_checked(x):
    with pytest.raises(ValueError, match="lam is the price"):
        wide_cost(x, 0.0)
    with pytest.raises(ValueError, match="lam is the price"):
        column_generation(x, -1.0)
