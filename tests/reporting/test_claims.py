"""Claims say what held; what was not tested, or stays open, is no failure."""

import numpy as np
import pytest

from saecert.reporting.claims import (
    ClaimFailed,
    Undecided,
    all_above,
    all_below,
    claims,
    decided,
    read_claims,
)


def test_each_claim_has_its_line(capsys):
    claimed = {"beats": np.True_, "narrow": False, "paired": "needs two SAEs", "deep": None}
    claimed["larger"] = Undecided("from -0.1 to 0.2")
    claims(False, claimed)
    assert capsys.readouterr().out.splitlines() == [
        "holds          beats",
        "does not hold  narrow",
        "not tested     paired: needs two SAEs",
        "not tested     deep",
        "undecided      larger: from -0.1 to 0.2",
    ]


def test_failed_claims_are_named_if_it_is_an_error():
    with pytest.raises(ClaimFailed, match="does not hold: second; fourth$"):
        claims(True, {"first": True, "second": np.False_, "third": "not here", "fourth": False})


def test_what_was_not_tested_fails_nothing():
    claims(True, {"first": None, "second": "needs two hook points"})


def test_what_stays_open_fails_nothing():
    claims(True, {"first": Undecided("the limits do not tell"), "second": Undecided("")})


def test_limits_decide_a_claim_only_where_they_show_it_or_its_contrary():
    assert decided(np.True_, np.False_) is True
    assert decided(np.False_, np.True_) is False
    left_open = decided(False, False, "from 1 to 2")
    assert isinstance(left_open, Undecided) and left_open == "from 1 to 2"
    with pytest.raises(TypeError, match="neither true nor false: from 1 to 2"):
        all([True, left_open])
    with pytest.raises(ValueError, match="cannot both be shown"):
        decided(True, True)


@pytest.mark.parametrize(
    ("lower", "upper", "above", "below"),
    [
        ([0.6, 0.7], [0.8, 0.9], True, False),
        ([0.6, 0.4], [0.8, 0.9], None, False),
        ([0.6, 0.1], [0.8, 0.5], False, False),
        ([0.5], [0.6], None, False),
        ([0.1, 0.2], [0.3, 0.4], False, True),
        ([0.1, 0.2], [0.3, 0.5], False, None),
        (0.4, 0.6, None, None),
    ],
)
def test_claims_about_several_expectations_are_decided_by_the_limit_that_can(
    lower, upper, above, below
):
    found = all_above(lower, upper, 0.5), all_below(lower, upper, 0.5)
    for verdict, expected in zip(found, (above, below), strict=True):
        assert isinstance(verdict, Undecided) if expected is None else verdict is expected


def test_long_claims_fit_the_page(capsys):
    claims(False, {"a claim of many words " * 6: True})
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 72


def test_what_was_printed_is_read_back(capsys):
    long = "a claim of many words " * 6
    claimed = {
        long.strip(): True,
        "narrow": False,
        "a: b": True,
        "paired": "needs two",
        "deep": None,
        "larger": Undecided("the limits do not tell"),
    }
    claims(False, claimed)
    printed = "before\n" + capsys.readouterr().out + "best sharp bound: 5.4\n" + " " * 20 + "x"
    assert read_claims(printed) == {
        long.strip(): "holds",
        "narrow": "does not hold",
        "a: b": "holds",
        "paired": "not tested",
        "deep": "not tested",
        "larger": "undecided",
    }
    assert read_claims("nothing of the kind\n") == {}


def test_a_number_is_no_verdict():
    with pytest.raises(TypeError, match="a claim is True, False, None or a text, got nan"):
        claims(True, {"a": float("nan")})
