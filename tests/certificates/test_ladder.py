"""The verdict ladder: order, support, and how seldom a claim is false."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.ladder import Rung, climb
from saecert.certificates.terms import sharp_loss
from saecert.statistics.inequalities import clopper_pearson_upper, dirichlet_upper

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


def _sharp(losses, k):
    return sharp_loss(*(losses.at(name, 0.5) for name in ("clean", "full", f"pool_{k}")))


# The verdict ladder


def test_ladder_stops_at_the_first_failure():
    certificate = certify(random_losses(400), inequality="hoeffding")
    table = {row["rung"]: row for row in certificate.ladder}
    assert list(table) == ["uniform", "unigram", "bigram"]
    assert [row["claimed"] for row in certificate.ladder] == [True, True, False]
    assert certificate.verdict == "unigram"
    assert certificate.non_vacuous
    sharp = _sharp(random_losses(400), certificate.k)
    reference = random_losses(400).at("unigram", 0.5)
    width = ((HI - 3.0) - (LO - 12.5)) * math.sqrt(math.log(20) / 800)
    assert table["unigram"]["upper"] == pytest.approx((sharp - reference).mean() + width)
    assert table["unigram"]["risk"] == pytest.approx(reference.mean())
    assert table["uniform"]["mean"] == pytest.approx(sharp.mean() - 12)
    few = certify(random_losses(3), inequality="hoeffding")
    assert [row["upper"] is None for row in few.ladder] == [False, True, True]
    assert few.verdict is None
    assert not few.non_vacuous


def test_unknown_references_come_last_and_must_respect_their_support():
    losses = random_losses(100)
    extra = {"trigram": losses.loss["clean"] + 2, **losses.loss}
    support = {"trigram": ((2.0, 12.0),), **losses.reference_support}
    wider = dataclasses.replace(losses, loss=extra, reference_support=support)
    assert [row["rung"] for row in certify(wider).ladder] == [
        "uniform",
        "unigram",
        "bigram",
        "trigram",
    ]
    with pytest.raises(
        ValueError, match=r"losses of 'trigram' leave their recorded support \[2, 4\]"
    ):
        certify(dataclasses.replace(wider, reference_support=support | {"trigram": ((2.0, 4.0),)}))


def test_paired_claims_are_seldom_false_and_unpaired_ones_are_caught():
    """The model is exactly as good as a noisy reference: every claim is false."""
    draws = 1000
    n = 100
    nats = math.log(1 / DELTA)
    rng = np.random.default_rng(5)
    model = rng.choice([5.5, 6.5], (draws, n))
    reference = rng.choice([3.0, 9.0], (draws, n))
    paired = dirichlet_upper(model - reference, LO - 9, HI - 3, nats)
    assert not misses_too_often(paired < 0)
    assert misses_too_often(dirichlet_upper(model, LO, HI, nats) < reference.mean(axis=1))
    for row in range(3):
        (rung,) = climb(
            model[row], [Rung("noisy", reference[row], 3.0, 9.0)], LO, HI, nats, dirichlet_upper
        )
        assert rung["upper"] == pytest.approx(paired[row])


def test_rungs_in_turn_make_no_false_claim_at_full_delta():
    """The first rung is true, two more are not: testing them side by side errs about twice as
    often.
    """
    draws = 1000
    n = 60
    nats = math.log(1 / DELTA)
    rng = np.random.default_rng(6)
    chain, side_by_side = np.zeros((2, draws), dtype=bool)

    def exact_upper(
        x, lo, hi, nats
    ):  # Dirichlet's bound on values at the ends of the support, sooner
        return lo + (hi - lo) * clopper_pearson_upper(x.sum(axis=-1), x.shape[-1], nats)

    for draw in range(draws):
        worse = Rung("worse", np.full(n, 12.0), 12.0, 18.0)
        noisy = [
            Rung(name, losses, 3.0, 9.0)
            for name, losses in zip("ab", rng.choice([3.0, 9.0], (2, n)), strict=True)
        ]
        table = climb(np.full(n, 6.0), [worse, *noisy], 6.0, 6.0, nats, exact_upper)
        chain[draw] = table[1]["claimed"] or table[2]["claimed"]
        side_by_side[draw] = any(
            climb(np.full(n, 6.0), [rung], 6.0, 6.0, nats, exact_upper)[0]["claimed"]
            for rung in noisy
        )
        assert table[0]["claimed"]
    assert not misses_too_often(chain)
    assert misses_too_often(side_by_side)
