from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from synthetic_losses import make_losses, random_losses

from saecert.certificates.certificate import certify
from saecert.reporting.tables import (
    certificates_table,
    concepts_table,
    curve_table,
    footing,
    ladder_table,
    models_table,
    rounded,
    statements_table,
    terms_table,
    two_bounds_table,
)

MEASURED = ["proxy risk", "reconstruction gap", "pool mismatch"]


def test_terms_stack_up_to_the_bound():
    certificates = {
        "T1": certify(random_losses(400)),
        "T3": certify(random_losses(400), method="in_sample"),
    }
    frame = terms_table(certificates)
    assert frame["term"].tolist()[:5] == [
        *MEASURED,
        "complexity: sampling",
        "complexity: selection",
    ]
    totals = frame.groupby("label")["bits"].sum()
    assert totals.to_dict() == pytest.approx(
        {label: certificate.bound for label, certificate in certificates.items()}
    )
    assert set(frame["method"]) == {"fixed", "in_sample (product)"}


def test_ladder_in_a_table():
    certificate = certify(random_losses(400), method="nested")
    ladder = ladder_table(certificate)
    assert ladder["through"].value_counts().to_dict() == {"proxy": 3, "direct": 3}
    assert ladder["claimed"].dtype == bool


def test_concept_counts_in_a_table():
    frame = concepts_table(
        {"T1": certify(random_losses(400)), "none": certify(random_losses(400), eps=())}
    )
    assert frame["eps"].tolist() == [0.1, 0.25, 0.5, 1.0]
    assert frame["k"].tolist() == [pd.NA, 8, 8, 4]
    assert set(frame["label"]) == {"T1"}


def test_models_side_by_side_with_their_distance_from_uniform():
    certificates = {
        "a.json": certify(random_losses(400)),
        "b.json": certify(random_losses(3), inequality="hoeffding"),
    }
    frame = models_table(certificates).set_index("label")
    assert frame["subject"].tolist() == ["toy", "toy"]
    assert frame["uniform"].tolist() == [12.0, 12.0]
    np.testing.assert_allclose(frame["share of uniform"] * 12, frame["sharp"])
    np.testing.assert_allclose(frame["below uniform"] + frame["sharp"], 12)
    assert frame["verdict"].tolist() == ["bigram", "vacuous"]


def test_rounding_for_print():
    frame = pd.DataFrame(
        {
            "bits": [1.23456, -0.001],
            "tightness": [1.23456, 0.00123456],
            "k": [1, 2],
            "verdict": ["a", "b"],
        }
    )
    printed = rounded(frame)
    assert printed["bits"].tolist() == [1.23, 0.0]
    assert not np.signbit(printed["bits"][1])
    assert printed["tightness"].tolist() == [1.23, 0.00123]
    assert printed["k"].tolist() == [1, 2]
    assert frame["bits"][0] == 1.23456


def test_tables_that_were_missing():
    certificate = certify(random_losses(400), method="nested")
    (row,) = certificates_table({"A": certificate}).to_dict("records")
    assert row["bound"] == certificate.bound
    assert row["price of explanation"] == certificate.price
    assert row["label"] == "A"
    statements = statements_table(certificate).set_index("statement")
    assert statements["upper"]["bound"] == certificate.bound
    assert curve_table(certificate)["k"].tolist() == [row["k"] for row in certificate.curve]


def test_two_bounds_beside_each_other_add_up():
    certificate = certify(random_losses(400))
    table = two_bounds_table(certificate)
    assert table.loc["= bound"].tolist() == [certificate.bound, certificate.sharp]
    sums = table.drop(index="= bound").sum()
    assert sums.tolist() == pytest.approx([certificate.bound, certificate.sharp])
    lower = table.drop(index="complexity")  # that of the sharp bound may be the larger one
    assert (lower["sharp"] <= lower["absolute"] + 1e-9).all()
    lost = make_losses([2.0, 3.0], [2.0, 10.0], {4: [2.0, 12.0]})
    clipped = two_bounds_table(certify(lost, pool=4))
    assert clipped.loc["clipping", "sharp"] == 0 > clipped.loc["clipping", "absolute"]
    sums = clipped.drop(index="= bound").sum()
    assert sums.tolist() == pytest.approx(clipped.loc["= bound"].tolist())


def test_what_stands_under_a_table():
    certificates = [certify(random_losses(400)), certify(random_losses(300), alpha=0.5)]
    assert footing(certificates).startswith("n = 300 to 400, delta = 0.05, alpha = 0.5, k = ")
    assert "delta = 0.01" in footing(certificates, delta=0.01)


def test_two_saes_at_one_hook_point_are_told_apart():
    record = random_losses(400)
    record = replace(record, provenance=record.provenance | {"sae": "saes/b"})
    assert terms_table(certify(record))["sae"].unique().tolist() == ["saes/b"]
