"""Comparisons: limits by hand, coverage of the difference with teeth, pairing, and every
refusal.
"""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.comparison import QUANTITIES, Comparison, compare
from saecert.statistics import paired
from saecert.statistics.inequalities import INEQUALITIES, lower
from saecert.statistics.paired import difference_limits

WIDTH = HI - LO


def two_records(n=200, seed=0, shift=0.5):
    """Two SAEs on the same sequences: b leaves `shift` bits more behind; what makes a text hard is
    common to both.
    """
    rng = np.random.default_rng(seed)
    clean = rng.uniform(3, 5, n)
    hard = rng.uniform(0, 2, n)
    sides = []
    for extra in (0.0, shift):
        full = clean + hard + extra + rng.uniform(0, 0.05, n)
        sides.append(
            make_losses(
                clean, full, {8: full + rng.uniform(0, 0.3, n), 4: full + rng.uniform(0, 1, n)}
            )
        )
    return tuple(sides)


def both(records, **settings):
    return [certify(record, **({"pool": 8, "eps": ()} | settings)) for record in records]


def test_worked_by_hand():
    clean = np.tile([2.0, 3.0], 25)
    a = make_losses(clean, clean + np.tile([0.5, 0.7], 25))
    b = make_losses(clean, clean - np.tile([0.4, 0.2], 25))
    found = compare(*both((a, b), pool=16, inequality="hoeffding"), (a, b), delta=0.1)
    half = (
        2 * WIDTH * math.sqrt(math.log(20) / 100)
    )  # the difference ranges over twice the width, delta / 2 a side
    assert (found.means, found.difference) == (pytest.approx((0.6, 0.3)), pytest.approx(0.3))
    assert (found.lower, found.upper) == (pytest.approx(0.3 - half), pytest.approx(0.3 + half))
    assert (found.smaller, found.delta, found.n_seq, found.quantity) == (None, 0.1, 50, "gap")


