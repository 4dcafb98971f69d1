"""Certified loss recovered on records made by hand."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from synthetic_losses import make_losses

from saecert.certificates.recovered import loss_recovered


def record(ablated, n=400):
    """Full SAE 0.1 bits above the model, pool of 8 one bit above it; "zero" `ablated` above."""
    clean = np.random.default_rng(0).uniform(3, 4, n)
    made = make_losses(clean, clean + 0.1, {8: clean + 1.0})
    return replace(made, loss=made.loss | {"zero": (clean + ablated)[None]})


def test_the_score_as_people_know_it():
    whole = loss_recovered(record(5.0))
    assert whole.recovered == pytest.approx(0.98)
    assert whole.lower < 0.98 < whole.upper
    assert whole.text.startswith("loss recovered 0.980 (at least 0.9")
    assert str(whole).endswith("zero ablation, delta 0.05") and len(str(whole)) < 100
    pool = loss_recovered(record(5.0), pool=8, inequality="betting")
    assert pool.recovered == pytest.approx(0.8) and (pool.k, whole.k) == (8, 16)
    assert pool.lower < 0.8 < pool.upper
    assert json.loads(json.dumps(asdict(pool)))["ablation"] == "zero"


def test_printed_limits_are_rounded_outwards():
    made = replace(loss_recovered(record(5.0)), recovered=0.98, lower=0.97899, upper=0.98101)
    assert made.text == "loss recovered 0.980 (at least 0.978, at most 0.982)"


def test_undefined_where_the_ablation_does_not_hurt():
    for cost in (0.0, -0.5, 0.01):
        found = loss_recovered(record(cost))
        assert (found.lower, found.upper, found.defined) == (None, None, False)
        assert str(found).startswith("loss recovered: undefined, zero ablation is not shown")
    assert loss_recovered(record(-0.5)).recovered is None


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"mean ablation was not measured: .*and discovery="):
        loss_recovered(record(5.0), ablation="mean")
    with pytest.raises(ValueError, match="unknown ablation 'noise'; there are mean, zero"):
        loss_recovered(record(5.0), ablation="noise")
    with pytest.raises(ValueError, match="a pool of 5 latents was not measured"):
        loss_recovered(record(5.0), pool=5)
    with pytest.raises(ValueError, match="delta must lie"):
        loss_recovered(record(5.0), delta=1.0)
