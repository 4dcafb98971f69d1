"""Pages print words where frames have names of the code."""

import pandas as pd

from saecert.reporting.wording import INEQUALITIES, in_words, worded
from saecert.statistics import inequalities


def test_every_inequality_has_a_name():
    assert INEQUALITIES.keys() == inequalities.INEQUALITIES.keys()
    assert not any("_" in name for name in INEQUALITIES.values())


def test_symbols_become_words_and_other_texts_stay():
    assert worded("slack: R(f) by v_A") == "slack: model risk by joint loss"
    assert worded("betting, of the list") == "betting, of the list"


def test_cells_and_every_level_of_the_index_are_worded_and_numbers_stay():
    index = pd.MultiIndex.from_tuples([("v_A (T1)", "hoeffding")], names=["label", "inequality"])
    frame = pd.DataFrame({"n": [20], "label": ["measured v_A"]}, index=index)
    shown = in_words(frame)
    assert shown.index.tolist() == [("joint loss (T1)", "Hoeffding")]
    assert shown.index.names == ["label", "inequality"]
    assert shown["label"].tolist() == ["measured joint loss"]
    assert shown["n"].tolist() == [20]
    assert frame["label"].tolist() == ["measured v_A"], "the frame itself stays"
