"""The certificate next to the model alone and to ablations."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_losses import HI, random_losses

from saecert import certify
from saecert.reporting import four_terms


@pytest.fixture
def losses():
    """A record with a zero ablation that loses a lot."""
    record = random_losses()
    ablated = np.minimum(record.at("clean", 0.5) + 4, HI)
    return replace(record, loss=record.loss | {"zero": ablated[None]})


def test_each_bar_ends_at_its_bound(losses):
    certificate = certify(losses, pool=8)
    frame = four_terms.stacked_terms(certificate, losses, ["zero"])
    ends = frame.groupby("label", sort=False)["bits"].sum()
    assert ends["pool of 8 latents"] == pytest.approx(certificate.bound)
    assert ends["model alone"] == pytest.approx(certificate.direct)
    assert ends["zero ablation"] <= HI + 1e-9
    terms = frame[frame["label"] == "zero ablation"].set_index("term")["bits"]
    assert terms["proxy risk"] == pytest.approx(losses.at("zero", 0.5).mean())
    assert terms["clipping"] <= 0


def test_only_ablations_that_were_measured(losses):
    assert four_terms.measured_ablations(losses) == ["zero"]
    assert four_terms.measured_ablations(random_losses()) == []


def test_risks_are_compared_in_pairs(losses):
    certificate = certify(losses, pool=8, inequality="hoeffding")
    row = four_terms.ablation_risks(certificate, losses, ["zero"], "uniform").iloc[0]
    risk = losses.at("zero", 0.5).mean()
    assert row["risk"] == pytest.approx(risk)
    assert row["above the uniform"] == pytest.approx(risk - certificate.uniform)
    width = (certificate.hi - certificate.lo) * np.sqrt(np.log(20) / (2 * len(losses)))
    low = row["above the uniform, at least"]
    assert low == pytest.approx(risk - certificate.uniform - width)
    high = row["above the uniform, at most"]
    assert high == pytest.approx(risk - certificate.uniform + width)
