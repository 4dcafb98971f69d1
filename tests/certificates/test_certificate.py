import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import binom
from synthetic_losses import HI, LO, N_VOCAB, make_losses, random_losses

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.checks import checked_sample
from saecert.certificates.delta import GROUPS, split_delta
from saecert.certificates.ladder import Rung, climb
from saecert.certificates.pool_rules import choose_pools
from saecert.certificates.published import published_bound
from saecert.certificates.sample import Sample
from saecert.certificates.terms import joint_loss
from saecert.records import Discovery
from saecert.statistics.inequalities import (
    INEQUALITIES,
    chernoff_kl_upper,
    clopper_pearson_upper,
    dirichlet_upper,
    misses,
)
from saecert.statistics.priors import (
    cheapest_product_superset,
    cheapest_uniform_superset,
    product_prior_nats,
    uniform_prior_nats,
)

DELTA = 0.05


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


# The four terms


def test_four_terms_worked_by_hand():
    clean, full, pool = (
        [2.0, 3.0, 4.0, 5.0] * 10,
        [2.5, 3.0, 3.5, 6.0] * 10,
        [2.5, 4.0, 3.0, 7.0] * 10,
    )
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
    clean, full, pool = [2.0, 3.0], [2.0, 10.0], [2.0, 12.0]
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
        {"method": "in_sample"},
        {"method": "in_sample", "prior": "uniform"},
    ],
)
def test_every_method_and_inequality_adds_up(inequality, settings):
    certificate = certify(random_losses(), inequality=inequality, **settings)
    assert sum(certificate.terms.values()) == pytest.approx(certificate.bound, abs=1e-12)
    assert certificate.complexity["selection"] >= 0
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
    # beating the uniform predictor is the bound itself, shifted
    assert certificate.ladder[0]["upper"] == pytest.approx(certificate.bound - 12, abs=1e-4)
    assert certificate.direct_ladder[0]["upper"] == pytest.approx(certificate.direct - 12, abs=1e-4)


# Pool rules and their cost


def test_fixed_pool_is_the_smallest_within_tolerance_on_discovery():
    losses = random_losses()
    assert [
        certify(losses, tolerance=bits, inequality="hoeffding").k for bits in (1.0, 0.1, 0.01)
    ] == [4, 8, 16]
    seen = losses.discovery.losses
    for bits, k in ((1.0, 4), (0.1, 8)):
        assert np.abs(seen.at("full", 0.5) - seen.at(f"pool_{k}", 0.5)).mean() < bits
    sample = dataclasses.replace(losses, loss=losses.loss | {"pool_4": losses.loss["full"]})
    assert (
        certify(sample, inequality="hoeffding").k == 8
    )  # what the certification sample says does not matter
    given = certify(losses, pool=4)
    assert (given.k, given.pool, given.tolerance, given.selection_nats) == (4, 4, None, 0.0)
    assert "states that it was fixed beforehand" in given.pool_rule
    assert certify(losses, pool=16).terms["pool mismatch"] == 0


def test_nested_pools_cost_the_logarithm_of_their_number():
    losses = random_losses()
    nested, third = certify(losses, method="nested"), math.log(3 / DELTA)
    assert [row["k"] for row in nested.curve] == [4, 8, 16]
    assert nested.selection_nats == pytest.approx(math.log(3))
    assert nested.bound == min(row["bound"] for row in nested.curve)
    for row in nested.curve:
        joint = _joint(losses, row["k"])
        assert row["bound"] == pytest.approx(dirichlet_upper(joint, LO, HI, third))
        assert row["bound"] > dirichlet_upper(joint, LO, HI, math.log(1 / DELTA))
    one = certify(losses, method="nested", pool=[8])
    assert one.bound == pytest.approx(certify(losses, pool=8).bound)
    assert certify(losses, method="nested", pool=(4, 8)).pool == [4, 8]


def test_uniform_prior_worked_by_hand_and_sums_to_one():
    assert uniform_prior_nats(3, 16) == pytest.approx(math.log(560 * 17))
    subsets = [subset for k in range(7) for subset in itertools.combinations(range(6), k)]
    assert sum(
        math.exp(-uniform_prior_nats(len(subset), 6)) for subset in subsets
    ) == pytest.approx(1)
    assert uniform_prior_nats(12288, 24576) == pytest.approx(24576 * math.log(2), rel=1e-3)


