import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, LO, make_losses, random_losses

from saecert.certificates.certificate import certify
from saecert.certificates.concepts import COLUMNS, concept_counts, frontier, grid_gap
from saecert.certificates.delta import BEHAVIOUR
from saecert.certificates.sample import Sample
from saecert.statistics.inequalities import clopper_pearson_upper, dirichlet_upper, hoeffding_upper

DELTA = 0.05
WIDTH = HI - LO


def misses_too_often(missed: np.ndarray) -> bool:
    """Whether so many misses would be a one-in-ten-thousand event at miscoverage DELTA."""
    return missed.sum() > binom.ppf(1 - 1e-4, len(missed), DELTA)


# Behaviour and shares outside the pool


@pytest.mark.parametrize(
    ("settings", "proxy"),
    [({"pool": 4}, "pool_4"), ({"pool": 16}, "full"), ({"method": "in_sample"}, "full")],
)
def test_behaviour_is_bounded_on_the_unit_interval(settings, proxy):
    losses = random_losses()
    rare = losses.discovery.n_active.copy()
    rare[0] = 0  # the one that is silent on the sample is left out of the pool in sample
    discovery = dataclasses.replace(losses.discovery, n_active=rare)
    losses = dataclasses.replace(losses, discovery=discovery)
    certificate = certify(losses, inequality="hoeffding", **settings)
    width = math.sqrt((math.log(1 / DELTA) + certificate.selection_nats) / 120)
    for name, table in (
        ("total_variation", losses.total_variation),
        ("disagreement", losses.top1_disagreement),
    ):
        row = certificate.statements[name]
        assert (row["mean"], row["upper"]) == pytest.approx(
            (table[proxy].mean(), min(table[proxy].mean() + width, 1))
        )
        assert (row["delta"], row["group"], row["lower"]) == (DELTA, name, None)
    for name in ("outside_firings", "outside_energy"):
        row = certificate.statements[name]
        if settings == {"pool": 16}:  # nothing lies outside the dictionary
            assert (row["mean"], row["upper"]) == (0, 0)
        elif settings == {"pool": 4}:
            mean = getattr(losses, name)["pool_4"].mean()
            assert (row["mean"], row["upper"]) == pytest.approx((mean, mean + width))
        else:  # nothing on this sample, which does not say that it will be so on the next
            assert (row["mean"], row["upper"]) == pytest.approx((0, min(width, 1)))


def test_what_was_not_recorded_is_not_stated():
    losses = dataclasses.replace(random_losses(), total_variation={}, outside_energy={})
    certificate = certify(losses, pool=4)
    assert set(BEHAVIOUR) & set(certificate.statements) == {"disagreement", "outside_firings"}
    assert "total_variation" not in certificate.groups
    assert "total variation" not in str(certificate)
    with pytest.raises(
        ValueError,
        match="shares for what the record does not hold for this pool: total_variation; "
        "leave them out",
    ):
        certify(losses, pool=4, budget={"bound": 0.04, "total_variation": 0.01})


# Concept counts


def test_concepts_are_counted_downwards_until_the_first_failure():
    clean = np.full(1000, 3.0)
    losses = make_losses(clean, clean + 0.1, {8: clean + 0.2, 4: clean + 1.0, 2: clean + 0.2})
    half = WIDTH * math.sqrt(math.log(1 / DELTA) / 2000)
    eps = (0.05, 0.1 + 1.01 * half, 0.2 + 1.01 * half, 2.0)
    none, full, eight, all_of_them = certify(
        losses, pool=8, inequality="hoeffding", eps=eps
    ).concepts
    assert (none["eps"], none["k"], none["tested"]) == (
        0.05,
        None,
        [{"k": 16, "upper": pytest.approx(0.1 + half)}],
    )
    assert full["k"] == 16
    assert [row["k"] for row in full["tested"]] == [16, 8]
    assert eight["k"] == 8  # 2 would do, but 4 stopped the search
    assert [row["k"] for row in eight["tested"]] == [16, 8, 4]
    assert all_of_them["k"] == 2
    for row in all_of_them["tested"]:  # all of delta at every size
        gap = np.abs(losses.at(f"pool_{row['k']}", 0.5) - clean)
        assert row["upper"] == pytest.approx(hoeffding_upper(gap, 0.0, WIDTH, math.log(1 / DELTA)))


def test_only_the_full_dictionary_is_tested_where_no_pool_was_measured():
    assert [
        row["k"]
        for row in certify(make_losses(np.full(400, 3.0)), pool=16, eps=(0.2, 0.01)).concepts
    ] == [16, None]


