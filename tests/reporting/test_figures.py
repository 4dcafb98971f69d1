"""Figures draw what the frame says."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from saecert.reporting import figures

mpl.use("Agg")


@pytest.fixture
def ax():
    _, made = plt.subplots()
    yield made
    plt.close("all")


def test_bars_end_at_the_bound_and_references_are_labelled(ax):
    rows = [
        ("a", "proxy risk", 4.0),
        ("a", "pool mismatch", 0.5),
        ("a", "clipping", -0.25),
        ("a", "complexity: sampling", 1.0),
    ]
    frame = pd.DataFrame([*rows, ("b", "model risk", 3.0)], columns=["label", "term", "bits"])
    figures.plot_terms(frame, ax, {"uniform": 12.0})
    ends = {
        round(bar.get_y() + bar.get_height() / 2): bar.get_x() + bar.get_width()
        for bar in ax.patches
    }
    assert ends == {0: pytest.approx(5.25), 1: pytest.approx(3.0)}
    assert {text.get_text().strip() for text in ax.texts} == {"5.25", "3.00", "uniform\n12.00"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_convergence_draws_a_line_a_label_and_marks_what_is_not_valid(ax):
    frame = pd.DataFrame(
        {
            "n_seq": [100, 10, 10, 100],
            "label": ["x", "x", "y", "y"],
            "bound": [5.0, 9.0, 20.0, 8.0],
            "valid": [True, True, False, False],
        }
    )
    figures.plot_convergence(frame, ax, vacuous=12.0)
    first, second, line = ax.lines
    assert first.get_xdata().tolist() == [10, 100]
    assert first.get_ydata().tolist() == [9.0, 5.0]
    assert first.get_linestyle() == "-" != second.get_linestyle()
    assert set(line.get_ydata()) == {12.0}
    assert ax.get_xscale() == "log"


def test_the_bound_beside_a_bar_is_still_a_bound(ax):
    frame = pd.DataFrame({"label": ["a"], "term": ["proxy risk"], "bits": [5.413]})
    figures.plot_terms(frame, ax)
    assert [text.get_text().strip() for text in ax.texts] == ["5.42"]


def test_miss_rates_keep_their_limits(ax):
    row = {"population": "coin", "miss_rate": 0.04, "ci_low": 0.03, "ci_high": 0.06, "delta": 0.05}
    figures.plot_miss_rates(
        pd.DataFrame([row | {"inequality": "one"}, row | {"inequality": "two"}]), ax
    )
    (start, end), *_ = ax.collections[0].get_segments()
    assert (start[0], end[0]) == (pytest.approx(3.0), pytest.approx(6.0))
    assert set(np.round([line.get_xdata()[0] for line in ax.lines], 6)) == {4.0, 5.0}
