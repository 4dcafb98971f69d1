"""Claims of pages 22 and 24 to 26 where limits leave them open, show them, or show the contrary.

The cells are those of the pages; what they read is made up.
"""

import jupytext
import numpy as np
import pandas as pd
import pytest
from checks import ROOT

from saecert.reporting import claims as of_claims
from saecert.reporting import optimality
from saecert.reporting.claims import read_claims

HOLDS, OPEN, FAILS = "holds", "undecided", "does not hold"
SIDES = {HOLDS: (0.1, 0.3), OPEN: (-0.033, 0.072), FAILS: (-0.3, -0.1)}
"""Limits on what is claimed to be above 0."""


def told(page, names, capsys):
    """What the cell of a page in which `claims` is called prints, by claim."""
    (path,) = (ROOT / "notebooks").glob(f"{page}_*.py")
    made = jupytext.read(path, fmt="py:percent").cells
    (cell,) = [x.source for x in made if x.cell_type == "code" and "claims(\n" in x.source]
    known = {name: getattr(of_claims, name) for name in vars(of_claims) if name[0] != "_"}
    exec(cell, {**known, "np": np, "strict": False, "optimality": optimality, **names})
    return read_claims(capsys.readouterr().out)


def frame(side, rows=2, shift=0.0):
    low, high = SIDES[side]
    return pd.DataFrame({"lower": [low + shift] * rows, "upper": [high + shift] * rows})


@pytest.mark.parametrize("side", list(SIDES))
def test_page_22(side, capsys):
    turned = frame(side) * -1
    length = pd.DataFrame({"lower": turned["upper"], "upper": turned["lower"]}) + 1
    better = frame(side)
    names = {"sound": True, "vacuous": True, "bites": True, "length": length, "better": better}
    names |= {"most": length["upper"].max(), "least": better["lower"].min()}
    found = told("22", names, capsys)
    assert found["the median code is shorter, at every layer"] == side
    assert found["NMSE ranks what a splice does better than published ε"] == side


@pytest.mark.parametrize("side", list(SIDES))
def test_page_24(side, capsys):
    limits = {"encoder's error": frame(side), "dictionary's error, found": frame(HOLDS) * 0}
    standard = pd.concat({"encoder's error": frame(side)}, axis=1)
    standard[optimality.IMPLIED, "weighted mean"] = 1.0
    names = {
        "public": "smollm2-135m",
        "errors": limits,
        "limits": limits,
        "known": pd.DataFrame({"found": [0.0], "exact": [0.0]}),
        "floors": {"other directions, less the SAE's atoms": frame(side)},
        "gains": pd.concat(
            {"encoder's codes": pd.DataFrame({"found": [1], "by chance": [0]})}, axis=1
        ),
        "standard": standard,
    }
    found = told("24", names, capsys)
    exact = ["absorption is found from random starts", "a new atom helps more than by chance"]
    exact += ["its implied price is its price, within a quarter"]
    assert {found.pop(name) for name in exact} == {HOLDS}
    assert len(found) == 6 and set(found.values()) == {side}


@pytest.mark.parametrize("shown", [True, False])
def test_page_25(shown, capsys):
    """Its tests have limits of one side: what they do not show stays open."""
    pairs = pd.DataFrame({"hook_name": ["a", "b"]})
    names = {
        "opposite": pairs,
        "absorbed": pairs,
        "apart": pd.Series([True, shown]),
        "lost": pd.Series([True, shown]),
        "inside": pd.DataFrame(
            {"inside, lower": [0.6, 0.5 + 0.1 * shown], "more, lower": [shown] * 2}
        ),
        "sizes": pd.DataFrame({"children": [3, 4]}),
        "split": pd.DataFrame({"nested": {4: 1.0}}),
        "ends": pd.DataFrame({"above": [0.0]}),
        "above": "above",
        "told": 1.0,
        "merged": 2,
        "parted": 1,
    }
    found = told("25", names, capsys)
    of_tests = [name for name in found if "every layer" in name or "every size" in name]
    assert len(of_tests) == 4
    assert {found[name] for name in of_tests} == {HOLDS if shown else OPEN}


@pytest.mark.parametrize("side", list(SIDES))
def test_page_26(side, capsys):
    """With 40 sequences the limits on the difference are -0.033 and 0.072: that refutes nothing."""
    low, high = SIDES[side]
    like = pd.DataFrame({"fires": [0.3, 0.1], "same": [0.2, 0.3]}, index=["trained", "untrained"])
    names = {"trained": frame(side, 3), "low": low, "high": high, "like": like}
    names |= {"fires": "fires", "same": "same"}
    found = told("26", names, capsys)
    assert found["removing costs: certain for most trained ones"] == side
    assert found["a trained one costs more than an untrained one"] == side
