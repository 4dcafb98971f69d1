"""What is printed of a limit is still a limit, and a table reads well in a narrow column."""

import re

import numpy as np
import pandas as pd
import pytest

from saecert.reporting.show import WIDTH, rounded, show, side_of

UPPER = [
    "upper",
    "at most",
    "to",
    "v to",
    "high",
    "bound",
    "price",
    "pool_gap_upper",
    "alarms, upper",
]
LOWER = ["lower", "from", "above SAE from", "low", "any (%): low", "at least", "change, lower"]
NEITHER = ["mean", "first to last", "share", "highest token", "total", "flow"]


@pytest.mark.parametrize(
    ("names", "side"), [(UPPER, "upper"), (LOWER, "lower"), (NEITHER, "")], ids=["up", "down", ""]
)
def test_names_say_which_way_to_round(names, side):
    assert {name: side_of(name) for name in names} == dict.fromkeys(names, side)


def test_limits_are_rounded_outwards_and_nothing_else():
    frame = pd.DataFrame(np.full((1, 3), 5.4049999), columns=["mean", "upper", "low"])
    assert str(show(frame)).split() == ["mean", "upper", "low", "5.40", "5.41", "5.40"]
    frame = pd.DataFrame({"to": [5.4000000001], "from": [5.3999999999], "bound": [5.4]})
    assert str(show(frame)).split()[3:] == ["5.41", "5.39", "5.40"]
    assert rounded(frame).iloc[0].tolist() == [5.41, 5.39, 5.4]


def test_rows_may_say_it_instead():
    frame = pd.DataFrame({"first": [1.234, 1.231]}, ["lower", "upper"])
    assert str(show(frame)).split() == ["first", "lower", "1.23", "upper", "1.24"]


def test_names_that_only_sound_like_limits_are_rounded_to_the_nearest():
    index = pd.MultiIndex.from_tuples([("equal", "smaller bound"), ("equal", "apart")])
    frame = pd.DataFrame({"wrong (%)": [51.44, 0.44], "high": [0.41, 0.41]}, index)
    printed = show(frame, decimals=1, nearest=["smaller bound", "high"])
    assert str(printed).split()[-5:] == ["51.4", "0.4", "apart", "0.4", "0.4"]
    assert "data-limit" not in printed._repr_html_()


def test_significant_digits_are_rounded_outwards_as_well():
    frame = pd.DataFrame({"at most": [0.242242], "mean": [0.242242]})
    assert str(show(frame, significant=3)).split()[-2:] == ["0.243", "0.242"]
    assert rounded(frame, significant=["at most"])["at most"].tolist() == [0.243]


def test_html_holds_every_limit_beside_what_is_printed():
    frame = pd.DataFrame({"mean": [1.0], "upper": [5.413]}, ["SAE"])
    text = show(frame, "A <caption>.", note="n = 5")._repr_html_()
    assert '<td style="text-align: right" data-limit="upper 5.413">5.42</td>' in text
    assert text.count("data-limit") == 1
    assert "<caption>A &lt;caption&gt;.</caption>" in text
    assert '<p class="note">n = 5</p>' in text


def test_a_count_of_rows_is_no_index():
    frame = pd.DataFrame({"k": [7, 12_345], "name": ["a", "b"], "found": [True, False]})
    lines = str(show(frame)).splitlines()
    assert lines == ["     k  name  found", "     7  a     yes", "12,345  b     no"]


def test_counts_are_printed_as_integers_and_what_was_measured_is_not():
    frame = pd.DataFrame(
        {
            "latents": [24.0, 267.0, np.nan],
            "n": [12_288.0, 1.0, 0.0],
            "L0": [24.0, 24.5, 2.0],
            "recovered": [1.0, 0.0, 1.0],
            "named (%)": [96.0, 100.0, 0.0],
            "upper": [13.0, 13.0, 13.0],
        }
    )
    cells = [[cell.text for cell in row] for row in show(frame, decimals=3).rows]
    assert cells[0] == ["24", "12,288", "24.000", "1.000", "96.000", "13.000"]
    assert cells[2] == ["", "0", "2.000", "1.000", "0.000", "13.000"]
    by_row = show(pd.DataFrame({"risk": [12.0, 13.0]}, ["mean", "upper"]))
    assert [row[1].text for row in by_row.rows] == ["12.00", "13.00"]


