"""What published means certify: hand-worked values, errors, and what to expect of the paper's."""

import doctest
import math

import pytest

from saecert.certificates import published
from saecert.certificates.published import from_means, paper, ranges
from saecert.certificates.published.from_means import count_of_share
from saecert.reporting.published import certified, restated
from saecert.statistics.inequalities import chernoff_kl, clopper_pearson_upper

SHAPE = {"n_seq": 1_000, "pool": 12, "d_sae": 16, "n_vocab": 50_257}
MEANS = {"proxy_risk": 7.0, "gap": 0.25, "mismatch": 0.002}


def test_every_term_of_the_journal_form_by_hand():
    scale = math.log2(1 + 0.9 * 1_000 / 0.1)
    settings = {"n_vocab": 1_000, "alpha": 0.1, "delta": 0.2}
    bounds = published.tacl(**(MEANS | SHAPE | settings))
    third, sixth = scale * math.sqrt(math.log(15) / 2_000), scale * math.sqrt(math.log(30) / 2_000)
    nats = math.log(math.comb(16, 12))
    occam = scale * math.sqrt((nats + math.log(15)) / 2_000)
    assert bounds.scale == pytest.approx(scale)
    assert bounds.mismatch == pytest.approx(0.002 * scale)
    assert bounds.core == pytest.approx(7.25 + 0.002 * scale)
    penalties = (bounds.risk_penalty, bounds.mismatch_penalty, bounds.gap_penalty)
    assert penalties == pytest.approx((third, third, sixth))
    assert bounds.occam_penalty == pytest.approx(occam)
    assert bounds.selection_nats == pytest.approx(nats)
    assert bounds.fixed == pytest.approx(bounds.core + 2 * third + sixth)
    assert bounds.occam == pytest.approx(bounds.core + occam + third + sixth)


def test_every_term_of_the_first_version_by_hand():
    scale = math.log2(1_000 / 0.1)
    settings = {"n_vocab": 1_000, "alpha": 0.1, "delta": 0.2}
    bounds = published.v1(**(MEANS | SHAPE | settings))
    nats = 12 * math.log(math.e * 16 / 12)
    complexity = scale * math.sqrt((nats + math.log(10)) / 2_000)
    gap = scale * math.sqrt(math.log(20) / 2_000)
    assert bounds.core == pytest.approx(7.25 + 0.002 * scale)
    assert (bounds.complexity, bounds.gap_penalty) == pytest.approx((complexity, gap))
    assert bounds.bound == pytest.approx(bounds.core + complexity + gap)
    empty = published.v1(**(MEANS | SHAPE | {"pool": 0}))
    assert empty.complexity == pytest.approx(empty.scale * math.sqrt(math.log(40) / 2_000))


def test_the_whole_dictionary_pays_nothing_for_having_been_chosen():
    bounds = published.tacl(**(MEANS | SHAPE | {"pool": 16}))
    assert bounds.selection_nats == 0
    assert bounds.occam == pytest.approx(bounds.fixed)


def test_sharper_limits_are_those_of_their_inequalities():
    lo, hi = -math.log2(0.5 + 0.5 / 50_257), math.log2(2 * 50_257)
    valid = published.sharper(**MEANS, **SHAPE, precision=1e-12)
    third = math.log(60)
    risk = chernoff_kl(7.0, 1_000, lo, hi, third)
    occam = chernoff_kl(7.0, 1_000, lo, hi, third + math.log(math.comb(16, 12)))
    gap = chernoff_kl(0.25, 1_000, 0, hi - lo, math.log(120))
    share = clopper_pearson_upper(2, 1_000, third)
    assert valid.mismatch_count == 2
    assert valid.mismatch_share == share
    assert valid.mismatch == pytest.approx((hi - lo) * share)
    assert (valid.proxy_risk, valid.gap) == pytest.approx((risk, gap), abs=1e-9)
    assert valid.occam_proxy_risk == pytest.approx(occam, abs=1e-9)
    assert valid.fixed == pytest.approx(risk + gap + (hi - lo) * share, abs=1e-9)
    assert valid.occam == pytest.approx(occam + gap + (hi - lo) * share, abs=1e-9)
    direct = published.sharper_direct(n_seq=1_000, risk=7.0, n_vocab=50_257, precision=1e-12)
    assert direct == pytest.approx(chernoff_kl(7.0, 1_000, lo, hi, math.log(20)), abs=1e-9)


@pytest.mark.parametrize("n_seq", [20, 1_000, 70_000])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_sharper_is_never_wider_than_what_is_printed(n_seq, share):
    """Exact means: Hoeffding's limits, which the printed form takes, may leave the range."""
    means = {"proxy_risk": 1.1 + 15 * share, "gap": 15 * share, "mismatch": share}
    shape = SHAPE | {"n_seq": n_seq}
    printed = published.tacl(**means, **shape)
    valid = published.sharper(**means, **shape, precision=0.0)
    assert printed.core <= valid.fixed <= printed.fixed + 1e-9
    assert printed.core <= valid.fixed <= valid.occam <= printed.occam + 1e-9


