"""Hook points by depth, and frames of what is measured there."""

from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from synthetic_losses import random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.comparison import compare
from saecert.dictionaries.amplification import ERROR, OURS, RANDOM
from saecert.reporting import figures, layers

mpl.use("Agg")
HOOKS = ["blocks.10.hook_resid_post", "blocks.2.hook_resid_post", "blocks.2.hook_resid_pre"]
LIMITS = pd.DataFrame({"lower": [0.1, 0.5], "mean": [0.2, 0.6], "upper": [0.3, 0.7]})


def test_hook_points_by_depth():
    assert layers.by_depth(HOOKS) == HOOKS[::-1]
    assert layers.labels_of(HOOKS) == ["10", "2", "2 pre"]


def test_a_common_pool_is_a_share_of_the_smallest_dictionary():
    surveys = {"a": {"token_count": np.zeros(64)}, "b": {"token_count": np.zeros(40)}}
    study = SimpleNamespace(measure=lambda name, hook_names: surveys)
    assert layers.common_pool(study, ["a", "b"], 0.75) == 30
    assert layers.common_pool(study, ["a", "b"], 0.001) == 1


def test_terms_by_layer():
    certificate = certify(random_losses(80))
    terms = layers.certified_terms({HOOKS[0]: certificate, HOOKS[1]: certificate})
    table = layers.by_layer(terms)
    assert list(table.index) == ["10", "2"]
    assert table.loc["10", ("joint loss", "upper")] == certificate.bound
    assert table.loc["2", ("reconstruction gap", "mean")] == pytest.approx(
        certificate.means["reconstruction gap"]
    )


def test_losses_and_the_distances_that_are_far_smaller_have_a_panel_each():
    made = {hook: certify(random_losses(80, seed)) for seed, hook in enumerate(HOOKS[:2])}
    frame = layers.certificate_panels(made)
    by_panel = frame.groupby("panel", sort=False)["quantity"].unique()
    assert {panel: set(names) for panel, names in by_panel.items()} == {
        layers.LOSSES: {"proxy risk", "joint loss"},
        layers.DISTANCES: {"reconstruction gap", "pool mismatch"},
    }
    fig = figures.plot_layers(frame, near=[layers.LOSSES])
    left, right = fig.axes
    least = frame.loc[frame["panel"] == layers.LOSSES, "mean"].min()
    assert 0.8 * least < left.get_ylim()[0] < least and right.get_ylim()[0] == 0
    colours = {
        text: bars[0].get_color()
        for ax in fig.axes
        for bars, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    assert len(set(colours.values())) == 4, "one colour, one quantity"
    assert colours["pool mismatch"] == figures.TERM_COLOURS["pool mismatch"]
    plt.close("all")


def test_measurements_are_stacked_in_the_order_of_the_losses():
    losses = {HOOKS[1]: random_losses(20, 1), HOOKS[0]: random_losses(20, 0)}
    fidelity = {hook: {"cosine": np.full(20, place)} for place, hook in enumerate(HOOKS)}
    local, clean, full, pooled = layers.stacked(losses, fidelity, alpha=0.5, noise="pool_8")
    assert local["cosine"][:, 0].tolist() == [1, 0]
    for found, name in ((clean, "clean"), (full, "full"), (pooled, "pool_8")):
        assert (found[1] == losses[HOOKS[0]].at(name, 0.5)).all()


def test_limits_by_quantity_and_for_a_panel():
    table = layers.by_quantity({"cosine": LIMITS}, HOOKS[:2])
    assert table.loc[("cosine", "upper"), "2"] == 0.7
    panel = layers.layer_panel("local", "unit", {"cosine": LIMITS}, HOOKS[:2])
    assert panel["layer"].tolist() == ["10", "2"]
    assert set(panel["panel"]) == {"local"}


def test_limits_of_one_quantity_by_layer():
    table = layers.by_layer_limits(LIMITS.assign(more=0.0), HOOKS[:2])
    assert list(table.columns) == ["lower", "mean", "upper"]
    assert table.loc["2", "upper"] == 0.7


def test_what_lacks_has_its_limits_the_other_way_round():
    lacking = layers.lacking(LIMITS)
    np.testing.assert_allclose(lacking.iloc[0], [0.7, 0.8, 0.9])


def test_first_against_last():
    records = [random_losses(80, seed) for seed in (0, 1)]
    pair = compare(*map(certify, records), tuple(records))
    errors = (np.array([0.4, 0.6]), np.array([0.1, 0.3]))
    limits = dict.fromkeys((ERROR, OURS, RANDOM), LIMITS)
    frame = layers.first_against_last({"gap": pair}, errors, (0.1, 0.5), limits)
    assert frame.loc["reconstruction gap", "verdict"] == "not told"
    assert frame.loc[ERROR, ["first", "last"]].tolist() == pytest.approx([0.2, 0.5])
    assert frame.loc[ERROR, "verdict"] == "larger"
    assert frame.loc[OURS, "change, lower"] == pytest.approx(0.2)
    assert frame.loc[OURS, "change, upper"] == pytest.approx(0.6)