def test_a_false_count_is_rare_at_full_delta_and_testing_side_by_side_is_caught():
    """Every pool exceeds eps by next to nothing, and only the full dictionary keeps within it."""
    draws = 1000
    n = 60
    nats = math.log(1 / DELTA)
    rng = np.random.default_rng(0)
    downwards, side_by_side = np.zeros((2, draws), dtype=bool)
    clean = np.full(n, LO)
    eps = 0.3 * WIDTH * (1 - 1e-9)

    def exact_upper(
        x, lo, hi, nats
    ):  # Dirichlet's bound on values at the ends of the support, sooner
        return lo + (hi - lo) * clopper_pearson_upper(x.sum(axis=-1), x.shape[-1], nats)

    for draw in range(draws):
        pools = {k: np.where(rng.random(n) < 0.3, HI, LO) for k in (8, 6, 4, 2)}
        (row,) = concept_counts(
            Sample.of(make_losses(clean, clean, pools), 0.5), nats, (eps,), exact_upper
        )
        downwards[draw] = row["k"] != 16
        limits = exact_upper(
            np.stack([losses > LO for losses in pools.values()]).astype(float), 0.0, 1.0, nats
        )
        side_by_side[draw] = (WIDTH * limits <= eps).any()
    assert not misses_too_often(downwards)
    assert misses_too_often(side_by_side)


def test_eps_must_be_positive():
    for eps in ((0.0,), (0.1, -1.0), (math.inf,), (math.nan,)):
        with pytest.raises(
            ValueError, match="every eps must be a positive number of bits per token"
        ):
            certify(random_losses(), inequality="hoeffding", eps=eps)


# The frontier


def test_frontier_is_jointly_true_over_pools():
    losses = random_losses()
    nats = math.log(3 / DELTA)
    rows = frontier(losses)
    assert [row["k"] for row in rows] == [4, 8, 16]
    assert all(
        list(row) == ["k", *(key for name in COLUMNS for key in (name, f"{name}_upper"))]
        for row in rows
    )
    clean = losses.at("clean", 0.5)
    for row in rows:
        signed = losses.at(f"pool_{row['k']}", 0.5) - clean
        table = "full" if row["k"] == 16 else f"pool_{row['k']}"
        assert row["pool_gap"] == pytest.approx(np.abs(signed).mean())
        assert row["pool_gap_upper"] == pytest.approx(
            dirichlet_upper(np.abs(signed), 0.0, WIDTH, nats)
        )
        assert row["price"] == pytest.approx(signed.mean())
        assert row["price_upper"] == pytest.approx(dirichlet_upper(signed, -WIDTH, WIDTH, nats))
        assert row["total_variation_upper"] == pytest.approx(
            dirichlet_upper(losses.total_variation[table], 0.0, 1.0, nats)
        )
        assert row["disagreement_upper"] == pytest.approx(
            dirichlet_upper(losses.top1_disagreement[table], 0.0, 1.0, nats)
        )
    outside = dirichlet_upper(losses.outside_energy["pool_4"], 0.0, 1.0, nats)
    assert [row["outside_energy_upper"] for row in rows] == [
        pytest.approx(outside),
        pytest.approx(rows[1]["outside_energy_upper"]),
        0,
    ]


def test_frontier_pays_for_the_pools_it_shows_and_for_no_others():
    losses = random_losses()
    (alone,) = frontier(losses, pools=[8])
    certificate = certify(losses, pool=8)
    assert alone["price_upper"] == pytest.approx(certificate.price)
    assert alone["total_variation_upper"] == pytest.approx(
        certificate.statements["total_variation"]["upper"]
    )
    assert alone["price_upper"] < frontier(losses)[1]["price_upper"]
    assert frontier(losses, pools=[8], n_seq=30)[0]["price"] == pytest.approx(
        certify(losses, pool=8, n_seq=30).statements["price"]["mean"]
    )


def test_frontier_leaves_blank_what_was_not_recorded():
    losses = dataclasses.replace(
        random_losses(), outside_firings={}, total_variation={"full": np.zeros(60)}
    )
    rows = frontier(losses, inequality="hoeffding")
    assert [row["outside_firings"] for row in rows] == [None, None, 0.0]
    assert [row["total_variation_upper"] is None for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"delta": 0.0}, "delta must lie strictly between 0 and 1"),
        ({"inequality": "clt"}, "unknown inequality 'clt'"),
        ({"pools": [5]}, "a pool of 5 latents was not measured; measured sizes: 4, 8, 16"),
        ({"pools": []}, "a frontier needs at least one pool size"),
        ({"alpha": 0.01}, "recorded at alpha in"),
        ({"allow": ("all",)}, "allow names no such check: all"),
    ],
)
def test_bad_settings_of_a_frontier_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        frontier(random_losses(), **settings)


def test_frontier_checks_its_sample():
    twice = random_losses().take(np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="duplicates = 1 in 3 sequences"):
        frontier(twice)
    assert frontier(twice, allow=("duplicates",))[0]["k"] == 4


def test_the_gap_of_a_grid_is_averaged_over_its_sizes():
    clean = np.full(4, 5.0)
    losses = make_losses(clean, clean + 0.1, pools={4: clean + 0.8, 8: clean - 0.3})
    np.testing.assert_allclose(grid_gap(losses, 0.5), np.full(4, (0.8 + 0.3 + 0.1) / 3))
