"""Tables and figures about optimality, from made-up measurements."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from saecert.dictionaries.phenomena_limits import absorbed, together
from saecert.reporting import optimality
from saecert.reporting.optimality_figures import plot_phases, plot_widening
from saecert.reporting.tables import show

HOOKS = ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]


@pytest.fixture
def measured():
    rng = np.random.default_rng(0)
    made = {}
    for shift, hook in enumerate(HOOKS):
        floor = rng.uniform(0.05, 0.1, size=200)
        optimal = floor + 0.1
        costs = {"encoder": optimal + 0.02 * (shift + 1), "optimal": optimal}
        costs |= {"better": optimal - 0.001, "floor": floor, "gap": np.array(0.0)}
        numbers = {"lambda": 2.0, "implied lambda": 0.0, "l0, encoder": 24.0, "l0, optimal": 70.0}
        for word in optimality.WORDS:
            numbers |= {f"gain by chance, {word}": 0.1, f"gain, {word}": 0.2}
            numbers |= {f"gain at most, {word}": 0.3}
        latents = {}
        for word in optimality.WORDS:
            latents[f"firings, {word}"] = np.array([0, 5, 20, 30])
            latents[f"implied_lambda, {word}"] = np.array([np.nan, 100.0, 1.0, 3.0])
            latents[f"angle, {word}"] = np.array([np.nan, 1.0, 80.0, 90.0])
            latents[f"agreement, {word}"] = np.array([np.nan, 1.0, 0.0, 0.5])
        made[hook] = {name: np.asarray(value) for name, value in numbers.items()} | latents | costs
    return made


def test_moved_counts_cells_that_are_told_at_both_prices():
    """At the higher price: one merges, one parts, one stays, two are not told at one of both."""
    cells = {"theta": 60, "both": [0.1, 0.2, 0.3, 0.4, 0.5], "tilt": 0.5}
    low = pd.DataFrame({**cells, "lam": 0.1, "kept": [1, 0, 1, 1, 0], "certified": [1, 1, 1, 0, 1]})
    high = low.assign(lam=0.6, kept=[0, 1, 1, 0, 1], certified=[1, 1, 1, 1, 0])
    other = high.assign(tilt=0.9, kept=0, certified=1)
    phases = pd.concat([high[::-1], low, other])
    assert optimality.moved(phases, 0.5, 0.1, 0.6) == (1, 1)
    assert optimality.moved(phases[phases["both"] != 0.2], 0.5, 0.1, 0.6) == (1, 0)


def test_errors_are_the_differences_and_within_their_limits(measured):
    limits = optimality.errors_by_layer(measured, 0.05, "dirichlet")
    np.testing.assert_allclose(limits["encoder's error"]["mean"], [0.02, 0.04])
    np.testing.assert_allclose(limits["dictionary's error, found"]["mean"], 0.001)
    np.testing.assert_allclose(limits["above the wide limit"]["mean"], 0.1)
    for frame in limits.values():
        assert (frame["lower"] < frame["mean"]).all() and (frame["mean"] < frame["upper"]).all()


def test_a_sequence_counts_for_the_cap_at_most(measured):
    measured[HOOKS[0]]["better"] = measured[HOOKS[0]]["optimal"] - 0.5
    limits = optimality.errors_by_layer(measured, 0.05, "dirichlet", cap=0.2)
    assert limits["dictionary's error, found"]["mean"].iloc[0] == pytest.approx(0.2)
    assert limits["dictionary's error, found"]["upper"].iloc[0] == pytest.approx(0.2)


def test_limits_are_moved_outwards_by_the_duality_gap(measured):
    """Codes were solved to within a gap, so "optimal" costs may be too high by it."""
    exact = optimality.errors_by_layer(measured, 0.05, "dirichlet")
    for gap, values in zip((0.002, 0.003), measured.values(), strict=True):
        values["gap"] = np.array(gap)
    found = optimality.errors_by_layer(measured, 0.05, "dirichlet")
    moved = {name: found[name] - frame for name, frame in exact.items()}
    gaps = np.array([0.002, 0.003])
    off = {"encoder's error": (0, 1), "dictionary's error, found": (-1, 1)}
    off |= {"above the wide limit": (-1, 0)}
    for name, (down, up) in off.items():
        np.testing.assert_allclose(moved[name]["lower"], down * gaps, atol=1e-12)
        np.testing.assert_allclose(moved[name]["upper"], up * gaps, atol=1e-12)
        assert (moved[name]["mean"] == 0).all()


def test_the_difference_of_two_encoders_is_moved_by_both_gaps(measured):
    exact = optimality.encoder_difference(measured, 0.05, "dirichlet")
    for gap, values in zip((0.002, 0.003), measured.values(), strict=True):
        values["gap"] = np.array(gap)
    found = optimality.encoder_difference(measured, 0.05, "dirichlet")
    assert found["lower"] == pytest.approx(exact["lower"] - 0.003)
    assert found["upper"] == pytest.approx(exact["upper"] + 0.002)


def test_latents_that_fire_rarely_are_left_out(measured):
    table = optimality.atoms_by_layer(measured)
    encoder, optimal = table.loc["encoder's"], table.loc["optimal"]
    assert encoder.index.tolist() == ["0", "1"]
    assert encoder[optimality.IMPLIED, "median"].tolist() == [1.0, 1.0]  # of .5 and 1.5
    np.testing.assert_allclose(encoder[optimality.IMPLIED, "90 %"], 1.4)
    assert encoder["median", "angle, degrees"].tolist() == [85.0, 85.0]
    assert optimal["median", "agreement"].tolist() == [0.25, 0.25]


def test_numbers_by_layer(measured):
    settings = optimality.settings_by_layer(measured)
    assert settings["lambda"].tolist() == [2.0, 2.0]
    assert settings["active, optimal"].tolist() == [70.0, 70.0]
    gains = optimality.new_atoms_by_layer(measured)
    assert gains["optimal codes", "found"].tolist() == [0.2, 0.2]
    assert gains["encoder's codes", "by chance"].tolist() == [0.1, 0.1]


def test_a_price_that_is_no_limit_is_printed_to_the_nearest(measured):
    measured[HOOKS[0]]["implied lambda"] = np.asarray(0.0249)
    table = optimality.settings_by_layer(measured)
    assert "0.02" in str(show(table, nearest=["implied price"]))
    assert "0.03" not in str(show(table, nearest=["implied price"]))


def test_a_distance_that_orders_the_gap_has_a_positive_tau(measured):
    rng = np.random.default_rng(1)
    for values in measured.values():
        values["encoder"] = values["optimal"] + rng.uniform(0, 0.3, size=200)
    gaps = {hook: values["encoder"] - values["optimal"] for hook, values in measured.items()}
    limits = optimality.predicted(measured, gaps, 0.05, "dirichlet")
    np.testing.assert_allclose(limits["encoder's error"]["mean"], 1)
    assert (limits["encoder's error"]["lower"] > 0.8).all()
    assert (limits["above the wide limit"]["lower"] < 0.3).all()


def test_the_anchors_are_found_and_enclosed():
    frame = optimality.anchors(72, 0.3, [0.3], seed=0)
    assert optimality.anchors_table(frame)["angles, degrees"].tolist() == ["0 and 36"]
    row = frame.iloc[0]
    assert row["found"] == pytest.approx(row["exact"], abs=1e-7)
    assert row["exact"] == pytest.approx(0.310623, abs=6e-7)
    assert row["certified, lower"] <= row["exact"] <= row["certified, upper"] + 1e-9
    assert row["true dictionary"] == pytest.approx(0.337874, abs=6e-7)
    assert [row["angle of 1"], row["angle of 2"]] == pytest.approx([0, 36], abs=1e-3)


def test_a_row_of_the_phase_diagram():
    rows = optimality.phase_row(lam=0.3, theta=75, tilt=0.5, shares=[0.1, 0.6])
    assert [row["certified"] for row in rows] == [1, 1]
    assert [row["kept"] for row in rows] == [1, 0]
    assert all(row["lower"] <= row["cost"] for row in rows)


def test_growing_is_told_round_by_round():
    rows = optimality.widening(n=6, width=3, lam=0.5, rounds=30, seed=0)
    assert rows[0]["atoms"] == 0
    assert rows[-1]["cost"] == pytest.approx(rows[-1]["floor"], rel=1e-3)
    end = optimality.grown_table(pd.DataFrame(rows).assign(lam=0.5)).loc[0.5]
    assert end["atoms in use"] == rows[-1]["atoms"]
    assert end["above the wide limit, share"] == rows[-1]["cost"] / rows[-1]["floor"] - 1


def test_figures_are_drawn():
    cells = [
        {"lam": lam, "tilt": 0.5, "theta": theta, **row}
        for lam in (0.1, 0.3)
        for theta in (60, 90)
        for row in optimality.phase_row(lam=lam, theta=theta, tilt=0.5, shares=[0.2, 0.8])
    ]
    titles = [ax.get_title() for ax in plot_phases(pd.DataFrame(cells)).axes]
    assert titles == ["λ = 0.1, alone equally often", "λ = 0.3, alone equally often"]
    frame = pd.DataFrame(optimality.widening(n=5, width=3, lam=0.5, rounds=10, seed=0))
    assert len(plot_widening(frame.assign(lam=0.5)).axes) == 1
    plt.close("all")


def test_words_are_those_of_the_clearest_pair_of_each_hook_point():
    values = {"opposite pairs": np.array([[1, 2], [3, 4]]), "opposite cosine": np.array([-1, -0.9])}
    values["opposite words"] = np.array([["'a'", "'b'"], ["'c'", "'d'"]])
    for name, share in (("first", 0.3), ("second", 0.4)):
        values[f"opposite {name}"] = np.full((100, 2), share)
    values["opposite both"] = np.stack([np.full(100, 0.1), np.zeros(100)], axis=1)
    other = values | {"opposite both": values["opposite both"][:, ::-1]}
    measured = dict(zip(HOOKS, (values, other), strict=True))
    frame = together(measured, "opposite", 0.05, "dirichlet")
    table = optimality.words_table(measured, "opposite", frame)
    assert table.index.tolist() == [("0", "3 and 4"), ("1", "1 and 2")]
    assert table.to_numpy().tolist() == [["'c'", "'d'"], ["'a'", "'b'"]]
    assert optimality.pairs_table(frame, ["cosine"]).index.tolist()[:2] == [
        ("0", "1 and 2"),
        ("0", "3 and 4"),
    ]


def test_places_of_absorption_are_read_in_the_text(monkeypatch):
    """The parent is silent at one place and fires at two; nothing is said of a place -1."""
    values = {"absorbed pairs": np.array([[7, 8]]), "absorbed cosine": np.array([0.5])}
    values["absorbed child"] = np.ones((100, 1), dtype=int)
    values["absorbed alone"] = np.zeros((100, 1), dtype=int)
    values["absorbed examples"] = np.array([[[[2, 30], [-1, -1]], [[0, 5], [1, 6]]]])
    measured = {HOOKS[0]: values}
    frame = absorbed(measured, 0.05)
    study = SimpleNamespace(subject=None, discovery=None)
    read = "saecert.dictionaries.phenomena.context"
    monkeypatch.setattr(read, lambda subject, corpus, *place: "{} {}".format(*place))
    assert optimality.examples(measured, frame, study) == [
        f"7 8 at {HOOKS[0]}:",
        "parent silent at: 2 30",
        "parent fires at: 0 5",
        "parent fires at: 1 6",
    ]


def test_no_pairs_are_an_empty_table():
    none = {"absorbed pairs": np.empty((0, 2), dtype=int), "absorbed cosine": np.empty(0)}
    frame = absorbed({HOOKS[0]: none}, 0.05)
    assert frame.empty and "alone, upper" in frame
    measured = {HOOKS[0]: none}
    assert optimality.words_table(measured, "absorbed", frame).empty
    assert optimality.examples(measured, frame, SimpleNamespace()) == []