def test_names_are_printed_without_terminal_escapes():
    forged = {"subject": "\x1b[2J\x07\u202e\nverified"}
    records = tuple(replace(record, provenance=forged) for record in two_records())
    text = str(compare(*both(records, inequality="hoeffding"), records))
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\\x1b[2J\\x07\\u202e\\nverified") == 2


@pytest.mark.parametrize("inequality", INEQUALITIES)
def test_swapping_the_two_changes_the_sign(inequality):
    records = two_records()
    a, b = both(records, inequality=inequality, seed=3)
    one = compare(a, b, records)
    other = compare(b, a, records[::-1])
    assert (one.difference, one.lower, one.upper) == pytest.approx(
        (-other.difference, -other.upper, -other.lower)
    )
    assert one.means == other.means[::-1] and one.labels == other.labels[::-1]
    assert one.lower < one.difference < one.upper


def test_finds_the_smaller_gap_and_says_so():
    records = two_records()
    found = compare(*both(records), records)
    assert found.smaller == "a" and found.upper < 0
    assert compare(*both(records)[::-1], records[::-1]).smaller == "b"
    for text in (
        "reconstruction gap, on 200 sequences",
        "toy at blocks.0.hook_resid_post, pool of 8 of 16",
        "a - b   -0.499, -0.7",
        "except with probability 0.05: a is smaller",
    ):
        assert text in str(found)
    few = tuple(record.take(slice(0, 5)) for record in records)
    assert "does not tell" in str(compare(*both(few), few))


def test_limits_are_printed_outwards():
    """To three decimals, the lower one down and the upper one up; to the nearest both moved in."""
    found = Comparison("gap", ("x", "y"), (0.5, 0.25), 0.242242, -0.242242, 0.242242, 0.05, 10)
    assert "a - b   +0.242, -0.243 to +0.243 except" in str(found)


@pytest.mark.parametrize(
    ("facts", "label"),
    [({"sae": "{}/x"}, "SAE {}/x, pool of"), ({"sae_sha256": "{}" + "0" * 20}, "(SAE {}0000000)")],
)
def test_two_saes_at_one_hook_point_are_told_apart(facts, label):
    records = [
        replace(
            record,
            provenance=record.provenance | {key: text.format(side) for key, text in facts.items()},
        )
        for side, record in zip("ab", two_records(), strict=True)
    ]
    found = compare(*both(records), tuple(records))
    assert [label.format(side) in text for side, text in zip("ab", found.labels, strict=True)] == [
        True,
        True,
    ]


def test_each_certificate_brings_its_own_pool():
    """Two pools of one record: the same model and sequences, the larger one explains more."""
    record = replace(random_losses(400), discovery=None)
    small = certify(record, pool=4, eps=())
    large = certify(record, pool=8, eps=())
    for quantity in (
        "pool_gap",
        "proxy",
        "bound",
        "mismatch",
        "total_variation",
        "disagreement",
        "outside_firings",
    ):
        assert compare(small, large, (record, record), quantity=quantity).difference > 0
    by_hand = np.abs(record.at("clean", 0.5) - record.at("pool_4", 0.5)) - np.abs(
        record.at("clean", 0.5) - record.at("pool_8", 0.5)
    )
    found = compare(small, large, (record, record), quantity="pool_gap")
    assert found.difference == pytest.approx(by_hand.mean()) and found.smaller == "b"
    assert found.upper == pytest.approx(
        INEQUALITIES["dirichlet"](by_hand, -WIDTH, WIDTH, math.log(40))
    )
    whole = compare(
        certify(record, pool=16, eps=()), large, (record, record), quantity="disagreement"
    )
    assert whole.means[0] == pytest.approx(record.top1_disagreement["full"].mean())
    alike = compare(small, large, (record, record), quantity="gap")
    assert (alike.difference, alike.smaller) == (0, None)


def test_reads_in_the_order_fixed_by_the_seed():
    """Betting depends on the order; that of the certificates is the one used."""
    records = two_records(60)
    order = np.argsort(np.random.default_rng(7).random(60))
    a, b = (np.abs(record.at("clean", 0.5) - record.at("full", 0.5))[order] for record in records)
    found = compare(*both(records, inequality="betting", seed=7), records)
    assert found.lower == lower("betting", a - b, -WIDTH, WIDTH, math.log(40))
    unshuffled = lower(
        "betting", a[np.argsort(order)] - b[np.argsort(order)], -WIDTH, WIDTH, math.log(40)
    )
    assert found.lower != unshuffled


def test_a_pool_chosen_on_the_sample_is_paid_for():
    """Two of two pools each: ln 2 + ln 2 nats, for what involves the pool."""
    records = two_records()
    certificates = both(records, method="nested", pool=[4, 8], inequality="hoeffding")
    widths = {
        name: np.ptp([(c := compare(*certificates, records, quantity=name)).lower, c.upper])
        for name in ("gap", "pool_gap")
    }
    assert widths["gap"] == pytest.approx(4 * WIDTH * math.sqrt(math.log(40) / 400))
    assert widths["pool_gap"] == pytest.approx(4 * WIDTH * math.sqrt(math.log(160) / 400))


def miss_rate(nats, inequality):
    """Probability that the limits miss the difference of two coins that never agree, exactly: by
    the number of heads of 100.
    """
    heads = np.arange(101)
    a = (np.arange(100) < heads[:, None]).astype(float)
    low, high = difference_limits(a, 1 - a, (0, 1, 0, 1), nats, inequality)
    return binom.pmf(heads, 100, 0.5)[(low > 0) | (high < 0)].sum()


@pytest.mark.parametrize("inequality", [name for name in INEQUALITIES if name != "betting"])
def test_covers_the_difference(inequality):
    assert miss_rate(math.log(2 / 0.05), inequality) <= 0.05


def test_coverage_has_teeth():
    """The default has little to spare here, and spending all of delta on either side is wrong too
    often.
    """
    assert (
        0.03
        < miss_rate(math.log(2 / 0.05), "dirichlet")
        <= 0.05
        < 0.06
        < miss_rate(math.log(1 / 0.05), "dirichlet")
    )


def test_betting_covers_the_difference():
    """Its limits depend on the order, so by simulation: 2,000 samples, at most so many misses as
    one in ten thousand would show.
    """
    a = (np.random.default_rng(4).random((2_000, 60)) < 0.5).astype(float)
    low, high = difference_limits(a, 1 - a, (0, 1, 0, 1), math.log(2 / 0.05), "betting")
    assert 0.01 * 2_000 < np.sum((low > 0) | (high < 0)) <= binom.ppf(1 - 1e-4, 2_000, 0.05)


def test_pairing_is_what_makes_it_narrow():
    """Limits from the two samples on their own, valid at delta / 4 each, are several times as
    wide.
    """
    records = two_records(500)
    a, b = (np.abs(record.at("clean", 0.5) - record.at("full", 0.5)) for record in records)
    found = compare(*both(records), records)
    upper = INEQUALITIES["dirichlet"]
    nats = math.log(80)
    low = lower("dirichlet", a, 0, WIDTH, nats) - upper(b, 0, WIDTH, nats)
    high = upper(a, 0, WIDTH, nats) - lower("dirichlet", b, 0, WIDTH, nats)
    assert low < found.lower < found.upper < high
    assert found.upper - found.lower < 0.6 * (high - low)


def test_errors_say_what_to_do():
    records = two_records(30)
    a, b = both(records)
    with pytest.raises(ValueError, match=r"delta must lie strictly between 0 and 1, got 1.5"):
        compare(a, b, records, delta=1.5)
    with pytest.raises(
        ValueError,
        match=r"certificate a was not computed from these losses: "
        r"pass losses=\(losses_a, losses_b\)",
    ):
        compare(a, b, records[::-1])
    for setting, other in (("inequality", "hoeffding"), ("n_seq", 20), ("seed", 1)):
        with pytest.raises(
            ValueError,
            match=f"certificate a has {setting} = .*, certificate b has {other}: "
            "certify both at the same",
        ):
            compare(a, certify(records[1], pool=8, eps=(), **{setting: other}), records)


def test_other_quantities_and_sequences_are_refused():
    records = two_records(30)
    a, b = both(records)
    shuffled = (records[0], records[1].take(np.arange(30)[::-1]))
    with pytest.raises(
        ValueError, match=r"about different sequences, .*: collect both on one corpus"
    ):
        compare(*both(shuffled), shuffled)
    with pytest.raises(
        ValueError,
        match="'distance' is unknown or was not measured; "
        "there are gap, mismatch, pool_gap, proxy, bound",
    ):
        compare(a, b, records, quantity="distance")
    with pytest.raises(ValueError, match=r"'total_variation' is unknown or was not measured"):
        compare(a, b, records, quantity="total_variation")
    whole = both(records, method="in_sample", pool=None, prior="uniform")
    with pytest.raises(
        ValueError,
        match="'proxy' involves a pool, and this one was read off the sample: "
        "certify another method",
    ):
        compare(*whole, records, quantity="proxy")
    assert (
        compare(*whole, records, quantity="gap").means
        == compare(a, b, records, quantity="gap").means
    )


def test_every_quantity_is_in_words_and_examples_run():
    assert all(len(words) > 10 for words in QUANTITIES.values())
    outcome = doctest.testmod(paired)
    assert outcome.attempted > 0 and outcome.failed == 0
