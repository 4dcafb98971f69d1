"""Limits on behaviour hold jointly, by hand calculation on made-up records."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import make_losses

from saecert.reporting.behaviour import against_ablations, behaviour_table
from saecert.reporting.claims import all_below
from saecert.statistics.inequalities import hoeffding_upper


def record(shift=0.0, ablations=True):
    n = 100
    losses = make_losses(np.full(n, 5.0), pools={8: np.full(n, 5.0)})
    half = np.repeat([0.1, 0.3], n // 2) + shift
    table = {"full": half, "pool_8": half + 0.1}
    if ablations:
        table |= {"mean": np.full(n, 0.8), "zero": np.full(n, 0.9)}
    return replace(losses, total_variation=table, top1_disagreement=table)


def test_limits_share_delta_among_all_of_the_table():
    frame = behaviour_table({"a": record(), "b": record(0.1)}, inequality="hoeffding")
    assert len(frame) == 2 * 2 * 4
    assert list(dict.fromkeys(frame["proxy"])) == [
        "whole SAE",
        "0.5 of latents",
        "mean ablation",
        "zero ablation",
    ]
    first = frame.iloc[0]
    assert first["mean"] == pytest.approx(0.2)
    assert first["upper"] == pytest.approx(0.2 + np.sqrt(np.log(16 / 0.05) / 200))


def test_the_sae_is_paired_with_each_ablation():
    frame = against_ablations({"a": record()}, inequality="hoeffding")
    assert frame["ablation"].tolist() == ["mean ablation", "zero ablation"] * 2
    x = np.repeat([0.1, 0.3], 50) - 0.8
    assert frame["mean"][0] == pytest.approx(-0.6)
    assert frame["upper"][0] == pytest.approx(hoeffding_upper(x, -1, 1, np.log(4 / 0.05)))
    assert frame["lower"][0] == pytest.approx(-hoeffding_upper(-x, -1, 1, np.log(4 / 0.05)))


def test_an_sae_that_is_further_from_the_model_than_an_ablation_is_told():
    settings = {"inequality": "hoeffding"}
    frame = against_ablations({"a": record()}, **settings)
    assert all_below(frame["lower"], frame["upper"]) is True
    worse = record()
    far = {"full": np.full(100, 0.95), "mean": np.full(100, 0.3)}
    worse = replace(worse, total_variation=worse.total_variation | far)
    frame = against_ablations({"a": worse}, **settings)
    assert all_below(frame["lower"], frame["upper"]) is False


def test_without_ablations_there_is_nothing_to_pair():
    frame = against_ablations({"a": record(ablations=False)})
    assert len(frame) == 0
    assert list(frame.columns) == ["hook", "quantity", "ablation", "mean", "lower", "upper"]