def test_product_prior_worked_by_hand_and_sums_to_one():
    discovery = Discovery(
        rule="frequency", order=np.arange(6), n_active=np.array([0, 1, 2, 5, 9, 10]), n_seq=10
    )
    fired = discovery.n_active + 0.5
    silent = 10 - discovery.n_active + 0.5
    out = np.exp(betaln(fired, silent + 7) - betaln(fired, silent))
    one_at_a_time = np.prod(
        [(silent + t) / (fired + silent + t) for t in range(7)], axis=0
    )  # Polya's urn: silent seven times in a row
    np.testing.assert_allclose(out, one_at_a_time)
    subsets = [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=6)]
    for inside in subsets:
        assert product_prior_nats(inside, discovery.n_active, discovery.n_seq, 7) == pytest.approx(
            -np.log(np.where(inside, 1 - out, out)).sum()
        )
    assert sum(
        math.exp(-product_prior_nats(inside, discovery.n_active, discovery.n_seq, 7))
        for inside in subsets
    ) == pytest.approx(1)


def test_in_sample_pool_is_the_cheapest_superset_of_what_was_active():
    losses = random_losses()
    active = losses.activity().any(axis=0)
    certificate = certify(losses, method="in_sample", prior="uniform")
    assert active.sum() == 15
    assert certificate.k == 16  # ln 17 for the whole dictionary, ln 16 more for the active set
    assert certificate.selection_nats == pytest.approx(math.log(17))
    assert certificate.terms["pool mismatch"] == 0
    assert certificate.statements["mismatch"]["upper"] > 0
    assert "superset of the 15 latents active on the sample" in certificate.pool_rule
    product = certify(losses, method="in_sample")
    counts = losses.discovery.n_active, losses.discovery.n_seq
    superset, nats = cheapest_product_superset(active, *counts, 60)
    assert (product.k, product.selection_nats) == (superset.sum(), pytest.approx(nats))
    assert product.bound == pytest.approx(
        float(dirichlet_upper(_joint(losses, 16), LO, HI, math.log(20) + product.selection_nats))
    )


def test_nothing_active_costs_no_more_than_the_empty_set():
    silent = make_losses(np.full(20, 3.0), active=np.zeros((20, 16), dtype=bool))
    certificate = certify(silent, method="in_sample", prior="uniform", eps=())
    assert (certificate.k, certificate.selection_nats) == (0, pytest.approx(math.log(17)))


def subsets_of(m: int) -> list[np.ndarray]:
    return [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=m)]


@pytest.mark.parametrize("m", [1, 2, 5, 8])
def test_the_cheapest_superset_is_that_of_an_enumeration(m):
    rng = np.random.default_rng(m)
    n_active, n_seen, n_seq = rng.integers(0, 11, m), 10, 7
    subsets = subsets_of(m)
    product = [product_prior_nats(s, n_active, n_seen, n_seq) for s in subsets]
    uniform = [uniform_prior_nats(int(s.sum()), m) for s in subsets]
    for active in subsets:
        holds = [bool((s | ~active).all()) for s in subsets]
        superset, nats = cheapest_product_superset(active, n_active, n_seen, n_seq)
        assert (superset | ~active).all()
        assert nats == pytest.approx(min(c for c, h in zip(product, holds, strict=True) if h))
        assert nats == pytest.approx(product_prior_nats(superset, n_active, n_seen, n_seq))
        size, nats = cheapest_uniform_superset(int(active.sum()), m)
        assert active.sum() <= size <= m
        assert nats == pytest.approx(min(c for c, h in zip(uniform, holds, strict=True) if h))
        assert nats == pytest.approx(uniform_prior_nats(size, m))


def _joint(losses, k):
    return joint_loss(*(losses.at(name, 0.5) for name in ("clean", "full", f"pool_{k}")), HI)


# Coverage: a miss is `bound < mean of the very quantity bounded`


