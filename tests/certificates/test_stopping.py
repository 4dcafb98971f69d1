"""Streams that stop: how often they are wrong (with teeth), when they stop, what they refuse to
read together.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert import collect
from saecert.certificates.certificate import certify
from saecert.certificates.stopping import certify_stream
from saecert.statistics.betting import mixture
from saecert.statistics.inequalities import INEQUALITIES, betting_upper

DELTA = 0.05


def pieces(record, *sizes):
    """Successive pieces of a record, and how many of them have been asked for."""
    asked = []

    def generate():
        start = 0
        for size in sizes:
            asked.append(size)
            yield record.take(slice(start, start + size))
            start += size

    return generate(), asked


# How often a false target is claimed


def coins(rng, m, size):
    return (rng.random(size) < m).astype(float)


def rare_losses(rng, m, size):
    """Values a little above m, and a rare 0 that brings the mean down to it: nearly all short
    samples look too good.
    """
    return np.where(rng.random(size) < 0.02, 0.0, m / 0.98)


def spread(rng, m, size):
    return rng.beta(2 * m, 2 * (1 - m), size)


def claims(reached):
    """Streams that ever claim the false target, and whether so many would be a one-in-ten-thousand
    event at DELTA.
    """
    return reached.mean(), reached.sum() > binom.ppf(1 - 1e-4, len(reached), DELTA)


def hoeffding_at_every_n(z, m):
    """The mutant: the fixed-n bound, tried again after each value."""
    n = np.arange(1, z.shape[1] + 1)
    return (z.cumsum(axis=1) / n - np.sqrt(math.log(1 / DELTA) / (2 * n)) > m).any(axis=1)


def betting_at_every_n(z, m):
    """Another: the fixed-n betting bound, with its horizon moved along."""
    return np.any(
        [
            betting_upper(1 - z[:, :n], 0, 1, -math.log(DELTA)) < 1 - m
            for n in range(2, z.shape[1], 3)
        ],
        axis=0,
    )


@pytest.mark.parametrize("population", [coins, rare_losses, spread])
@pytest.mark.parametrize("m", [0.1, 0.5, 0.9])
def test_a_false_target_is_hardly_ever_claimed(population, m):
    """10,000 streams of 500 whose mean is exactly the target, looked at after every value."""
    z = population(np.random.default_rng([5, int(10 * m)]), m, (10_000, 500))
    rate, too_often = claims((mixture(z, m)[0] >= -math.log(DELTA)).any(axis=1))
    assert not too_often
    if (population, m) == (coins, 0.5):
        assert rate > 0.01  # it does happen


def test_mutants_are_caught_by_the_same_test():
    z = coins(np.random.default_rng([5, 5]), 0.5, (10_000, 500))
    assert claims(hoeffding_at_every_n(z, 0.5))[1]
    assert claims((mixture(z, 0.5)[0] >= -math.log(5 * DELTA)).any(axis=1))[1]
    assert claims(betting_at_every_n(z[:1000, :60], 0.5))[1]
    seen_first = np.maximum.accumulate(
        np.stack([np.log1p(f * (z / 0.5 - 1)) for f in (0.0, 0.5)]), axis=0
    )[-1]  # bets only on winners
    assert claims((seen_first.cumsum(axis=1) >= -math.log(DELTA)).any(axis=1))[1]


# When it stops


def test_stops_at_the_first_sequence_that_settles_it_and_asks_for_no_more():
    record = random_losses(600)
    parts, asked = pieces(record, 50, 50, 100, 100, 100, 100, 100)
    stopped = certify_stream(parts, target="bigram", pool=8)
    assert stopped.holds and sum(asked[:-1]) < stopped.n <= sum(asked) < 600
    assert len(stopped.log_wealth) == stopped.n
    assert stopped.log_wealth[-1] >= math.log(20) > stopped.log_wealth[:-1].max()
    whole = certify_stream([record], target="bigram", pool=8)  # pieces of any size: the same stream
    assert whole.n == stopped.n
    np.testing.assert_allclose(whole.log_wealth, stopped.log_wealth, atol=1e-12)
    assert f"better than bigram: certain after {stopped.n} sequences (largest wealth" in str(
        stopped
    )


def test_wealth_is_that_of_the_paired_losses_in_their_order():
    record = random_losses(200)
    clean, full, pooled, bigram = (
        record.at(name, 0.5) for name in ("clean", "full", "pool_8", "bigram")
    )
    x = np.max([clean, full, pooled], axis=0) - bigram
    lo = LO - 11.0
    hi = HI - 2.0
    stopped = certify_stream([record], target="bigram", pool=8)
    np.testing.assert_allclose(
        stopped.log_wealth, mixture((hi - x)[None] / (hi - lo), hi / (hi - lo))[0][0, : stopped.n]
    )
    turned = certify_stream([record.take(np.arange(200)[::-1])], target="bigram", pool=8)
    assert turned.log_wealth[0] != stopped.log_wealth[0]


def test_tolerances():
    """The larger the tolerance the earlier; what it claims is a mean of the record."""
    record = random_losses(3000)
    for quantity, most in (
        ("gap", (0.2, 0.5)),
        ("pool_gap", (0.3, 1.0)),
        ("bound", (5.0, 8.0)),
        ("sharp", (5.0, 8.0)),
        ("disagreement", (0.15, 0.5)),
    ):
        late, early = (certify_stream([record], target={quantity: value}, pool=8) for value in most)
        assert 5 < early.n < late.n < 3000
    assert "SAE reconstruction gap, below 0.2: certain after" in str(
        certify_stream([record], target={"gap": 0.2})
    )


def test_the_gap_needs_no_pool_and_no_discovery():
    record = replace(random_losses(400), discovery=None)
    stopped = certify_stream([record], target={"gap": 0.5})
    assert stopped.holds and (stopped.k, stopped.pool_rule) == (record.d_sae, "none needed")
    with pytest.raises(
        ValueError, match="this record has none: collect with a discovery corpus, or give pool=k"
    ):
        certify_stream([record], target={"bound": 8})


def test_pool_is_the_one_that_certify_would_fix():
    record = random_losses(400)
    stopped = certify_stream([record], target="uniform")
    certificate = certify(record, eps=())
    assert (stopped.k, stopped.pool_rule) == (certificate.k, certificate.pool_rule)


def test_a_stream_may_end_undecided():
    record = random_losses(40)
    parts, asked = pieces(record, 20, 20)
    stopped = certify_stream(parts, target="bigram")
    assert (stopped.n, stopped.holds, len(stopped.log_wealth), asked) == (None, False, 40, [20, 20])
    assert "better than bigram: not certain after 40 sequences (largest wealth" in str(stopped)
    assert "20 needed" in str(stopped)


def test_measures_only_what_is_needed(subject, corpora):
    """The generator of the docstring, on a tiny model: losses are soon certain to be below nearly
    the largest there can be.
    """
    corpus = corpora["certification"]
    measured = []

    def measure(start):
        measured.append(start)
        return collect(
            subject,
            corpus.part(start, start + 8),
            discovery=corpora["discovery"].take(16),
            progress=False,
        )

    stopped = certify_stream(
        (measure(i) for i in range(0, len(corpus) - 7, 8)),
        target={"bound": math.log2(subject.d_vocab) + 0.6},
        pool=32,
    )
    assert stopped.holds and len(measured) == math.ceil(stopped.n / 8) < len(corpus) // 8
    assert stopped.provenance["hook_name"] == subject.middle_hook


# What it refuses


def test_repeats_are_noticed_across_parts():
    first = random_losses(30).take(slice(0, 10))
    with pytest.raises(ValueError, match="duplicates = 10 in 20 sequences"):
        certify_stream([first, first], target="bigram")
    allowed = certify_stream([first, first], target="bigram", allow=("duplicates",))
    assert (allowed.checks["duplicates"], allowed.allow) == (10, ["duplicates"])
    one, other = (
        replace(first, ids=first.ids + np.uint64(i), documents=first.ids) for i in (0, 100)
    )
    with pytest.raises(ValueError, match="same_document = 10 in 20 sequences"):
        certify_stream([one, other], target="bigram")


@pytest.mark.parametrize("name", [name for name in INEQUALITIES if name != "betting"])
def test_other_inequalities_are_refused(name):
    with pytest.raises(
        ValueError,
        match=f"'{name}' holds at one sample size fixed beforehand; .* leave inequality='betting'",
    ):
        certify_stream([random_losses()], target="bigram", inequality=name)


def test_parts_must_belong_together():
    record = random_losses(40)
    one = record.take(slice(0, 20))
    two = record.take(slice(20, 40))
    for other, difference in (
        (replace(two, provenance=two.provenance | {"sae_sha256": "other"}), "sae_sha256"),
        (
            replace(two, provenance=two.provenance | {"population": "other", "n_ctx": 7}),
            "population, n_ctx",
        ),
        (replace(two, discovery=replace(two.discovery, order=np.arange(16))), "discovery ranking"),
        (
            replace(two, reference_support=two.reference_support | {"bigram": ((1.0, 11.0),)}),
            "references",
        ),
    ):
        with pytest.raises(
            ValueError,
            match=f"the parts of a stream differ in {difference}: measure all on one model",
        ):
            certify_stream([one, other], target="bigram")


def test_other_errors_say_what_to_do():
    record = random_losses()
    for settings, message in (
        ({"target": "bigram", "delta": 0.0}, "delta must lie strictly between 0 and 1"),
        (
            {"target": "trigram"},
            r"no reference 'trigram': a target is one of uniform, unigram, bigram, "
            r"or a tolerance such as {'gap'",
        ),
        (
            {"target": {"gap": 0.2, "bound": 8.0}},
            "a stream has one target, .* divide delta among them",
        ),
        ({"target": {"distance": 0.2}}, "'distance' is unknown or was not measured; there are gap"),
        (
            {"target": {"gap": 0.0}},
            "'gap' lies between 0 and .*: whether it is below 0 needs no data",
        ),
        ({"target": {"bound": 99}}, "whether it is below 99 needs no data"),
        ({"target": "bigram", "pool": 5}, "a pool of 5 latents was not measured"),
        ({"target": "bigram", "allow": ("typo",)}, "allow names no such check: typo"),
    ):
        with pytest.raises(ValueError, match=message):
            certify_stream([record], **settings)
    with pytest.raises(
        ValueError, match="the stream has no part: give an iterable of SequenceLosses"
    ):
        certify_stream([], target="bigram")
    with pytest.raises(ValueError, match="losses were recorded at alpha in"):
        certify_stream([make_losses([3.0, 4.0])], target={"gap": 0.2}, alpha=0.1)
