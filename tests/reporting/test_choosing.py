"""Frames of the page that compares ways of choosing the pool."""

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import random_losses

from saecert import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.certificates.published import published_bound
from saecert.reporting import choosing

WAYS = {"T1": {"pool": 8}, "T2": {"method": "nested"}}


def test_sizes_end_with_all_sequences():
    assert choosing.sizes_up_to(60) == [3, 5, 10, 20, 50, 60]
    assert choosing.sizes_up_to(10) == [3, 5, 10]
    assert choosing.sizes_up_to(2) == [2]


def test_rows_are_those_certificates():
    losses = random_losses()
    frame = choosing.certified_bounds(losses, [10, 60], WAYS, delta=0.1)
    assert frame[["n_seq", "label"]].to_numpy().tolist() == [
        [10, "T1"],
        [10, "T2"],
        [60, "T1"],
        [60, "T2"],
    ]
    nested = certify(losses, method="nested", delta=0.1, n_seq=60)
    last = frame.iloc[-1]
    assert last["bound"] == nested.bound
    assert last["sharp"] == nested.sharp
    assert last["k"] == nested.k
    assert last["nats"] == nested.selection_nats


def test_curves_by_weights_are_those_of_the_certificates():
    losses = random_losses()
    curves = choosing.weighted_curves(losses, inequality="hoeffding")
    assert curves.index.tolist() == [4, 8, 16]
    favoured = certify(losses, method="nested", prior="discovery", inequality="hoeffding")
    assert curves["weights: discovery", "sharp"].tolist() == [r["sharp"] for r in favoured.curve]
    assert curves["weights: equal", "nats"].tolist() == pytest.approx([np.log(3)] * 3)


def test_exact_sets_and_the_printed_formula_have_the_same_columns():
    losses = random_losses()
    exact = choosing.exact_bounds(losses, [20], {"exact": "hoeffding"}, 0.05)
    assert exact["bound"].item() == exact_set_bound(losses, 20).bound
    printed = choosing.printed_bounds(losses, [20], 0.05)
    assert not printed["valid"].any()
    clean = losses.at("clean", 0.5)[:20]
    full = losses.at("full", 0.5)[:20]
    shape = {"k": losses.l0[:20].mean(), "d_sae": 16, "n_tokens": 60, "n_vocab": losses.n_vocab}
    known = published_bound(full.mean(), abs(clean - full).mean(), **shape)
    assert printed["bound"].item() == pytest.approx(known.bound)


def frame(bounds):
    """Bounds of T1 and T3 at sizes 5, 10 and 100."""
    rows = [
        {"alpha": 0.5, "n_seq": n, "label": label, "bound": bound, "k": 7, "valid": True}
        for label, values in bounds.items()
        for n, bound in zip((5, 10, 100), values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_bounds_and_pools_stand_side_by_side():
    table = choosing.by_size(frame({"T1": [11, 8, 7]}), 0.5, [5, 100], ["bound", "k"])
    assert table.columns.tolist() == [
        ("n = 5", "bound"),
        ("n = 5", "k"),
        ("n = 100", "bound"),
        ("n = 100", "k"),
    ]
    assert table.loc["T1"].tolist() == [11, 7, 7, 7]


def test_first_size_below_a_ceiling():
    first = choosing.first_below(frame({"T1": [11, 8, 7], "T3": [13, 13, 13]}), 12.0)
    assert first.loc["T1", 0.5] == 5
    assert pd.isna(first.loc["T3", 0.5])


@pytest.mark.parametrize(
    ("bounds", "factor", "verdict"),
    [
        ([13, 13, 7], 10, True),
        ([13, 8, 7], 10, False),
        ([13, 13, 13], 20, True),
        ([13, 13, 13], 30, "needs at least 150 sequences"),
    ],
)
def test_times_as_many_sequences(bounds, factor, verdict):
    first = choosing.first_below(frame({"T1": [11, 8, 7], "T3": bounds}), 12.0)
    assert choosing.times_as_many(first, "T3", "T1", factor, 100) == verdict


def test_nothing_is_said_of_multiples_of_an_unknown_number():
    first = choosing.first_below(frame({"T1": [13, 13, 13], "T3": [13, 13, 13]}), 12.0)
    assert "more than 100" in choosing.times_as_many(first, "T3", "T1", 10, 100)
