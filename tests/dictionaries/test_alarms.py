"""The table of alarms by hand, its limits by simulation, and scores that cannot tell anything."""

import numpy as np
import pytest
from scipy import stats

from saecert.dictionaries.alarms import alarm_table, auc, is_constant, promise_pvalue, roc_curve

RNG = np.random.default_rng(0)


def table(scores, calibration, delta=0.05, level=0.1):
    return alarm_table(scores, calibration, level, delta, usual="usual", count="count").set_index(
        ["kind", "score"]
    )


def test_alarms_are_those_above_the_conformal_threshold():
    calibration = {"count": np.arange(1.0, 20.0), "error": -np.arange(1.0, 20.0)}
    scores = {
        "usual": {"count": np.array([1.0, 2, 18, 19]), "error": np.array([-1.0, -2, -3, -19])},
        "strange": {"count": np.array([19.0, 20, 18, 1]), "error": np.zeros(4)},
    }
    frame = table(scores, calibration)  # thresholds 18 and -2, of 19 scores at level 0.1
    assert frame.loc[("usual", "count"), "alarms"] == 0.25
    assert frame.loc[("usual", "error"), "alarms"] == 0.25
    assert frame.loc[("strange", "count"), "alarms"] == 0.5
    low, high = stats.binomtest(2, 4).proportion_ci(1 - 0.05 / 12)
    row = frame.loc[("strange", "count")]
    assert (row["alarms, at least"], row["alarms, at most"]) == (low, high)


def test_auc_and_lead_by_hand():
    usual = np.array([1.0, 2.0])
    assert auc(np.array([1.0, 3.0]), usual) == (0.5 + 0 + 1 + 1) / 4
    scores = {
        "usual": {"count": usual, "error": usual},
        "strange": {"count": np.array([1.0, 3.0]), "error": np.array([3.0, 3.0])},
    }
    calibration = {"count": np.arange(30.0), "error": np.arange(30.0)}
    row = table(scores, calibration).loc[("strange", "error")]
    assert row["AUC"] == 1
    assert row["count ahead by"] == 0.625 - 1
    assert row["count ahead by, at least"] <= -0.375 <= row["count ahead by, at most"]


def test_kinds_may_have_different_numbers_of_sequences_and_the_count_may_be_missing():
    scores = {
        "usual": {"error": RNG.normal(size=40)},
        "strange": {"error": RNG.normal(size=25) + 1},
    }
    frame = table(scores, {"error": RNG.normal(size=40)})
    assert frame["n_seq"].tolist() == [40, 25]
    assert not any("ahead" in name for name in frame.columns)
    assert (frame["AUC, at least"] <= frame["AUC, at most"]).all()


def test_limits_hold_jointly_as_often_as_promised_and_narrower_ones_do_not():
    """Normal scores, mean 1 apart: AUC .76, alarms known."""
    truth = stats.norm.cdf(1 / np.sqrt(2))
    delta, wrong, narrow = 0.2, [], []
    for _ in range(200):
        usual = {"count": RNG.normal(size=60)}
        scores = {"usual": usual, "strange": {"count": RNG.normal(size=60) + 1}}
        row = table(scores, {"count": RNG.normal(size=60)}, delta).loc[("strange", "count")]
        low, high = row["AUC, at least"], row["AUC, at most"]
        wrong.append(not low <= truth <= high)
        middle, half = (low + high) / 2, (high - low) / 8
        narrow.append(abs(truth - middle) > half)
    assert np.mean(wrong) <= delta
    assert np.mean(narrow) > delta


def test_roc_curve_starts_at_the_origin_and_its_area_is_the_auc():
    usual = RNG.normal(size=30).round(1)
    strange = RNG.normal(size=20).round(1) + 0.5
    curve = roc_curve(strange, usual)
    assert curve.iloc[0].tolist() == [0, 0]
    assert curve.iloc[-1].tolist() == [1, 1]
    area = np.trapezoid(curve["detected"], curve["false_alarms"])
    assert area == pytest.approx(auc(strange, usual))


def test_the_promise_is_beta_binomial():
    """The rank of a new score is uniform: one calibration score and one new one at level 1/2."""
    assert promise_pvalue(1, 1, 1, 0.5) == pytest.approx(0.5)
    assert promise_pvalue(0, 200, 200, 0.05) == 1
    assert promise_pvalue(40, 200, 200, 0.05) < 1e-3


def test_a_constant_score_is_noticed():
    assert is_constant(np.full(5, 32.0))
    assert is_constant(np.full(5, 0.1) + np.array([0, 0, 0, 0, 1e-17]))
    assert not is_constant(np.array([32.0, 32.0, 31.99]))
