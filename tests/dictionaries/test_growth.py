"""Pool growth and missing mass against enumeration, and on a subject twice as wide."""

from itertools import combinations, product

import numpy as np
import pytest
import torch
from conftest import D_SAE, make_sae
from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

from saecert import load_subject
from saecert.dictionaries.activity import activity
from saecert.dictionaries.growth import (
    absent,
    growth_curve,
    judged_pool,
    missing,
    pool_growth,
    sequences_needed,
)
from saecert.statistics.inequalities import dirichlet_upper, lower
from saecert.subjects import forward

HOOKS = [f"blocks.{layer}.hook_resid_post" for layer in (0, 1)]
RNG = np.random.default_rng(0)
ACTIVE = RNG.random((7, 12)) < RNG.beta(0.5, 1, 12)
FRESH = RNG.random((5, 12)) < 0.4


@pytest.fixture(scope="session")
def wider(folders):
    """The tiny Llama with every latent of its SAEs twice."""
    saes = {}
    for hook in HOOKS:
        narrow = make_sae(hook)
        saes[hook] = JumpReLUSAE(JumpReLUSAEConfig(d_in=16, d_sae=2 * D_SAE))
        with torch.no_grad():
            saes[hook].W_enc.copy_(narrow.W_enc.repeat(1, 2))
            saes[hook].W_dec.copy_(narrow.W_dec.repeat(2, 1) / 2)
            saes[hook].threshold.fill_(1.0)
    return load_subject(folders["llama"], sae=saes, name="wider")


def test_activity_is_that_of_the_encoder_at_any_batch_size(subject, corpora, tmp_path, monkeypatch):
    corpus = corpora["discovery"]
    _, cache = subject.model.run_with_cache(torch.from_numpy(corpus.tokens.astype(np.int64)))
    counts = activity(subject, corpus, batch_size=7, progress=False)
    assert list(counts) == HOOKS
    for hook, positions in counts.items():
        np.testing.assert_array_equal(
            positions, (subject.sae_at(hook).encode(cache[hook])[:, 1:] != 0).sum(1).numpy()
        )
    monkeypatch.setenv("SAECERT_CACHE", str(tmp_path / "other"))
    (alone,) = activity(subject, corpus, HOOKS[1:], batch_size=1, progress=False).values()
    np.testing.assert_array_equal(alone, counts[HOOKS[1]])


def test_all_hook_points_share_one_run_of_the_model_and_the_second_call_needs_none(
    subject, corpora, monkeypatch
):
    runs = []
    run = forward.native_acts_at
    monkeypatch.setattr(
        forward, "native_acts_at", lambda *args: runs.append(len(args[1])) or run(*args)
    )
    corpus = corpora["certification"].take(40)
    first = activity(subject, corpus, batch_size=20, progress=False)
    second = activity(subject, corpus, batch_size=20, progress=False)
    assert runs == [20, 20]
    assert all((first[hook] == second[hook]).all() for hook in HOOKS)
    with pytest.raises(ValueError, match="no SAE at 'blocks.2.hook_resid_post'"):
        activity(subject, corpus, ["blocks.2.hook_resid_post"])


@pytest.mark.parametrize("n", [0, 1, 3, 7])
def test_averages_over_every_choice_of_calibration_sequences(n):
    pools = np.array([ACTIVE[list(rows)].any(axis=0) for rows in combinations(range(7), n)])
    np.testing.assert_allclose(absent(ACTIVE, n), (~pools).mean(axis=0), atol=1e-12)
    assert pool_growth(ACTIVE, n) == pytest.approx(pools.sum(axis=1).mean())
    np.testing.assert_allclose(
        missing(ACTIVE, n, FRESH), (FRESH[:, None] & ~pools).sum(axis=2).mean(axis=1), atol=1e-12
    )


def test_each_calibration_sequence_is_in_turn_left_out():
    expected = [
        np.mean(
            [(row & ~others[list(rows)].any(axis=0)).sum() for rows in combinations(range(6), 3)]
        )
        for i, row in enumerate(ACTIVE)
        for others in [np.delete(ACTIVE, i, axis=0)]
    ]
    np.testing.assert_allclose(missing(ACTIVE, 3, ACTIVE, left_out=True), expected, atol=1e-12)


def test_the_slope_of_pool_growth_is_good_and_turings_estimate():
    slopes = np.diff([pool_growth(ACTIVE, n) for n in range(8)])
    np.testing.assert_allclose(
        [missing(ACTIVE, n, ACTIVE, left_out=True).mean() for n in range(7)], slopes, atol=1e-12
    )
    assert slopes[0] == pytest.approx(ACTIVE.sum(axis=1).mean())
    assert slopes[-1] == pytest.approx((ACTIVE.sum(axis=0) == 1).sum() / 7)
    assert slopes[-1] > 0


@pytest.mark.parametrize("n", [1, 2])
def test_the_estimate_is_unbiased_over_every_sample_of_a_small_population(n):
    population = np.array(
        [[1, 1, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 1, 1]], bool
    )
    truth = population.mean(axis=0) @ (1 - population.mean(axis=0)) ** n
    samples = [population[list(rows)] for rows in product(range(4), repeat=3)]
    estimates = [missing(sample, n, sample, left_out=True).mean() for sample in samples]
    assert np.mean(estimates) == pytest.approx(truth, abs=1e-12)