def three_atoms(rng: np.random.Generator, *shape: int):
    """Losses (f, g, g_A): all at lo, only the pooled proxy at hi (clipped), all at hi; E v_A = lo +
    0.12 (hi - lo).
    """
    atom = rng.choice(3, p=[0.88, 0.05, 0.07], size=shape)
    return tuple(np.array(values)[atom] for values in ([LO, LO, HI], [LO, LO, HI], [LO, HI, HI]))


def missed(x: np.ndarray, delta: float, truth: float, nats: float = 0.0) -> np.ndarray:
    """Whether the default bound at `delta` and `nats` more lies below `truth`, row by row."""
    return misses("dirichlet", x, LO, HI, math.log(1 / delta) + nats, truth)


def test_fixed_pool_covers_and_five_times_delta_is_caught():
    truth = LO + 0.12 * (HI - LO)
    clean, full, pooled = three_atoms(np.random.default_rng(1), 2000, 100)
    joint = joint_loss(clean, full, pooled, HI)
    assert not misses_too_often(missed(joint, DELTA, truth))
    assert misses_too_often(missed(joint, 5 * DELTA, truth))
    for row in range(3):  # certify() is that very computation
        certificate = certify(make_losses(clean[row], full[row], {4: pooled[row]}), pool=4)
        assert certificate.bound == pytest.approx(dirichlet_upper(joint[row], LO, HI, math.log(20)))


def test_nested_pools_cover_jointly_and_free_selection_is_caught():
    draws, n, sizes = 1000, 100, (1, 2, 3, 4, 6, 8, 10, 12, 14)
    truth = LO + 0.12 * (HI - LO)
    clean = np.full(n, LO)
    pooled = np.where(np.random.default_rng(2).random((draws, len(sizes), n)) < 0.12, HI, LO)
    joint = joint_loss(clean, clean, pooled, HI)
    assert not misses_too_often(
        missed(joint, DELTA, truth, math.log(len(sizes))).any(axis=1)
    )  # any k missing is one miss
    assert misses_too_often(missed(joint, DELTA, truth).any(axis=1))
    certificate = certify(
        make_losses(clean, clean, dict(zip(sizes, pooled[0], strict=True))),
        method="nested",
        pool=sizes,
    )
    expected = dirichlet_upper(joint[0], LO, HI, math.log(len(sizes) / DELTA))
    assert [point["bound"] for point in certificate.curve] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("prior", ["product", "uniform"])
def test_any_subset_chosen_on_the_sample_is_covered(prior):
    """Every one of 16 pools has its own losses; the adversary shows the one that errs, if any
    does.
    """
    draws, n, m = 400, 60, 4
    discovery = Discovery(
        rule="frequency", order=np.arange(m), n_active=np.array([0, 1, 4, 6]), n_seq=6
    )
    subsets = [np.array(bits, dtype=bool) for bits in itertools.product([0, 1], repeat=m)]
    cost = [
        uniform_prior_nats(int(s.sum()), m)
        if prior == "uniform"
        else product_prior_nats(s, discovery.n_active, discovery.n_seq, n)
        for s in subsets
    ]
    rng, truth = np.random.default_rng(3), LO + 0.3 * (HI - LO)
    valid, mutant = np.zeros((2, draws), dtype=bool)
    for nats in cost:
        joint = np.where(rng.random((draws, n)) < 0.3, HI, LO)
        valid |= missed(joint, DELTA, truth, nats)
        mutant |= missed(joint, DELTA, truth)
    assert not misses_too_often(valid)
    assert misses_too_often(mutant)


