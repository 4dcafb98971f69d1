"""Certificates: terms, deltas, samples, files, words, and every refusal."""

import dataclasses
import doctest
import math

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates import delta, published, terms
from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.checks import checked_sample
from saecert.certificates.delta import GROUPS, split_delta
from saecert.certificates.terms import joint_loss
from saecert.statistics.inequalities import INEQUALITIES, MONOTONE

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


# The four terms


def test_four_terms_worked_by_hand():
    clean = [2.0, 3.0, 4.0, 5.0] * 10
    full = [2.5, 3.0, 3.5, 6.0] * 10
    pool = [2.5, 4.0, 3.0, 7.0] * 10
    certificate = certify(make_losses(clean, full, {4: pool}), pool=4, inequality="hoeffding")
    width = (HI - LO) * math.sqrt(math.log(20) / 80)
    expected = {
        "proxy risk": 16.5 / 4,
        "reconstruction gap": 2.0 / 4,
        "pool mismatch": 2.5 / 4,
        "complexity": width,
    }
    assert certificate.terms == pytest.approx(expected)
    assert certificate.bound == pytest.approx(21 / 4 + width)
    assert certificate.complexity["selection"] == 0
    assert certificate.means["model risk"] == 3.5
    assert certificate.direct == pytest.approx(3.5 + width)
    assert certificate.price == pytest.approx(2.5 / 4 + 2 * width)
    third = (HI - LO) * math.sqrt(math.log(60) / 80)  # the three terms share delta
    for name, mean in (("proxy", 16.5 / 4), ("gap", 0.5), ("mismatch", 2.5 / 4)):
        row = certificate.statements[name]
        assert (row["mean"], row["lower"], row["upper"]) == (
            pytest.approx(mean),
            None,
            pytest.approx(mean + third),
        )
    signed = certificate.statements["signed_gap"]
    width_two_sided = 2 * (HI - LO) * math.sqrt(math.log(40) / 80)
    assert (signed["lower"], signed["upper"]) == pytest.approx(
        (2.5 / 4 - width_two_sided, 2.5 / 4 + width_two_sided)
    )


def test_joint_loss_dominates_every_loss_and_stays_in_the_support():
    rng = np.random.default_rng(0)
    clean, full, pooled = rng.uniform(LO, HI, (3, 1000))
    joint = joint_loss(clean, full, pooled, HI)
    assert np.all(joint >= np.maximum(np.maximum(clean, full), pooled) - 1e-12)
    assert joint.min() >= LO
    assert joint.max() == HI
    excess = joint_loss(clean, full, pooled, np.inf) - clean
    np.testing.assert_allclose(
        excess, 2 * np.maximum(full - clean, 0) + 2 * np.maximum(pooled - full, 0), atol=1e-12
    )


def test_clipping_is_a_non_positive_term():
    clean = [2.0, 3.0]
    full = [2.0, 10.0]
    pool = [2.0, 12.0]
    certificate = certify(make_losses(clean, full, {4: pool}), pool=4)
    assert certificate.terms["clipping"] == pytest.approx((HI - (12 + 7 + 2)) / 2)
    assert sum(certificate.terms.values()) == pytest.approx(certificate.bound, abs=1e-12)
    assert "clipping" not in certify(random_losses()).terms


