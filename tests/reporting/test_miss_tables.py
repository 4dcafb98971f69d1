"""Tables of miss rates are in percent and in words, the worst cell of each kind."""

import pandas as pd
import pytest

from saecert.reporting.miss_tables import miss_table, worst_rates

CELLS = pd.DataFrame(
    {
        "label": ["v_A (T1)", "v_A (T1)", "coins"],
        "inequality": ["hoeffding", "hoeffding", "dirichlet"],
        "n": [20, 20, 100],
        "draws": 1000,
        "miss_rate": [0.01, 0.03, 0.06],
        "ci_low": [0.005, 0.02, 0.05],
        "ci_high": [0.02, 0.04, 0.07],
        "verdict": ["valid", "valid", "rejected"],
    }
)


def test_of_several_cells_the_worst_is_shown():
    table = worst_rates(CELLS, ["label", "inequality"], "n")
    assert table.loc[("joint loss (T1)", "Hoeffding"), 20] == pytest.approx(3.0)
    assert table.loc[("coins", "Dirichlet"), 100] == pytest.approx(6.0)


def test_rates_have_their_limits_and_labels_the_name_that_they_are_given():
    table = miss_table(CELLS, "quantity", ["inequality"])
    first = ["quantity", "inequality", "n", "draws", "misses (%)", "from", "to", "verdict"]
    assert list(table) == first
    assert table.iloc[1].tolist()[:4] == ["joint loss (T1)", "Hoeffding", 20, 1000]
    assert table.iloc[1][["misses (%)", "from", "to"]].tolist() == pytest.approx([3.0, 2.0, 4.0])
    assert isinstance(table.index, pd.RangeIndex), "or the table would number its rows"
