"""The nonnegative lasso: solved, and checked without believing the solver."""

import numpy as np
import pytest
from scipy.optimize import nnls

from saecert.dictionaries.lasso import (
    cost,
    duality_gap,
    kkt_violation,
    nonnegative_lasso,
    unit_atoms,
)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(30, 8))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return 3 * rng.normal(size=(20, 8)), atoms


def test_one_atom_is_soft_thresholding():
    x = np.array([[2.0, 1.0], [0.2, 5.0], [-3.0, 0.0]])
    codes = nonnegative_lasso(x, np.array([[1.0, 0.0]]), 0.5)
    np.testing.assert_allclose(codes[:, 0], [1.5, 0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("lam", [0.05, 0.5, 2.0])
def test_the_conditions_hold_and_the_gap_closes(problem, lam):
    x, atoms = problem
    codes = nonnegative_lasso(x, atoms, lam, tol=1e-12)
    assert codes.min() >= 0
    assert kkt_violation(x, atoms, codes, lam).max() < 1e-4
    assert (duality_gap(x, atoms, codes, lam) <= 1e-9 * np.square(x).sum(axis=1)).all()


def test_another_solver_finds_the_same_cost(problem):
    x, _ = problem
    rng = np.random.default_rng(1)
    atoms, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    lam = 0.7
    codes = nonnegative_lasso(x, atoms, lam, tol=1e-12)
    # square systems: D'D z = D x - lam with z >= 0 is nnls for the shifted right-hand side
    shifted = x - lam * np.linalg.solve(atoms, np.ones(8))
    expected = np.stack([nnls(atoms.T, row)[0] for row in shifted])
    np.testing.assert_allclose(codes, expected, atol=1e-6)


def test_the_gap_bounds_what_any_codes_cost_too_much(problem):
    x, atoms = problem
    best = cost(x, atoms, nonnegative_lasso(x, atoms, 0.3, tol=1e-12), 0.3)
    for seed in range(5):
        codes = np.random.default_rng(seed).exponential(size=(len(x), len(atoms))) / 20
        excess = cost(x, atoms, codes, 0.3) - best
        assert (excess > 0).all()
        assert (duality_gap(x, atoms, codes, 0.3) >= excess - 1e-9).all()


def test_a_start_changes_nothing_but_the_time(problem):
    x, atoms = problem
    cold = nonnegative_lasso(x, atoms, 0.3, tol=1e-12)
    start = np.random.default_rng(0).exponential(size=cold.shape)
    warm = nonnegative_lasso(x, atoms, 0.3, start=start, tol=1e-12)
    np.testing.assert_allclose(cost(x, atoms, warm, 0.3), cost(x, atoms, cold, 0.3), rtol=1e-9)


def test_a_start_is_left_as_it_was(problem):
    x, atoms = problem
    start = np.asfortranarray(np.ones((len(x), len(atoms))))
    nonnegative_lasso(x, atoms, 0.3, start=start)
    assert (start == 1).all()


def test_the_gap_is_at_most_twice_tol_among_near_copies_too(problem):
    x, atoms = problem
    copies = np.concatenate([atoms, atoms + 1e-5 * np.roll(atoms, 1, axis=0)])
    copies /= np.linalg.norm(copies, axis=1, keepdims=True)
    square = np.square(x).sum(axis=1)
    for tol in (1e-4, 1e-6):
        codes = nonnegative_lasso(x, copies, 0.3, tol=tol, sweeps=1)
        assert (duality_gap(x, copies, codes, 0.3) <= 2 * tol * square).all()


def test_a_gap_that_cannot_be_had_is_told_by_the_gap_and_no_worse(problem):
    x, atoms = problem
    best = nonnegative_lasso(x, atoms, 0.3, tol=1e-12)
    codes = nonnegative_lasso(x, atoms, 0.3, tol=1e-30)
    left = duality_gap(x, atoms, codes, 0.3)
    assert (left > 2e-30 * np.square(x).sum(axis=1)).any()
    np.testing.assert_allclose(cost(x, atoms, codes, 0.3), cost(x, atoms, best, 0.3), rtol=1e-9)


def test_violations_are_told_by_kind():
    x = np.array([[2.0, 0.0]])
    atoms = np.eye(2)
    # at lam 1 the code of the first atom should be 1: too much by 0.5 is a pull of 0.5 instead of 1
    np.testing.assert_allclose(kkt_violation(x, atoms, np.array([[1.5, 0.0]]), 1.0), [[0.5, 0.0]])
    np.testing.assert_allclose(kkt_violation(x, atoms, np.array([[0.0, 0.0]]), 1.0), [[0.0, 1.0]])


@pytest.mark.parametrize("lam", [0, -1.0, float("nan"), float("inf")])
def test_lambda_is_above_zero(problem, lam):
    with pytest.raises(ValueError, match="lam is the price of a unit of activity"):
        nonnegative_lasso(*problem, lam)


def test_atoms_that_are_not_unit_are_normalised_and_it_is_said(problem):
    x, atoms = problem
    with pytest.warns(UserWarning, match="30 of 30 atoms do not have norm 1 .* normalised"):
        codes = nonnegative_lasso(x, 2 * atoms, 0.5, tol=1e-12)
    expected = nonnegative_lasso(x, atoms, 0.5, tol=1e-12)
    np.testing.assert_allclose(codes, expected, atol=1e-6)
    with pytest.raises(ValueError, match="atom 1 has no direction"):
        unit_atoms(np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_negative_codes_are_refused(problem):
    x, atoms = problem
    codes = np.zeros((len(x), len(atoms)))
    codes[3, 4] = -1
    with pytest.raises(ValueError, match="1 codes are negative"):
        nonnegative_lasso(x, atoms, 1.0, start=codes)


def test_data_of_another_width_are_refused(problem):
    x, atoms = problem
    with pytest.raises(ValueError, match="x has shape .* the atoms are of width 8"):
        nonnegative_lasso(x[:, :5], atoms, 1.0)


def test_values_that_are_not_finite_are_refused(problem):
    x, atoms = problem
    with pytest.raises(ValueError, match="not finite"):
        nonnegative_lasso(np.where(x > 2, np.nan, x), atoms, 1.0)


def test_codes_of_another_shape_are_refused(problem):
    x, atoms = problem
    with pytest.raises(ValueError, match="codes have shape"):
        nonnegative_lasso(x, atoms, 1.0, start=np.zeros((2, 2)))