@pytest.mark.parametrize("inequality", list(INEQUALITIES))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "nested"},
        {"method": "nested", "prior": "discovery"},
        {"method": "in_sample"},
        {"method": "in_sample", "prior": "uniform"},
    ],
)
def test_every_method_and_inequality_adds_up(inequality, settings):
    certificate = certify(random_losses(), inequality=inequality, **settings)
    assert sum(certificate.terms.values()) == pytest.approx(certificate.bound, abs=1e-12)
    assert sum(certificate.sharp_terms.values()) == pytest.approx(certificate.sharp, abs=1e-12)
    assert certificate.complexity["selection"] >= 0
    assert certificate.sharp_complexity["selection"] >= 0
    assert certificate.sharp == certificate.statements["sharp"]["upper"] <= HI
    if inequality != "empirical_bernstein":  # which is not monotone
        assert certificate.sharp <= certificate.bound
    assert certificate.sharp > certificate.means["model risk"]
    assert certificate.bound == certificate.statements["bound"]["upper"] <= HI
    assert certificate.bound > certificate.means["model risk"]
    for (
        name,
        row,
    ) in (
        certificate.statements.items()
    ):  # what does not involve A does not pay for having chosen it
        paid = 0 if name in ("gap", "direct", "direct_ladder") else certificate.selection_nats
        sides = 2 if name == "signed_gap" else 1
        assert row["nats"] == pytest.approx(math.log(sides / row["delta"]) + paid)
    # beating the uniform predictor is the sharp bound itself, shifted
    assert certificate.ladder[0]["upper"] == pytest.approx(certificate.sharp - 12, abs=1e-4)
    assert certificate.direct_ladder[0]["upper"] == pytest.approx(certificate.direct - 12, abs=1e-4)


# The delta budget


def test_default_groups_each_spend_delta():
    certificate = certify(random_losses())
    assert {group: total for group, (_, total) in certificate.groups.items()} == pytest.approx(
        dict.fromkeys(
            [*GROUPS.values(), *(f"concepts within {eps} bits" for eps in (0.1, 0.25, 0.5, 1.0))],
            DELTA,
        )
    )
    assert certificate.groups["terms"][0] == ["proxy", "gap", "mismatch"]
    assert certificate.statements["proxy"]["nats"] == pytest.approx(math.log(60))


def test_a_budget_makes_statements_hold_jointly():
    certificate = certify(random_losses(), budget={"bound": 0.04, "price": 0.01})
    assert certificate.groups["budget"] == (["bound", "price"], pytest.approx(0.05))
    assert certificate.bound == pytest.approx(certify(random_losses(), delta=0.04).bound)
    assert certificate.price == pytest.approx(certify(random_losses(), delta=0.01).price)
    assert certificate.direct == certify(random_losses()).direct
    split_delta(0.3, {"bound": 0.1, "price": 0.2})  # 0.1 + 0.2 > 0.3 in floating point


# Sample, order, monotonicity


def test_smaller_samples_are_prefixes():
    losses = random_losses()
    for inequality in ("dirichlet", "betting"):
        few = certify(losses, n_seq=25, inequality=inequality)
        same = certify(losses.take(slice(0, 25)), inequality=inequality)
        assert few.n_seq == 25
        assert (few.bound, few.ladder, few.statements) == (same.bound, same.ladder, same.statements)


def test_order_matters_to_betting_only_and_is_fixed_by_the_seed():
    losses = random_losses()
    orders = [
        checked_sample(random_losses(seed=seed), None, 1, ())[0].ids.tolist() for seed in (0, 1)
    ]
    assert orders[0] == orders[1] != sorted(orders[0])  # whatever the losses
    assert checked_sample(losses, 25, 1, ())[0].ids.tolist() == [i for i in orders[0] if i < 25]
    assert certify(losses, seed=1).bound == pytest.approx(certify(losses, seed=2).bound, rel=1e-9)
    assert (
        certify(losses, seed=1, inequality="betting").bound
        == certify(losses, seed=1, inequality="betting").bound
    )
    assert (
        certify(losses, seed=1, inequality="betting").bound
        != certify(losses, seed=2, inequality="betting").bound
    )


def test_bound_falls_as_delta_grows_and_never_beats_the_direct_bound():
    for method in ("fixed", "nested", "in_sample"):
        strict, lax = (
            certify(random_losses(), method=method, delta=delta) for delta in (0.001, 0.5)
        )
        assert strict.bound > lax.bound
        assert strict.sharp > lax.sharp
        assert strict.direct <= strict.sharp <= strict.bound
        assert lax.direct <= lax.sharp <= lax.bound


