"""Loss recovered in a certificate: a lower limit at a delta of its own, verified like the rest."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import random_losses

from saecert import certify
from saecert.certificates.recovered import loss_recovered


@pytest.fixture
def losses():
    record = random_losses(300)
    ablated = {"mean": record.loss["clean"] + 3, "zero": record.loss["clean"] + 4}
    return replace(record, loss=record.loss | ablated)


def test_the_score_is_that_of_the_whole_sae_with_the_limit_of_its_own_function(losses):
    certificate = certify(losses, pool=4, eps=())
    assert [row["ablation"] for row in certificate.recovered] == ["mean", "zero"]
    for row in certificate.recovered:
        alone = loss_recovered(losses, ablation=row["ablation"])
        assert (row["recovered"], row["lower"]) == pytest.approx((alone.recovered, alone.lower))
        assert certificate.groups[f"loss recovered, {row['ablation']}"][1] == certificate.delta
    assert "loss recovered 0.9" in str(certificate) and "(at least 0." in str(certificate)


def test_it_is_kept_and_verified(losses, tmp_path):
    certificate = certify(losses, pool=8, ablations=["zero"])
    certificate.save(tmp_path / "c.json")
    again = type(certificate).load(tmp_path / "c.json")
    assert again.settings["ablations"] == ["zero"] and again.verify(losses)
    forged = [{**again.recovered[0], "lower": 0.999}]
    with pytest.raises(ValueError, match="recovered"):
        replace(again, recovered=forged).verify(losses)


def test_what_cannot_be_stated(losses):
    assert certify(random_losses(300)).recovered == []
    assert certify(losses, ablations=()).recovered == []
    with pytest.raises(ValueError, match="'median' is not in the record, which has mean, zero"):
        certify(losses, ablations=["median"])
    finite = {"population_size": 900, "inequality": "betting", "eps": ()}
    assert certify(losses, **finite).recovered == []
    with pytest.raises(ValueError, match="not for a finite list"):
        certify(losses, ablations=["zero"], **finite)
    harmless = replace(losses, loss=losses.loss | {"zero": losses.loss["clean"] - 1})
    row = certify(harmless, ablations=["zero"], eps=()).recovered[0]
    assert row["recovered"] is None and row["lower"] is None


def test_the_limit_misses_no_more_often_than_delta():
    rng = np.random.default_rng(3)
    base = random_losses(60)
    missed = 0
    for _ in range(60):
        clean = rng.uniform(3, 5, 60)
        loss = base.loss | {"clean": clean[None], "full": (clean + (rng.random(60) < 0.3))[None]}
        record = replace(base, loss=loss | {"zero": (clean + 3)[None]})
        row = certify(record, pool=16, delta=0.3, eps=(), ablations=["zero"]).recovered[0]
        missed += (row["lower"] or 0.0) > 0.9
    assert missed <= binom.ppf(1 - 1e-3, 60, 0.3)
