"""Amplification: limits of a quotient, and a network in which it is known."""

import numpy as np
import pytest

from saecert.dictionaries import amplification
from saecert.dictionaries.quantities import FIDELITY


def test_limits_enclose_a_known_amplification_at_every_layer():
    known = amplification.known_network(0.05, "dirichlet", 0)
    np.testing.assert_allclose(known["measured over true"], 1, atol=0.03)
    assert known["missed"].iloc[0] <= 0.05


def limits(**changes):
    rng = np.random.default_rng(0)
    fidelity = {name: rng.uniform(0.2, 0.4, (2, 300)) for name in FIDELITY}
    clean = rng.uniform(3, 5, (2, 300))
    settings = {"cap": 1.0, "delta": 0.05, "inequality": "dirichlet"} | changes
    return amplification.fidelity_and_amplification(
        fidelity, clean, clean + 0.3, clean - 0.1, **settings
    )


def test_amplification_is_loss_change_over_error():
    found = limits()
    error = found[amplification.ERROR]
    ours = found[amplification.OURS]
    np.testing.assert_allclose(found["loss change"]["mean"], 0.3)
    np.testing.assert_allclose(ours["mean"], 0.3 / error["mean"])
    np.testing.assert_allclose(ours["upper"], found["loss change"]["upper"] / error["lower"])
    assert (found[amplification.PAIRED]["lower"] > 0).all()
    assert (found[amplification.RANDOM]["mean"] < ours["mean"]).all()


def test_a_change_counts_up_to_the_cap():
    found = limits(cap=0.2)
    np.testing.assert_allclose(found["loss change"]["mean"], 0.2)
    np.testing.assert_allclose(found["loss change of random error"]["mean"], 0.1)


def test_a_smaller_delta_widens_all_limits():
    wide = limits(delta=0.001)["cosine"]
    narrow = limits()["cosine"]
    assert (wide["lower"] < narrow["lower"]).all()
    assert (wide["upper"] > narrow["upper"]).all()


def test_difference_of_limits():
    ours = limits()[amplification.OURS]
    low, high = amplification.difference(ours.iloc[1], ours.iloc[0])
    assert low == pytest.approx(ours["lower"][1] - ours["upper"][0])
    assert low < 0 < high
