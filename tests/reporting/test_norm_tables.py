"""Tables and figures of page 22, on made-up rows."""

import numpy as np
import pytest
from synthetic_losses import ALPHA, HI, LO, make_losses
from synthetic_norms import made_up

from saecert.dictionaries import norm_limits
from saecert.reporting import norm_figures, norms
from saecert.reporting.quantities import MEASURABLE
from saecert.reporting.tables import show

NAMES = {"blocks.0.hook_resid_post": "0", "blocks.3.hook_resid_post": "3"}


@pytest.fixture
def measured():
    return {name: made_up(200, place) for place, name in enumerate(NAMES)}


def test_eps_is_printed_in_the_unit_of_the_report(measured):
    frame = norm_limits.medians(measured, 0.05)
    table = norms.by_name(frame, ["ratio", "eps_lbo"], list(NAMES.values()))
    np.testing.assert_allclose(
        table[norms.WORDS["eps_lbo"]].to_numpy(), 1e5 * frame["eps_lbo"].to_numpy()
    )
    np.testing.assert_array_equal(table[norms.WORDS["ratio"]].to_numpy(), frame["ratio"].to_numpy())
    assert table.index.tolist() == ["0", "3"]
    assert "lower" in str(show(table, "a table"))


def test_reported_numbers_fit_each_other():
    """| ratio^-2 - 1 | = eps_LBO (h - 1), with the h that is stated, but for two rows.

    A median of one is the median of the other where all codes are shorter. They are not in Gemma's
    layer 1, and in layer 12 of GPT-2 the two differ by more than their digits explain.
    """
    off = {}
    for (model, layer), (ratio, _, eps) in norms.REPORTED.items():
        h, _ = norms.REPORTED_SIZES[model]
        expected = abs(ratio**-2 - 1) / (h - 1) * norms.SCALE
        off[model, layer] = eps / expected - 1
    assert off.pop(("Gemma-2-2B", "1")) == pytest.approx(0.753, abs=0.01)
    assert off.pop(("GPT-2 Small", "12")) == pytest.approx(0.028, abs=0.005)
    assert max(map(abs, off.values())) < 0.01
    table = norms.reported()
    assert (table["Welch's limit × 100,000"] > 100 * table[norms.WORDS["eps_lbo"]]).all()


def test_ranks_are_laid_out_by_predictor_and_layer(measured):
    within = norm_limits.ranks_within(measured, 0.05, "dirichlet")
    table = norms.ranks_table(within, "total_variation", list(NAMES.values()))
    first = within.loc[("total_variation", "nmse", "blocks.3.hook_resid_post")]
    assert table.loc[("NMSE", "upper"), "3"] == first["upper"]
    panel = norms.rank_panels(within, "total_variation")
    names = ["NMSE", "deviation of norms", "published ε", "ε from ẑ"]
    assert panel["quantity"].unique().tolist() == names
    assert table.index.get_level_values(0).unique().tolist() == names
    assert set(panel["layer"]) == {"0", "3"}
    assert {"panel", "unit", "quantity", "layer", "lower", "mean", "upper"} <= set(panel.columns)


def test_bands_and_coherences_are_told_in_words(measured):
    labels = list(NAMES.values())
    shares = norms.by_name(
        norm_limits.means(measured, 0.05, "dirichlet"), norm_limits.SHARES, labels
    )
    bands = shares.columns.get_level_values(0).unique().tolist()
    assert bands == [f"ε (H − 1) = {band}" for band in ("0.25", "0.5", "1")]
    truth = norm_limits.coherences(measured)
    table = norms.coherences_table(truth, labels)
    words = ["published ε", "ε from ẑ", "Welch's limit", "coherence", "with the bias"]
    assert table.columns.tolist() == words
    np.testing.assert_array_equal(table.to_numpy(), truth.to_numpy())


def test_norms_are_drawn_with_three_bands(measured):
    points = norms.points(measured, {name: f"layer {label}" for name, label in NAMES.items()})
    assert len(points) == 2 * 200
    fig = norm_figures.plot_norms(points)
    assert [ax.get_title() for ax in fig.axes] == ["layer 0", "layer 3"]
    # the line of equal norms, three lower ends, two upper ones
    assert len(fig.axes[0].lines) == 6


def test_a_function_that_is_none_of_the_library_builds_nothing():
    with pytest.raises(ValueError, match="names no function of saecert"):
        MEASURABLE["built"].measure(None, None, [], {"build": "os:system"})


def test_increases_are_of_the_smoothed_loss_and_within_its_range():
    record = make_losses([3.0, 4.0], full=[3.5, 3.75])
    rises, largest = norms.increases({"a": record}, ALPHA)
    assert rises["a"].tolist() == [0.5, -0.25]
    assert largest == HI - LO
