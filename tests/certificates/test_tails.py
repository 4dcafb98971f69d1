"""Tails of the gap on records made by hand: limits, what they spend, and what is refused."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates.concepts import concept_counts
from saecert.certificates.sample import Sample
from saecert.certificates.tails import _count, possible_levels, quantile_counts, tails
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.order import quantile_rank, quantile_upper


def gaps(n=400):
    """A record whose gap is 0.001, 0.002, ..., n / 1000 bits, in random order."""
    clean = np.full(n, 4.0)
    gap = np.random.default_rng(0).permutation(np.arange(1, n + 1)) / 1000
    sign = np.where(np.arange(n) % 2, 1.0, -1.0)
    return make_losses(clean, clean + sign * gap, {8: clean + 2 * gap})


def test_statements_by_hand():
    found = tails(gaps(), eps=(0.2005, 1.0), levels=(0.5,), cap=0.1, jointly=False)
    half, all_of_them = found.shares
    assert (half.share, all_of_them.share) == (0.5, 1.0)
    assert all_of_them.lower == pytest.approx(0.05 ** (1 / 400))
    assert all_of_them.exceeded == pytest.approx(1 - 0.05 ** (1 / 400))
    (median,) = found.quantiles
    assert median.quantile == pytest.approx(0.2)
    assert median.upper == pytest.approx(quantile_rank(400, 0.5, -np.log(0.05)) / 1000)
    assert found.capped.mean == pytest.approx((0.1 * 301 + 0.001 * 99 * 100 / 2) / 400)
    assert found.capped.mean < found.capped.upper < 0.1
    assert (found.k, found.n_seq, found.spent) == (16, 400, pytest.approx(0.2))


def test_jointly_they_share_delta_and_are_wider():
    alone = tails(random_losses(400), jointly=False)
    joint = tails(random_losses(400))
    assert joint.spent == pytest.approx(0.05)
    assert {row.delta for row in joint.statements} == {0.05 / len(joint.statements)}
    assert all(a.lower > j.lower for a, j in zip(alone.shares[:2], joint.shares, strict=False))
    assert alone.capped.upper < joint.capped.upper


def test_the_support_plays_no_part_but_in_the_capped_mean():
    """Losses may be moved to where the support ends without moving a quantile or a share."""
    rng = np.random.default_rng(0)
    gap = rng.uniform(0, 0.5, 200)
    low, high = (
        tails(make_losses(np.full(200, c), c + s * gap), cap=0.4)
        for c, s in ((LO, 1.0), (HI, -1.0))
    )
    for a, b in zip(low.statements, high.statements, strict=True):
        assert asdict(a) == pytest.approx(asdict(b))


def test_counts_at_a_quantile_go_downwards_until_the_first_failure():
    record = random_losses(300)
    counts = quantile_counts(record, eps=(0.01, 0.11, 0.3, 3.0), level=0.9)
    sample = Sample.of(record, 0.5)
    limits = quantile_upper(np.abs(sample.pools - sample.clean), 0.9, -np.log(0.05))
    assert [row.k for row in counts] == [None, 16, 8, 4]
    assert counts[1].tested == ((16, limits[2]), (8, limits[1]))
    assert (limits[2] <= 0.11 < limits[1]) and limits[1] <= 0.3 < limits[0]
    means = concept_counts(sample, -np.log(0.05), (0.11,), INEQUALITIES["dirichlet"])
    assert means[0]["k"] is None, "a limit on the mean allows for what was never seen"


def test_printed_lines_are_short_outward_and_json():
    found = tails(random_losses(400), pool=8)
    counts = quantile_counts(random_losses(400))
    lines = [*str(found).splitlines(), *map(str, counts)]
    assert max(map(len, lines)) < 100
    assert json.loads(json.dumps(asdict(found)))["k"] == 8
    assert json.loads(json.dumps([asdict(row) for row in counts]))
    share = tails(gaps(), eps=(1.0,), jointly=False).shares[0]
    assert str(share) == "within 1 bit: 100.0 % of sequences (at least 99.2 %), delta 0.05"


def test_levels_are_chosen_by_the_number_of_sequences_alone():
    assert possible_levels(299, 0.05, 0)[-1] == 0.99 and possible_levels(298, 0.05, 0)[-1] == 0.95
    assert [row.level for row in tails(random_losses(60)).quantiles] == [0.5, 0.9]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": (0.99,)}, r"0.99 is too extreme for 60 sequences: .* it needs \d{3}"),
        ({"cap": 0.0}, "cap must lie above 0"),
        ({"cap": HI - LO + 0.01}, "at most the range of the loss"),
        ({"cap": float("nan")}, "cap must lie above 0"),
        ({"eps": (0.1, -0.1)}, "every eps must be a number of bits per token from 0"),
        ({"pool": 5}, "a pool of 5 latents was not measured; measured sizes: 4, 8, 16"),
        ({"delta": 0.0}, "delta must lie"),
        ({"inequality": "magic"}, "unknown inequality 'magic'"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tails(random_losses(60), **settings)


def test_counts_refuse_the_same():
    with pytest.raises(ValueError, match=r"too extreme for 60 .* at delta 0.05 it needs 299"):
        quantile_counts(random_losses(60), level=0.99)
    with pytest.raises(ValueError, match="every eps"):
        quantile_counts(random_losses(60), eps=(-1.0,))


def test_counts_are_wrong_at_most_as_often_as_promised_and_the_smallest_that_passes_is_not():
    """Every pool's quantile is just above eps: whoever accepts any is wrong."""
    draws = 4000
    gaps = np.random.default_rng(0).random((draws, 5, 100))
    passes = quantile_upper(gaps, 0.9, -np.log(0.05)) <= 0.9 - 1e-9
    downwards = passes[:, 0].sum()  # nothing is accepted where the largest pool fails
    smallest = passes.any(axis=1).sum()
    too_many = binom.ppf(1 - 1e-4, draws, 0.05)
    assert downwards <= too_many < smallest
    for sizes in passes[:200].tolist():
        limits = [(5 - place, 0.0 if passed else 1.0) for place, passed in enumerate(sizes)]
        assert (_count(limits, 0.5, 0.9, 0.05).k is not None) == sizes[0]
