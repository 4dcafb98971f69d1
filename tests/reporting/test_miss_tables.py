"""Tables of miss rates are in percent and in words, the worst cell of each kind."""

import pandas as pd
import pytest

from saecert.reporting.miss_tables import (
    group_table,
    group_verdicts,
    miss_table,
    without_misses,
    worst_rates,
)

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


ROWS = {"label": "quantity", "inequality": "inequality"}


def test_of_several_cells_the_worst_is_shown():
    table = worst_rates(CELLS, ROWS, "n")
    assert table.index.names == ["quantity", "inequality"]
    assert table.loc[("joint loss (T1)", "Hoeffding"), 20] == pytest.approx(3.0)
    assert table.loc[("coins", "Dirichlet"), 100] == pytest.approx(6.0)


def test_rates_have_their_limits_and_labels_the_name_that_they_are_given():
    table = miss_table(CELLS, "quantity", ["inequality"])
    first = ["quantity", "inequality", "n", "draws", "misses (%)", "from", "to", "verdict"]
    assert list(table) == first
    assert table.iloc[1].tolist()[:4] == ["joint loss (T1)", "Hoeffding", 20, 1000]
    assert table.iloc[1][["misses (%)", "from", "to"]].tolist() == pytest.approx([3.0, 2.0, 4.0])
    assert isinstance(table.index, pd.RangeIndex), "or the table would number its rows"


def test_what_never_missed_is_named_by_level():
    table = worst_rates(CELLS.assign(miss_rate=[0.0, 0.0, 0.06]), ROWS, "n")
    assert without_misses(table) == "no miss at all: joint loss (T1), Hoeffding"
    assert without_misses(table.iloc[1:]) == "no miss at all: none"


def test_facts_of_groups_have_words_in_their_head():
    facts = {"by": ["module"], "groups": [3], "n_seq": [9], "largest": [4]}
    table = group_table(pd.DataFrame(facts | {"design_effect": [2.0]}))
    assert list(table) == ["groups", "sequences", "largest group", "design effect"]
    assert table.index.name == "grouped by"


@pytest.mark.parametrize(
    ("package", "one", "expected"),
    [
        ("rejected", "valid", (True, True)),
        ("valid", "valid", (False, True)),
        ("rejected", "rejected", (True, False)),
    ],
)
def test_verdicts_on_groups_are_of_packages_and_of_one_sequence_each(package, one, expected):
    rows = [("package", "sequence", package), ("module", "sequence", "valid")]
    rows += [("package", "group", one), ("module", "group", "valid")]
    assert group_verdicts(pd.DataFrame(rows, columns=["by", "unit", "verdict"])) == expected
