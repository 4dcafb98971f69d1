"""Page 09: its frames of published means, and its figure."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest

from saecert.certificates import published as forms
from saecert.reporting import published
from saecert.reporting.published_figures import plot_published_layers
from saecert.reporting.show import show

mpl.use("Agg")


@pytest.fixture(scope="module")
def rows():
    return published.certified(published.restated())


def test_restated_figures_are_few_and_have_their_source():
    text = published.FIGURES.read_text(encoding="utf-8")
    assert "arXiv 2606.18383" in text.splitlines()[0]
    assert "Source: result files of" in text.splitlines()[1]
    frame = published.restated()
    assert frame["group"].value_counts().to_dict() == {"layers": 8, "thresholds": 6, "models": 3}
    assert published.restated("layers")["layer"].tolist() == [4, 8, 12, 16, 20, 24, 28, 30]


def test_a_row_is_what_the_formulas_give(rows):
    row = rows.iloc[0]
    statistics = {name: float(row[name]) for name in ("proxy_risk", "gap", "mismatch")}
    sizes = {name: int(row[name]) for name in ("n_seq", "n_vocab", "d_sae", "pool")}
    printed = forms.tacl(**statistics, **sizes)
    valid = forms.sharper(**statistics, **sizes)
    assert row[["fixed", "occam", "core"]].tolist() == [printed.fixed, printed.occam, printed.core]
    assert row[["sharper_fixed", "sharper_occam"]].tolist() == [valid.fixed, valid.occam]
    table = published.by_form(rows.head(1))
    sharper = table.loc[("gpt2-small", published.FIXED), "sharper, at most"]
    assert (sharper, len(table)) == (valid.fixed, 3)


def test_another_delta_certifies_something_else_than_is_printed(rows):
    wider = published.certified(published.restated(), delta=0.01)
    assert (wider["sharper_fixed"] > rows["sharper_fixed"]).all()
    assert published.largest_difference(wider) > 0.01


def test_sharper_rows_lie_between_core_and_print(rows):
    assert (rows["core"] < rows["sharper_fixed"]).all()
    assert (rows["sharper_fixed"] < rows["fixed"]).all()
    assert (rows["sharper_occam"] < rows["occam"]).all()
    assert (rows["sharper_direct"] < rows["direct"]).all()


def test_the_gap_is_counted_twice(rows):
    models = published.counted_twice(rows[rows["group"] == "models"])
    layers = published.counted_twice(rows[rows["group"] == "layers"], "layer")
    assert list(models.index) == ["gpt2-small", "gemma-2b", "llama-3-8b"]
    assert list(layers.index) == [4, 8, 12, 16, 20, 24, 28, 30]
    for table in (models, layers):
        assert table["share of gap (%)"].between(89, 100.01).all()


def test_pools_move_the_mismatch_and_not_the_risk(rows):
    table = published.thresholds(rows[rows["group"] == "thresholds"])
    assert table.index.tolist() == [1, 2, 5, 10, 20, 50]
    assert table["proxy risk"].max() - table["proxy risk"].min() < 1e-4
    printed = table["as printed"]
    assert printed.iloc[-1] - printed.iloc[0] == pytest.approx(14.973, abs=1e-3)
    assert table["outside"].tolist() == [29, 112, 545, 1_630, 4_070, 8_853]


def test_occam_ranks_against_the_direct_bound(rows):
    shares = published.rankings(rows[rows["group"] == "models"])
    assert list(shares.columns) == ["llama-3-8b", "gemma-2b", "gpt2-small"]
    assert shares.loc[published.DIRECT].is_monotonic_increasing
    assert shares.loc[published.OCCAM].is_monotonic_decreasing
    assert shares.loc[published.FIXED, "gpt2-small"] == pytest.approx(8.28349078 / 15.61704, 1e-6)


def test_what_is_printed_elsewhere_is_quoted_to_the_nearest_and_our_own_limits_are_rounded_up(rows):
    table = show(published.by_form(rows.head(1)), decimals=3, upper=["recomputed"])
    _, _, quoted, ours, sharper, _ = table.rows[0]
    assert (quoted.text, quoted.limit) == ("8.283", "")
    assert (ours.text, ours.limit) == ("8.284", "upper")
    assert sharper.limit == "upper"


def test_rows_beside_certificates_say_what_they_rest_on():
    rows = published.rows_of_published()
    assert all(label.endswith(", published means") for label in rows["label"])
    assert rows["bound"].tolist() == pytest.approx([7.892, 7.271, 7.543], abs=6e-4)
    table = published.named_rows(rows)
    assert table.index[0] == ("gpt2-small", "blocks.6.hook_resid_pre")


def test_limits_keep_delta_and_the_undivided_rule_is_caught():
    frame = published.simulated_misses(draws=4_000, n_seq=500)
    verdicts = frame.set_index(["population", "rule"])["verdict"].unstack("rule")
    assert (verdicts["as here"] == "valid").all()
    assert (verdicts["delta not divided"] == "rejected").any()
    near = frame.set_index(["population", "rule"])["misses (%)"]
    assert near["hardly ever seen", "as here"] > 3


def test_layers_are_drawn_and_hopeless_ones_shaded(rows):
    layers = rows[rows["group"] == "layers"].reset_index(drop=True)
    fig = plot_published_layers(layers)
    left, right = fig.axes
    shaded = [patch for patch in left.patches if patch.get_width() == 1]
    assert len(shaded) == 4
    named = [text.get_text() for text in left.get_legend().get_texts()]
    assert "fixed pool, printed formula" in named and "with Occam, as printed" in named
    assert len(right.containers) == 4
    plt.close(fig)
