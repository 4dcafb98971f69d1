"""Tables of what SAEs recover, from rows made up by hand."""

import numpy as np
import pandas as pd
import pytest

from saecert.reporting import recovery
from saecert.statistics.inequalities import clopper_pearson_upper


def row(world="log-uniform", architecture="batchtopk", recovered=300, variance=0.7, **changes):
    made = {
        "world": world,
        "architecture": architecture,
        "n_features": 3_200,
        "explained_variance": variance,
        "l0": 20.0,
        "silent": 0.1,
        "recovered": recovered,
        "mean_cosine": 0.5,
        "f1": 0.2,
        "mcc": 0.4,
        "fresh": 0,
        "first_bin": -4,
        "features": "2000 0 1200",
        "recovered_features": "0 0 300",
        "cosines": " ".join(["0"] * 20 + ["2900"] + ["0"] * 19 + ["300"]),
        "errors": "0 500 500",
    }
    return made | changes


ROWS = pd.DataFrame(
    [
        row(),
        row(architecture="jumprelu", recovered=100),
        row(architecture="topk", recovered=10),
        row(world="constant", architecture="batchtopk", recovered=20, variance=0.68),
        row(world="constant", architecture="jumprelu", recovered=0, variance=0.5),
        row(world="constant", architecture="topk", recovered=3_100),
    ]
)


def test_agreement_is_within_a_factor_of_two_and_five_hundredths():
    found = recovery.against_reported(ROWS).set_index(["world", "kind"])
    assert found.loc[("log-uniform", "BatchTopK"), "agrees"]
    assert not found.loc[("log-uniform", "JumpReLU"), "agrees"]  # 100 of 225
    assert found.loc[("constant", "TopK"), "agrees"]
    assert found.loc[("constant", "BatchTopK"), "agrees"]  # both at most 1 %
    assert not found.loc[("constant", "JumpReLU"), "agrees"]  # its explained variance
    assert found.loc[("log-uniform", "BatchTopK"), "reported"] == 297
    assert ("constant", "Matryoshka") not in found.index


def test_reported_counts_are_scaled_to_the_number_of_features():
    small = ROWS.assign(n_features=320)
    found = recovery.against_reported(small).set_index(["world", "kind"])
    assert found.loc[("log-uniform", "BatchTopK"), "reported"] == 30


def test_bins_without_features_are_left_out():
    found = recovery.by_probability(ROWS, "log-uniform")
    batch = found[found["kind"] == "BatchTopK"]
    assert batch["features"].tolist() == [2000, 1200]
    assert batch["share"].tolist() == [0, 0.25]
    assert batch["probability"].tolist() == pytest.approx([10**-0.875, 10**-0.375])
    assert recovery.rarer_half(found)["BatchTopK"] == 0


def test_limits_of_errors_have_their_part_of_delta():
    limits = recovery.splice_limits(ROWS, 0.05, "dirichlet")
    alone = recovery.splice_limits(ROWS.iloc[:1], 0.05, "dirichlet")
    assert limits["mean"].iloc[0] == pytest.approx(1 / 400)
    assert limits["upper"].iloc[0] > alone["upper"].iloc[0]
    assert limits["lower"].iloc[0] < alone["lower"].iloc[0]
    with pytest.raises(ValueError, match="unknown inequality"):
        recovery.splice_limits(ROWS, 0.05, "guess")


def test_limits_of_shares_of_new_directions_are_clopper_and_pearsons():
    found = recovery.fresh_limits(ROWS, 1_000, 0.05)
    exact = clopper_pearson_upper(0, 1_000, np.log(len(ROWS) / 0.05))
    assert found["upper"].to_numpy() == pytest.approx(exact)


def test_cosines_fall_from_one():
    found = recovery.cosines(ROWS, "log-uniform")
    batch = found[found["kind"] == "BatchTopK"].set_index("cosine")["share"]
    assert batch.iloc[0] == 1
    assert batch.loc[0.8] == pytest.approx(300 / 3_200)
    assert batch.is_monotonic_decreasing


def test_each_world_gets_each_kind():
    made = recovery.cells({"constant": {"l0": 2}, "hierarchy": {"l0": 3}})
    assert len(made) == 2 * len(recovery.LABELS)
    assert [cell["world"] for cell in made[:5]] == ["constant"] * 5
    assert {cell["l0"] for cell in made} == {2, 3}


def test_the_figure_has_a_panel_for_each_world_and_one_for_probabilities():
    fig = recovery.plot_recovery(ROWS, 0.8, 100, 3_200)
    assert len(fig.axes) == 3
    assert fig.axes[0].get_xscale() == "log"
    dashed = [line.get_xdata()[0] for line in fig.axes[1].lines if line.get_linestyle() == "--"]
    assert max(dashed) == 0.8
    assert 0.3 < min(dashed) < 0.6


def test_lines_by_start_come_in_their_order():
    made = [row(architecture="true start", recovered=12), row(architecture="topk", recovered=0)]
    rows = pd.DataFrame([*made, row(architecture="true decoder", recovered=3_200)])
    found = recovery.by_start(rows)
    assert found["recovered"].to_dict() == {
        "random rows": 0,
        "the features, free": 12,
        "the features, held there": 3_200,
    }