def test_less_precise_means_certify_less():
    limits = [published.sharper(**MEANS, **SHAPE, precision=e) for e in (1e-9, 1e-6, 1e-3, 0.6)]
    assert sorted(limit.fixed for limit in limits) == [limit.fixed for limit in limits]
    assert [limit.mismatch_count for limit in limits] == [2, 2, 2, 3]
    largest = published.sharper(**(MEANS | {"proxy_risk": 16.6}), **SHAPE, precision=0.5)
    assert largest.proxy_risk <= math.log2(2 * 50_257)


def test_counts_of_printed_shares():
    assert count_of_share(0.0013, 10_000) == 13
    assert count_of_share(0.0013000000035390258, 10_000) == 13
    assert count_of_share(0.008766667, 30_000) == 263
    assert [count_of_share(share, 70_000) for share in (0.0, 1.0)] == [0, 70_000]
    assert count_of_share(0.0042, 70_000, precision=0.00005 / 0.0042) == 297
    for n_seq in (7, 1_008, 70_000):
        assert all(
            count_of_share(k / n_seq, n_seq) == k for k in range(0, n_seq + 1, 1 + n_seq // 97)
        )


def test_a_share_of_no_whole_number_of_sequences_is_refused():
    with pytest.raises(ValueError, match=r"mismatch = 0.00013 is 1.3 of 10000 sequences, no whole"):
        count_of_share(0.00013, 10_000)


BAD = [
    ({"gap": -0.1}, r"gap = -0.1: must lie in \[0, 15.617\d*\]"),
    ({"gap": 15.7}, r"gap = 15.7: must lie in"),
    ({"mismatch": 1.1}, r"mismatch = 1.1: must lie in \[0, 1\]"),
    ({"mismatch": -0.001}, "mismatch = -0.001: must lie in"),
    ({"proxy_risk": 0.9}, r"proxy_risk = 0.9: must lie in \[0.99\d*, 16.617\]"),
    ({"proxy_risk": 16.7}, "proxy_risk = 16.7: must lie in"),
    ({"proxy_risk": math.nan}, "proxy_risk = nan: must lie in"),
    ({"pool": 17}, "pool = 17: must lie between 0 and d_sae = 16"),
    ({"delta": 0.0}, "delta = 0.0: must lie strictly between 0 and 1"),
    ({"delta": 1.0}, "delta = 1.0: must lie strictly between 0 and 1"),
    ({"alpha": 1.5}, "alpha = 1.5: must lie strictly between 0 and 1"),
    ({"n_seq": 0}, "n_seq = 0: a mean is taken over at least 1 sequence"),
    ({"n_vocab": 1}, "n_vocab = 1: a vocabulary has at least 2 tokens"),
]


@pytest.mark.parametrize("form", [published.tacl, published.v1, published.sharper])
@pytest.mark.parametrize(("wrong", "message"), BAD)
def test_statistics_outside_their_ranges_are_named_in_one_line(form, wrong, message):
    with pytest.raises(ValueError, match=message) as caught:
        form(**(MEANS | SHAPE | wrong))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [published.direct, published.sharper_direct])
def test_a_risk_outside_its_range_is_named(form):
    for wrong, message in ({"risk": 17.0}, "risk = 17.0"), ({"delta": 2.0}, "delta = 2.0"):
        with pytest.raises(ValueError, match=message):
            form(**({"n_seq": 10, "risk": 7.0, "n_vocab": 50_257} | wrong))


EXPECTED = {
    "gpt2-small": (8.283, 7.892, 10.423, 10.028),
    "gemma-2b": (7.717, 7.271, 12.415, 11.943),
    "llama-3-8b": (7.919, 7.543, 13.739, 13.273),
}
"""U_SAE and its sharper form, U_SAE+Occam and its sharper form, at N = 10,000; bits."""


def test_what_the_papers_means_certify():
    frame = certified(restated("models")).set_index("model")
    columns = ["fixed", "sharper_fixed", "occam", "sharper_occam"]
    for model, values in EXPECTED.items():
        assert frame.loc[model, columns].tolist() == pytest.approx(values, abs=6e-4)


def test_layer_28_of_llama_becomes_non_vacuous():
    frame = certified(restated("layers")).set_index("layer")
    row = frame.loc[28]
    assert row[["occam", "sharper_occam"]].tolist() == pytest.approx([17.202, 16.704], abs=6e-4)
    assert row["sharper_occam"] < row["uniform"] < row["occam"]
    helped = frame["sharper_occam"] < frame["uniform"]
    assert list(frame.index[helped]) == [28, 30]
    hopeless = frame["core"] > frame["uniform"]
    assert list(frame.index[hopeless]) == [4, 8, 12, 16]


@pytest.mark.parametrize("module", [published, paper, ranges, from_means])
def test_examples_in_docstrings_run(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0 and outcome.failed == 0