@pytest.mark.parametrize("inequality", MONOTONE)
def test_the_direct_bound_of_a_perfect_proxy_is_not_above_the_bound(inequality):
    for seed in (0, 1, 2, 4, 8, 10, 11, 12):
        losses = random_losses(seed=seed)
        loss = losses.loss | {"full": losses.loss["clean"]}
        perfect = dataclasses.replace(losses, loss=loss)
        settings = {"inequality": inequality, "pool": losses.d_sae, "eps": ()}
        certificate = certify(perfect, n_seq=2 + seed, **settings)
        assert certificate.bound - 1e-12 < certificate.direct <= certificate.bound
        assert certificate.direct <= certificate.sharp


# Reading


def in_one_line(certificate: Certificate) -> str:
    """The summary without its line breaks."""
    return " ".join(str(certificate).split())


def test_no_line_of_a_summary_is_wider_than_a_page():
    losses = random_losses()
    losses = dataclasses.replace(
        losses, provenance=losses.provenance | {"population": "documents " * 30}
    )
    for method in ("fixed", "nested", "in_sample"):
        text = str(certify(losses, method=method, inequality="hoeffding"))
        assert max(map(len, text.splitlines())) <= 72


def test_summary_says_what_it_means():
    text = in_one_line(certify(random_losses(400)))
    for phrase in (
        "toy at blocks.0.hook_resid_post, in bits per token",
        "proxy risk",
        "reconstruction gap",
        "= bound",
        "400 sequences",
    ):
        assert phrase in text
    assert "except with probability 0.05 over samples" in text
    assert "population: made up" in text
    assert "proxy + gap + mismatch 0.05, signed_gap 0.05" in text
    assert (
        "total variation" in text
        and "expected share of a sequence's firings that are outside the pool" in text
    )
    assert "concepts within 0.1 bits: none shown, not even all" in text
    assert "concepts within 0.25 bits: 8" in text
    assert "All of them at once: 0.8" in text
    assert "  = bound                 " in str(certify(random_losses(400)))
    assert (
        "Not checked, for want of a record: near_duplicates, same_document, overlap, "
        "batch_threshold, batch_dependence" in text
    )
    assert "vacuous" in str(certify(random_losses(3), inequality="hoeffding"))