@pytest.mark.parametrize("prior", ["product", "uniform"])
def test_what_the_sample_does_not_show_is_covered_and_free_selection_is_caught(prior):
    """Each of 40 kinds of text has a latent of its own, without which the pooled proxy fails.

    The product prior through `certify`: on discovery none was active, so that no silent latent is
    worth adding. The uniform prior would take the whole dictionary, of which nothing is unseen; but
    the theorem holds for every subset, and here for the active set itself.
    """
    draws, n, m = 40, 40, 40
    rng = np.random.default_rng(4)
    valid, mutant = np.zeros((2, draws), dtype=bool)
    for draw in range(draws):
        kinds = rng.integers(m, size=n)
        discovery = Discovery(
            rule="frequency", order=np.arange(m), n_active=np.zeros(m, np.int64), n_seq=80
        )
        record = make_losses(
            np.full(n, LO), d_sae=m, active=np.eye(m, dtype=bool)[kinds], discovery=discovery
        )
        certificate = certify(
            record, method="in_sample", prior="product", inequality="chernoff_kl", eps=()
        )
        k = len(set(kinds.tolist()))
        truth = LO + (HI - LO) * (1 - k / m)  # E v_A for the pool A that this sample chose
        assert certificate.k == k
        price = certificate.selection_nats if prior == "product" else uniform_prior_nats(k, m)
        joint = np.full(n, LO)
        bound = chernoff_kl_upper(joint, LO, HI, math.log(20) + price)
        if prior == "product":
            assert certificate.bound == pytest.approx(bound)
        valid[draw] = bound < truth
        mutant[draw] = chernoff_kl_upper(joint, LO, HI, math.log(20)) < truth
    assert not misses_too_often(valid)
    assert misses_too_often(mutant)


# The verdict ladder


def test_ladder_stops_at_the_first_failure():
    certificate = certify(random_losses(400), inequality="hoeffding")
    table = {row["rung"]: row for row in certificate.ladder}
    assert list(table) == ["uniform", "unigram", "bigram"]
    assert [row["claimed"] for row in certificate.ladder] == [True, True, False]
    assert certificate.verdict == "unigram"
    assert certificate.non_vacuous
    joint, reference = (
        _joint(random_losses(400), certificate.k),
        random_losses(400).at("unigram", 0.5),
    )
    width = ((HI - 3.0) - (LO - 12.5)) * math.sqrt(math.log(20) / 800)
    assert table["unigram"]["upper"] == pytest.approx((joint - reference).mean() + width)
    assert table["unigram"]["risk"] == pytest.approx(reference.mean())
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
    draws, n, nats = 1000, 100, math.log(1 / DELTA)
    rng = np.random.default_rng(5)
    model, reference = rng.choice([5.5, 6.5], (draws, n)), rng.choice([3.0, 9.0], (draws, n))
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
    draws, n, nats = 1000, 60, math.log(1 / DELTA)
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
        few, same = (
            certify(losses, n_seq=25, inequality=inequality),
            certify(losses.take(slice(0, 25)), inequality=inequality),
        )
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
        assert strict.direct <= strict.bound
        assert lax.direct <= lax.bound


