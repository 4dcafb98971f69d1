"""The primer: its streams keep one promise and break the other, its figure marks wrong limits."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from saecert.reporting.panels import RED
from saecert.reporting.primer import look_each_time, plot_hundred
from saecert.statistics.inequalities import clopper_pearson_upper

mpl.use("Agg")


@pytest.fixture
def seen():
    return look_each_time(np.random.default_rng(1), 0.2, 0.05, streams=400, looks=300)


def test_a_limit_is_below_the_truth_exactly_where_its_formula_says_so():
    seen = look_each_time(np.random.default_rng(3), 0.2, 0.05, streams=50, looks=80)
    bad = np.random.default_rng(3).random((50, 80)) < 0.2
    limits = clopper_pearson_upper(bad.cumsum(axis=1), np.arange(1, 81), np.log(20))
    np.testing.assert_array_equal(seen.below, limits < 0.2)


def test_the_wealth_is_that_of_the_game():
    seen = look_each_time(np.random.default_rng(5), 0.2, 0.05, streams=1, looks=6)
    bad = np.random.default_rng(5).random((1, 6)) < 0.2
    by_hand = np.cumprod([0.6 if lost else 1.1 for lost in bad[0]])
    np.testing.assert_allclose(seen.wealth[0], by_hand)


def test_looking_often_breaks_the_promise_and_the_gambler_keeps_it(seen):
    ever = seen.below.any(axis=1).mean()
    rich = (seen.wealth >= 20).any(axis=1).mean()
    error = 4 * np.sqrt(0.05 / 400)
    assert seen.below[:, -1].mean() <= 0.05 + error
    assert ever > 0.05 + error
    assert rich <= 0.05 + error


@pytest.mark.parametrize(
    ("truth", "delta", "stake"), [(0, 0.05, 0.5), (0.2, 1, 0.5), (0.2, 0.05, 1.5)]
)
def test_a_game_that_is_none_is_refused(truth, delta, stake):
    with pytest.raises(ValueError, match="strictly between 0 and 1 and a stake"):
        look_each_time(np.random.default_rng(), truth, delta, streams=1, looks=1, stake=stake)


def test_the_figure_marks_the_wrong_limits():
    found = np.array([0.1, 0.2, 0.05])
    fig = plot_hundred(found, np.array([0.3, 0.4, 0.15]), 0.2)
    (ax,) = fig.axes
    labels = ax.get_legend_handles_labels()[1]
    assert "the limit is right: 2" in labels
    assert "the limit is wrong: 1" in labels
    (red,) = [lines for lines in ax.collections if tuple(lines.get_color()[0][:3]) == tuple(RED)]
    np.testing.assert_allclose(red.get_segments()[0], [[0.05, 3], [0.15, 3]])
    plt.close(fig)
