"""Exact anchors: found by the library's own solvers, and certified minima in the plane."""

import math

import numpy as np
import pytest

from saecert.dictionaries.lasso import cost, nonnegative_lasso
from saecert.dictionaries.learned import learn_dictionary
from saecert.dictionaries.two_features import Plane, certified_minimum, margins, plane_cost

THETA = math.radians(72)
ABSORPTION = {0.05: (0.058021, 0.063552), 0.3: (0.310623, 0.337874), 0.9: (0.661869, 0.700865)}
"""Minimum, and cost of the true dictionary, for v1 with probability .7 and v1 + v2 with .3."""


def angles_of(atoms):
    return np.sort(np.degrees(np.arctan2(atoms[:, 1], atoms[:, 0])))


@pytest.mark.parametrize(("lam", "values"), ABSORPTION.items())
def test_absorption_is_found_from_random_starts(lam, values):
    plane = Plane(0.7, 0, 0.3, THETA)
    seen = plane.weights > 0
    x, weights = plane.points[seen], plane.weights[seen]
    found = learn_dictionary(x, 2, lam, weights=weights, n_starts=6)
    assert found.cost == pytest.approx(values[0], abs=6e-7)
    np.testing.assert_allclose(angles_of(found.atoms), [0, 36], atol=1e-3)
    truth = plane.points[:2]
    codes = nonnegative_lasso(x, truth, lam, tol=1e-12)
    assert weights @ cost(x, truth, codes, lam) == pytest.approx(values[1], abs=6e-7)


@pytest.mark.parametrize(("lam", "values"), ABSORPTION.items())
def test_absorption_is_the_global_minimum(lam, values):
    found = certified_minimum(Plane(0.7, 0, 0.3, THETA), lam)
    assert found.lower <= values[0] + 6e-7
    assert found.cost >= values[0] - 6e-7
    assert found.cost - found.lower <= 3e-3 * found.cost
    assert found.certified and not found.kept


@pytest.mark.parametrize(("theta", "lam"), [(40, 0.1), (72, 0.3), (90, 0.5)])
def test_the_formula_of_absorption(theta, lam):
    rho, half = 0.4, math.radians(theta) / 2
    single = lam - lam**2 / 2
    exact = (1 - rho) * single + rho * (2 * lam * math.cos(half) - lam**2 / 2)
    found = certified_minimum(Plane(1 - rho, 0, rho, 2 * half), lam)
    assert found.lower <= exact + 1e-12 <= found.cost + 1e-9
    assert found.cost == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("weights", [(0.3, 0.3, 0.4), (0.1, 0.3, 0.6), (0.5, 0.5, 0.0)])
def test_solo_firing_finds_the_true_pair_as_activity_becomes_cheap(weights):
    """In the limit lam -> 0 the objective is that of the constrained problem."""
    plane = Plane(*weights, THETA)
    found = [
        learn_dictionary(plane.points, 2, lam, weights=plane.weights, n_starts=6)
        for lam in (0.02, 0.005)
    ]
    off = [np.abs(angles_of(one.atoms) - [0, 72]).max() for one in found]
    assert off[0] < 5
    assert off[1] < 0.3 * off[0] + 1e-3  # proportional to lam


@pytest.mark.parametrize("weights", [(0.3, 0.3, 0.4), (0.05, 0.15, 0.8), (0.6, 0.0, 0.4)])
@pytest.mark.parametrize("lam", [0.1, 0.8])
def test_the_cost_in_the_plane_is_that_of_the_solver(weights, lam):
    plane = Plane(*weights, math.radians(100))
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, size=(200, 2))
    exact = plane_cost(plane, lam, angles)
    for pair, value in zip(angles, exact, strict=True):
        atoms = np.stack([np.cos(pair), np.sin(pair)], axis=1)
        codes = nonnegative_lasso(plane.points, atoms, lam, tol=1e-12)
        solved = plane.weights @ cost(plane.points, atoms, codes, lam)
        assert value == pytest.approx(solved, abs=1e-6)


@pytest.mark.parametrize("lam", [0.05, 0.3, 0.9])
def test_the_margin_of_a_box_is_never_exceeded(lam):
    rng = np.random.default_rng(0)
    plane = Plane(0.2, 0.3, 0.5, math.radians(70))
    for half in (0.3, 0.03, 0.003):
        boxes = rng.uniform(0, 2 * np.pi, size=(4000, 2))
        boxes[::2, 1] = boxes[::2, 0] + np.pi + rng.normal(size=2000) * 0.3  # nearly opposite
        inside = boxes + rng.uniform(-half, half, size=boxes.shape)
        change = np.abs(plane_cost(plane, lam, inside) - plane_cost(plane, lam, boxes))
        margin = margins(plane, lam, boxes, half)
        assert (change <= margin + 1e-12).all()
        assert (change / margin).max() > 0.2  # and it is not idle


def test_random_starts_find_nothing_below_the_certified_limit():
    plane = Plane(0.2, 0.2, 0.6, THETA)
    certified = certified_minimum(plane, 0.3)
    found = learn_dictionary(plane.points, 2, 0.3, weights=plane.weights, n_starts=10)
    assert certified.lower <= found.cost <= certified.cost + 1e-9


def test_the_pair_is_kept_where_the_features_fire_alone_and_merged_where_they_do_not():
    kept = certified_minimum(Plane(0.4, 0.4, 0.2, THETA), 0.3)
    merged = certified_minimum(Plane(0.05, 0.05, 0.9, THETA), 0.3)
    assert kept.certified and kept.kept
    assert merged.certified and not merged.kept


def test_a_search_that_gives_up_certifies_nothing_and_its_limit_holds():
    plane = Plane(0.05, 0.05, 0.9, THETA)
    short = certified_minimum(plane, 0.05, most_boxes=2000)
    assert not short.certified
    assert short.lower <= certified_minimum(plane, 0.05, most_boxes=400_000).cost


@pytest.mark.parametrize(
    ("plane", "lam", "message"),
    [
        (Plane(-0.1, 0.5, 0.5, 1.0), 0.1, "a, b, c are probabilities"),
        (Plane(0, 0, 0, 1.0), 0.1, "a, b, c are probabilities"),
        (Plane(0.9, 0.9, 0, 1.0), 0.1, "a, b, c are probabilities"),
        (Plane(0.5, 0.5, 0, 3.5), 0.1, "theta is an angle between 0 and pi"),
        (Plane(0.5, 0.5, 0, 1.0), 0.0, "lam is the price"),
    ],
)
def test_what_cannot_be_is_refused(plane, lam, message):
    with pytest.raises(ValueError, match=message):
        certified_minimum(plane, lam)