def stated_numbers(text: str, label: str) -> float:
    """The number after a label in a summary."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label)]
    return float(line.split(label)[1].split()[0])


@pytest.mark.parametrize("seed", range(20))
def test_no_limit_is_printed_below_itself(seed):
    certificate = certify(random_losses(60, seed), inequality="hoeffding", eps=())
    text = str(certificate)
    rows = certificate.statements
    for label, limit, step in (
        ("= bound", certificate.bound, 0.01),
        ("direct bound", certificate.direct, 0.01),
        ("price of explanation", certificate.price, 0.01),
        ("total variation", rows["total_variation"]["upper"], 0.001),
    ):
        assert limit <= stated_numbers(text, label) < limit + step + 1e-9
    sharp = float(text.partition("= bound")[2].split()[1])
    assert certificate.sharp <= sharp < certificate.sharp + 0.01 + 1e-9
    assert f"lose at most {sharp:.2f} bits each on average" in in_one_line(certificate)


def test_a_limit_just_above_a_round_number_is_printed_above_it():
    """Once 1e-11 above 5.41 was printed as 5.41."""
    certificate = certify(random_losses(), inequality="hoeffding", eps=())
    certificate.statements["direct"]["upper"] = 5.41 + 1e-11
    assert stated_numbers(str(certificate), "direct bound") == 5.42


def test_the_summary_gives_each_statement_its_own_delta():
    budget = {"sharp": 0.03, "ladder": 0.02}
    text = in_one_line(certify(random_losses(400), inequality="hoeffding", budget=budget))
    assert "better than unigram (the ladder's own statement, delta 0.02)" in text
    assert "except with probability 0.03 over samples" in text
    assert "which says nothing" in str(certify(random_losses(), inequality="hoeffding", delta=0.5))


def test_a_bound_below_uniform_is_not_called_vacuous():
    certificate = certify(
        random_losses(), inequality="hoeffding", budget={"sharp": 0.05, "ladder": 1e-60}
    )
    assert certificate.verdict is None
    assert certificate.non_vacuous
    text = in_one_line(certificate)
    assert "verdict: better than uniform by the sharp bound; the ladder claims nothing" in text
    assert "vacuous" not in text


def test_two_saes_at_one_hook_point_are_told_apart():
    losses = random_losses()
    small = dataclasses.replace(losses, provenance=losses.provenance | {"sae": "small"})
    text = in_one_line(certify(small, inequality="hoeffding", eps=()))
    assert "Certificate of toy at blocks.0.hook_resid_post, SAE small, in bits" in text


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta": 0.0}, "delta must lie strictly between 0 and 1, got 0.0"),
        ({"delta": 1.0}, "delta must lie strictly between"),
        ({"alpha": 0.0}, "alpha must lie strictly between"),
        ({"alpha": 1.5}, "alpha must lie strictly between"),
        ({"alpha": 0.01}, r"recorded at alpha in \(0.5,\), not 0.01: collect again"),
        ({"method": "best"}, "unknown method 'best'; there are fixed, nested, in_sample"),
        ({"inequality": "clt"}, "unknown inequality 'clt'; there are .*dirichlet"),
        (
            {"method": "in_sample", "prior": "flat"},
            "unknown prior 'flat' for method 'in_sample'; there are product, uniform",
        ),
        (
            {"method": "nested", "prior": "product"},
            "unknown prior 'product' for method 'nested'; there are equal, discovery",
        ),
        (
            {"method": "nested", "prior": "discovery", "tolerance": 0.0},
            "tolerance must be a positive",
        ),
        ({"pool": 5}, "pool of 5 latents was not measured; measured sizes: 4, 8, 16"),
        ({"pool": 17}, "pool of 17 latents was not measured"),
        ({"method": "nested", "pool": [4, 99]}, "pool of 99 latents was not measured"),
        ({"method": "nested", "pool": []}, "at least one pool size"),
        ({"method": "nested", "pool": 4}, "a single one goes with method='fixed', pool=4"),
        ({"pool": [4, 8]}, "a grid of sizes goes with method='nested'"),
        ({"method": "in_sample", "pool": 4}, "leave `pool` out"),
        ({"tolerance": 0.0}, "tolerance must be a positive number of bits"),
        ({"n_seq": 61}, "n_seq must lie between 2 and the 60 sequences measured, got 61"),
        ({"n_seq": 1}, "n_seq must lie between 2"),
        (
            {"budget": {"bound": 0.04, "price": 0.02}},
            "delta budget sums to 0.06, more than delta = 0.05",
        ),
        ({"budget": {"bounds": 0.04}}, "no such statement: bounds; there are bound, sharp, proxy"),
        ({"budget": {"bound": 0.0}}, "every share of the delta budget must be positive"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        certify(random_losses(), **settings)


def test_methods_that_need_discovery_say_so():
    losses = dataclasses.replace(random_losses(), discovery=None)
    with pytest.raises(ValueError, match=r"give pool=k fixed beforehand, k one of 4, 8, 16"):
        certify(losses)
    with pytest.raises(ValueError, match="use prior='uniform'"):
        certify(losses, method="in_sample")
    with pytest.raises(ValueError, match="has none: .* take the prior 'equal'"):
        certify(losses, method="nested", prior="discovery", eps=())
    assert certify(losses, pool=8).k == 8
    assert certify(losses, method="in_sample", prior="uniform").prior == "uniform"


def test_a_missing_proxy_is_named():
    losses = random_losses()
    without = dataclasses.replace(
        losses, loss={name: values for name, values in losses.loss.items() if name != "full"}
    )
    with pytest.raises(KeyError, match="'full' was not measured; there are clean"):
        certify(without, pool=4)


@pytest.mark.parametrize("module", [delta, published, terms])
def test_examples_in_docstrings_run(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0 and outcome.failed == 0


def test_a_summary_shows_no_terminal_escapes():
    losses = random_losses()
    forged = "\x1b[2J\x07\u202e\nverified"
    names = dict.fromkeys(("subject", "hook_name", "sae", "population"), forged)
    losses = dataclasses.replace(losses, provenance=losses.provenance | names)
    text = str(certify(losses, inequality="hoeffding", eps=()))
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\\x1b[2J\\x07\\u202e\\nverified" in text