def test_sequences_needed_by_hand():
    active = np.eye(10, dtype=bool)  # one latent a sequence: n sequences show n of ten
    fresh = np.ones((100, 10), bool)  # all ten in each: a share of 1 - n / 10 is missing
    needed = sequences_needed(active, fresh, 0.75, nats=3.0)
    assert needed == {"estimate": 10, "low": 8, "fresh": 8, "high": 8}, (
        "left out, a latent of its own is never seen: more than 9"
    )
    same = sequences_needed(np.ones((10, 3), bool), np.ones((100, 3), bool), 0.9, nats=3.0)
    assert same == {"estimate": 1, "low": 1, "fresh": 1, "high": 1}
    other = np.ones((100, 20), bool)
    assert sequences_needed(np.eye(10, 20, dtype=bool), other, 0.9, nats=3.0)["high"] == 11, (
        "half of it is never seen"
    )


def test_limits_are_the_first_sizes_at_which_the_bounds_pass():
    p = np.linspace(0.05, 0.5, 30)
    nats = np.log(1 / 0.1)
    active = RNG.random((15, 30)) < p
    fresh = RNG.random((60, 30)) < p
    needed = sequences_needed(active, fresh, 0.8, nats)
    bounds = {"low": [], "fresh": [], "high": []}
    for n in range(16):
        excess = absent(active, n) - 0.2
        support = excess[excess < 0].sum(), excess[excess > 0].sum()
        bounds["low"].append(lower("dirichlet", fresh @ excess, *support, nats))
        bounds["fresh"].append(missing(active, n, fresh).mean() - 0.2 * fresh.sum(axis=1).mean())
        bounds["high"].append(dirichlet_upper(fresh @ excess, *support, nats))
    for key, bound in bounds.items():
        assert (np.diff(bound) <= 0).all(), "so that searching costs nothing"
        assert needed[key] == np.argmax(np.array(bound) <= 0)
    assert 0 < needed["low"] < needed["high"]
    surer = sequences_needed(active, fresh, 0.8, 5 * nats)
    assert needed["high"] < surer["high"]


def test_a_second_wider_subject_stands_beside_the_first(subject, wider, corpora):
    narrow_counts, wide_counts = (
        {split: activity(lm, corpus, progress=False) for split, corpus in corpora.items()}
        for lm in (subject, wider)
    )
    for hook in HOOKS:
        narrow, narrow_fresh = (split[hook] > 0 for split in narrow_counts.values())
        wide, wide_fresh = (split[hook] > 0 for split in wide_counts.values())
        assert wide.shape[1] == 2 * narrow.shape[1]
        assert pool_growth(wide, 5) == pytest.approx(2 * pool_growth(narrow, 5))
        np.testing.assert_allclose(
            missing(wide, 5, wide_fresh), 2 * missing(narrow, 5, narrow_fresh), atol=1e-12
        )
        needed = sequences_needed(narrow, narrow_fresh, 0.9, nats=3.0)
        assert sequences_needed(wide, wide_fresh, 0.9, nats=3.0) == needed, (
            "every latent twice is no other text"
        )


def test_bad_arguments():
    with pytest.raises(
        ValueError,
        match="n = 8 sequences asked of 7 calibration sequences: measure more or lower n",
    ):
        pool_growth(ACTIVE, 8)
    with pytest.raises(ValueError, match="n = 7 sequences asked of 6"):
        missing(ACTIVE, 7, ACTIVE, left_out=True)
    with pytest.raises(ValueError, match="mass must lie strictly between 0 and 1, got 1.0"):
        sequences_needed(ACTIVE, ACTIVE, 1.0, nats=3.0)


def test_growth_curve_has_the_numbers_of_the_functions_it_is_made_of():
    (row,) = growth_curve(ACTIVE, FRESH, [3], nats=3.0)
    assert row["n"] == 3
    assert row["pool"] == pool_growth(ACTIVE, 3)
    lacking = missing(ACTIVE, 3, FRESH)
    assert row["fresh"] == lacking.mean()
    assert row["low"] <= row["fresh"] <= row["high"]
    assert row["high"] == dirichlet_upper(lacking, 0, absent(ACTIVE, 3).sum(), 3.0)


def test_judged_pool_by_hand():
    own = np.array([[2, 0, 0, 1], [1, 0, 0, 0]], dtype=np.uint8)
    fresh = np.array([[1, 3, 0, 0], [4, 0, 0, 0], [0, 0, 0, 0]], dtype=np.uint8)
    row = judged_pool(own, fresh, nats=2.0)
    assert row["active"] == 1.5
    assert row["pool (%)"] == 50
    assert row["Q1 / n"] == 0.5
    assert row["firings (%)"] == pytest.approx(100 * (3 / 4) / 3)
    assert row["added, at least"] <= 1 / 3 <= row["added, at most"] <= 2
    assert row["any (%), at least"] <= 100 / 3 <= row["any (%), at most"] <= 100
    assert row["firings (%)"] < row["firings (%), at most"] <= 100


def test_judged_pool_counts_firings_beyond_a_byte():
    own = np.array([[1, 0]], dtype=np.uint8)
    fresh = np.full((2, 2), 200, dtype=np.uint8)
    assert judged_pool(own, fresh, nats=2.0)["firings (%)"] == 50


def test_judged_pool_of_everything_lacks_nothing():
    whole = np.ones((3, 4), dtype=np.uint8)
    row = judged_pool(whole, whole, nats=2.0)
    assert row["added, at least"] == row["any (%), at least"] == row["firings (%)"] == 0