# Files and reading


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"method": "nested", "pool": (4, 8), "budget": {"bound": 0.02}},
        {"method": "in_sample", "n_seq": 5},
    ],
)
def test_json_round_trip_is_exact(tmp_path, settings):
    losses = random_losses()
    losses = dataclasses.replace(
        losses, provenance=losses.provenance | {"versions": {"numpy": "2"}, "pair": (1, 2)}
    )
    certificate = certify(losses, **settings)
    certificate.save(tmp_path / "certificate.json")
    assert Certificate.load(tmp_path / "certificate.json") == certificate
    assert certificate.fingerprint == losses.fingerprint()


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "certificate.json"
    certify(random_losses()).save(path)
    text = path.read_text()
    content = json.loads(text)
    cases = {
        text[: len(text) // 2]: "not a whole JSON file",
        "[]": "not a certificate of saecert",
        json.dumps(content | {"schema": 99}): "has schema 99, this version of saecert reads 2",
        json.dumps(
            {key: value for key, value in content.items() if key != "alpha"}
        ): "missing or unknown fields: alpha",
        json.dumps(content | {"extra": 1}): "missing or unknown fields: extra",
        json.dumps(
            content | {"means": content["means"] | {"proxy risk": 1.0}}
        ): "edited or damaged, certify again: .*the terms sum to",
        json.dumps(content | {"means": {}}): "edited or damaged, certify again: KeyError",
        json.dumps(content | {"n_seq": "60"}): "n_seq is '60', not int: edited or damaged",
    }
    for damaged, message in cases.items():
        path.write_text(damaged)
        with pytest.raises(ValueError, match=message):
            Certificate.load(path)
    with pytest.raises(FileNotFoundError):
        Certificate.load(tmp_path / "nowhere.json")


def test_summary_says_what_it_means():
    text = str(certify(random_losses(400)))
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
    assert "concepts within 0.1 bits: none, not even with the full SAE" in text
    assert "concepts within 0.25 bits: 8" in text
    assert "All of them at once: 0.75" in text
    assert (
        "Not checked, for want of a record: near_duplicates, same_document, overlap, batch_threshold, batch_dependence"
        in text
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
    assert f"at most {stated_numbers(text, '= bound'):.2f} bits each on average" in text


def test_a_limit_just_above_a_round_number_is_printed_above_it():
    """Once 1e-11 above 5.41 was printed as 5.41."""
    certificate = certify(random_losses(), inequality="hoeffding", eps=())
    certificate.statements["direct"]["upper"] = 5.41 + 1e-11
    assert stated_numbers(str(certificate), "direct bound") == 5.42


def test_the_summary_gives_each_statement_its_own_delta():
    budget = {"bound": 0.03, "ladder": 0.02}
    text = str(certify(random_losses(400), inequality="hoeffding", budget=budget))
    assert "better than unigram (the ladder's own statement, delta 0.02)" in text
    assert "except with probability 0.03 over samples" in text
    assert "which says nothing" in str(certify(random_losses(), inequality="hoeffding", delta=0.5))


def test_two_saes_at_one_hook_point_are_told_apart():
    losses = random_losses()
    small = dataclasses.replace(losses, provenance=losses.provenance | {"sae": "small"})
    text = str(certify(small, inequality="hoeffding", eps=()))
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
            "unknown prior 'flat'; there are product, uniform",
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
        ({"budget": {"bounds": 0.04}}, "no such statement: bounds; there are bound, proxy"),
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
    assert certify(losses, pool=8).k == 8
    assert certify(losses, method="in_sample", prior="uniform").prior == "uniform"


def test_a_missing_proxy_is_named():
    losses = random_losses()
    without = dataclasses.replace(
        losses, loss={name: values for name, values in losses.loss.items() if name != "full"}
    )
    with pytest.raises(KeyError, match="'full' was not measured; there are clean"):
        certify(without, pool=4)


# The published formula, for comparison


@pytest.mark.parametrize(
    ("n_vocab", "d_sae", "k", "covering", "confidence"),
    [
        (
            50257,
            24576,
            59.77,
            [43.05, 13.61, 9.63, 7.86, 6.09, 4.31, 1.93],
            [1.27, 0.40, 0.28, 0.23, 0.18, 0.13, 0.06],
        ),
        (
            256000,
            16384,
            58.19,
            [47.16, 14.91, 10.54, 8.61, 6.67, 4.72, 2.11],
            [1.45, 0.46, 0.32, 0.26, 0.20, 0.14, 0.06],
        ),
    ],
)
def test_published_penalties(n_vocab, d_sae, k, covering, confidence):
    tokens = (1_000, 10_000, 20_000, 30_000, 50_000, 100_000, 500_000)
    printed = [
        published_bound(6.0, 0.75, k=k, d_sae=d_sae, n_tokens=n, n_vocab=n_vocab) for n in tokens
    ]
    assert [round(p.covering, 2) for p in printed] == covering
    assert [round(p.confidence, 2) for p in printed] == confidence
    assert all(p.bound == pytest.approx(6.75 + p.covering + p.confidence) for p in printed)


def test_published_bound_refuses_nonsense():
    for settings, message in (
        ({"alpha": 0.0}, "alpha and delta"),
        ({"k": 0.0}, "needs 0 < k"),
        ({"n_tokens": 0}, "n_tokens > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            published_bound(
                1.0, 0.0, **({"k": 5.0, "d_sae": 16, "n_tokens": 10, "n_vocab": N_VOCAB} | settings)
            )


def test_pools_of_a_choice_share_one_shape():
    sample = Sample.of(random_losses(), 0.5)
    choice = choose_pools(sample, "nested", pool=None, prior="product", tolerance=0.1)
    assert choice.losses.shape == (3, 60)
