"""Tables about the wide limit and a public model, from made-up measurements."""

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import ALPHA, make_losses

from saecert.reporting import optimality_limits

HOOKS = ["blocks.0.hook_resid_post", "blocks.9.hook_resid_post"]


@pytest.fixture
def wide():
    floor = np.random.default_rng(0).uniform(0.04, 0.06, size=200)
    return {
        hook: {
            "floor": floor,
            "optimal": 2 * floor,
            "directions": 2 * floor + shift,
            "gap": np.zeros(200),
        }
        for hook, shift in zip(HOOKS, (0.2, -0.01), strict=True)
    }


def test_prices_are_what_they_were_before_they_were_kept():
    measured = {HOOKS[0]: {"lambda": np.array(np.float32(3.4), dtype=float)}}
    assert optimality_limits.prices_of(measured) == {HOOKS[0]: 3.4}


def test_differences_lie_within_their_limits(wide):
    limits = optimality_limits.floor_by_layer(wide, 0.05, "dirichlet")
    above, other = limits.values()
    means = wide[HOOKS[0]]["floor"].mean()
    np.testing.assert_allclose(above["mean"], means)
    np.testing.assert_allclose(other["mean"], [0.2, -0.01])
    for frame in limits.values():
        assert (frame["lower"] < frame["mean"]).all() and (frame["mean"] < frame["upper"]).all()
    assert above["lower"].gt(0).all()
    assert other["lower"].iloc[1] < 0


def test_limits_are_moved_outwards_by_the_largest_duality_gap(wide):
    exact = optimality_limits.floor_by_layer(wide, 0.05, "dirichlet")
    for values in wide.values():
        values["gap"] = np.linspace(0, 0.002, 200)
    above, other = optimality_limits.floor_by_layer(wide, 0.05, "dirichlet").values()
    first, second = exact.values()
    np.testing.assert_allclose(above["lower"], first["lower"] - 0.002)
    np.testing.assert_allclose(above["upper"], first["upper"])
    np.testing.assert_allclose(other["lower"], second["lower"] - 0.002)
    np.testing.assert_allclose(other["upper"], second["upper"] + 0.002)


def test_the_limits_share_delta(wide):
    alone = optimality_limits.floor_by_layer({HOOKS[0]: wide[HOOKS[0]]}, 0.05, "hoeffding")
    both = optimality_limits.floor_by_layer(wide, 0.1, "hoeffding")
    for name, frame in alone.items():
        assert both[name]["upper"].iloc[0] == pytest.approx(frame["upper"].iloc[0])


def test_means_and_their_ratio(wide):
    table = optimality_limits.floor_means(wide)
    assert table.index.tolist() == ["0", "9"]
    np.testing.assert_allclose(table["SAE / wide limit"], 2)


def test_latents_that_fire_rarely_have_no_implied_price():
    values = {
        "firings, encoder": np.array([9, 10, 20, 0]),
        "implied_lambda, encoder": np.array([100, 1, 3, np.nan], dtype=np.float16),
        "lambda": np.array(2.0),
        "angle, encoder": np.array(80.0),
        "agreement, encoder": np.array(0.1),
    }
    row = optimality_limits.implied_by_layer({HOOKS[0]: values}).loc["0"]
    assert row["latents"] == 2
    assert row["median"] == 1.0  # of .5 and 1.5
    assert row["angle, degrees"] == 80


def test_outliers_stand_beside_prices_in_percent():
    numbers = {"lambda": 2.0, "implied lambda": 0.0, "l0, encoder": 24.0, "l0, optimal": 70.0}
    values = {name: np.asarray(value) for name, value in numbers.items()}
    values |= {"usual, discovery": np.array(0.99), "usual": np.array([1, 1, 0.5, 1])}
    row = optimality_limits.settings_away({HOOKS[1]: values}).loc["9"]
    assert row["lambda"] == 2
    assert row["outliers, discovery (%)"] == pytest.approx(1)
    assert row["outliers, sample (%)"] == pytest.approx(12.5)


def test_terms_stand_beside_distances():
    model = np.array([1.0, 2.0])
    record = make_losses(model, model + np.array([0.5, -0.1]))
    limits = {"encoder's error": pd.DataFrame({"mean": [0.03]})}
    row = optimality_limits.beside_terms(limits, {HOOKS[1]: record}, ALPHA).loc["9"]
    assert row["encoder's error"] == 0.03
    assert row["reconstruction gap"] == pytest.approx(0.3)
    assert row["loss above the model's"] == pytest.approx(0.25)
    assert row["risk with the SAE"] - row["model risk"] == pytest.approx(0.2)