def test_wide_tables_are_cut_into_pieces_with_the_index_in_each():
    frame = pd.DataFrame(np.ones((2, 12)), ["one", "two"], [f"a long name {i}" for i in range(12)])
    text = str(show(frame, "caption " * 20))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert len(re.findall("one", text)) > 1


def test_groups_are_named_once():
    index = pd.MultiIndex.from_product([["x", "y"], ["a", "b"]], names=["outer", "inner"])
    columns = pd.MultiIndex.from_product([["gap", "risk"], ["mean", "upper"]])
    text = str(show(pd.DataFrame(np.eye(4), index, columns)))
    assert [text.count(word) for word in ("gap", "risk", "x ", "y ")] == [1, 1, 1, 1]
    assert 'colspan="2"' in show(pd.DataFrame(np.eye(4), index, columns))._repr_html_()


def test_what_is_missing_is_empty():
    frame = pd.DataFrame({"upper": [np.nan, np.inf], "word": [None, "a"]})
    assert [line.split() for line in str(show(frame)).splitlines()[1:]] == [[], ["inf", "a"]]


@pytest.mark.parametrize(("side", "printed"), [("upper", "0.15"), ("lower", "0.14")])
def test_columns_named_by_integers_can_hold_limits(side, printed):
    value = {"upper": 0.141, "lower": 0.149}[side]
    table = show(pd.DataFrame({50: [value]}), **{side: [50]})
    assert table.rows[0][0].text == printed
    assert table.rows[0][0].limit == side


def test_a_mean_is_no_limit_whatever_its_row_is_called():
    frame = pd.DataFrame({"mean": [2.001], "upper": [2.301], "delta": [0.05]}, ["bound"])
    ((_, mean, upper, delta),) = show(frame).rows
    assert (mean.text, mean.limit, delta.limit) == ("2.00", "", "")
    assert (upper.text, upper.limit) == ("2.31", "upper")


def test_large_numbers_without_decimals_are_grouped():
    text = str(show(pd.DataFrame({"nats": [34_074.3], "at most": [12_345.6]}), decimals=0))
    assert "34,100" in text
    assert "12,346" in text


def test_digits_by_column_or_by_the_group_that_it_is_in():
    columns = [("latents", "mean"), ("latents", "upper"), ("NMSE", "mean"), ("gap", "mean")]
    frame = pd.DataFrame([[24.147, 24.01, 0.12345, 0.12345]], ["SAE"])
    frame = frame.set_axis(pd.MultiIndex.from_tuples(columns), axis=1)
    (row,) = show(frame, decimals={"latents": 0, "NMSE": 4, "": 1}).rows
    assert [cell.text for cell in row] == ["SAE", "24", "25", "0.1235", "0.1"]
    (row,) = show(frame, decimals={"mean": 3}).rows
    assert [cell.text for cell in row] == ["SAE", "24.147", "24.01", "0.123", "0.123"]


def test_a_long_table_may_be_folded():
    frame = pd.DataFrame({"upper": [1.005]}, ["SAE"])
    plain, folded = (show(frame, "a < b", fold=x) for x in (False, True))
    inside = plain._repr_html_()
    assert folded._repr_html_() == (
        f"<details><summary>Table: a &lt; b</summary>{inside}</details>"
    )
    assert str(folded) == str(plain) == repr(plain)
    assert repr(folded) == "Table: a < b"


def test_a_mean_under_the_name_of_a_bound_is_no_limit():
    columns = pd.MultiIndex.from_tuples([("sharp bound, bits", end) for end in ("mean", "upper")])
    frame = pd.DataFrame([[0.1421, 0.2421]], ["SAE"], columns)
    assert [cell.text for cell in show(frame).rows[0]] == ["SAE", "0.14", "0.25"]
    single = pd.DataFrame({"price, mean (bits)": [1.001], "price, upper (bits)": [1.001]})
    assert [cell.text for cell in show(single).rows[0]][-2:] == ["1.00", "1.01"]
