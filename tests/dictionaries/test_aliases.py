"""Aliases against a count by hand, and what certificates make of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_losses import random_losses

from saecert import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.dictionaries.aliased import aliased, leaving, merged
from saecert.dictionaries.aliases import alias_counts, aliases, token_class

HOOK = "blocks.1.hook_resid_post"
COPIES = 4


@torch.no_grad()
def test_aliases_by_hand(subject, corpora):
    sample = corpora["certification"].take(7)
    packed = aliases(subject, sample, [HOOK], copies=COPIES, batch_size=3, progress=False)
    rows = np.unpackbits(packed[HOOK]["active"], axis=1).astype(bool)
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    _, cache = subject.model.run_with_cache(tokens)
    latents = subject.sae_at(HOOK).encode(cache[HOOK])
    expected = np.zeros((7, latents.shape[-1] * COPIES), bool)
    for seq, pos, latent in latents.nonzero().tolist():
        if pos:  # BOS is left out
            s = int(token_class(tokens[seq, pos], COPIES))
            expected[seq, latent * COPIES + s] = True
    np.testing.assert_array_equal(rows, expected)
    counts = alias_counts(subject, sample, [HOOK], copies=COPIES, progress=False)[HOOK]
    assert counts["n_seq"] == 7
    for r in (1, 2, 4):
        by_hand = merged(expected, COPIES, r).sum(axis=0)
        np.testing.assert_array_equal(counts[f"n_active_{r}"], by_hand)


def test_classes_depend_on_the_token_alone_and_are_about_equal():
    classes = token_class(torch.arange(4096), 32)
    assert np.bincount(classes).min() > 100
    torch.testing.assert_close(token_class(torch.arange(4096), 8), classes % 8)


def split(record, r, seed=0):
    """Each active latent of each sequence with some of its aliases, at least one."""
    rng = np.random.default_rng(seed)
    active = record.activity()
    chosen = rng.random((*active.shape, r)) < 0.5
    chosen[..., 0] |= ~chosen.any(axis=-1)
    return (chosen & active[..., None]).reshape(len(active), -1)


@pytest.fixture(scope="module")
def record():
    return random_losses(60)


def test_fixed_pools_are_certified_to_the_digit_and_the_price_of_looking_rises(record):
    r = 3
    rng = np.random.default_rng(1)
    n_active = rng.integers(0, record.discovery.n_seq, record.d_sae * r)
    split_record = aliased(record, split(record, r), n_active)
    assert split_record.d_sae == r * record.d_sae
    for k in record.pool_sizes:
        own = certify(record, pool=k)
        theirs = certify(split_record, pool=r * k)
        assert theirs.statements == own.statements  # T1: bound, direct, price, behaviour, ...
        assert theirs.ladder == own.ladder
        counted = [row["k"] and r * row["k"] for row in own.concepts]
        assert [row["k"] for row in theirs.concepts] == counted
    options = {"method": "in_sample", "prior": "uniform", "eps": ()}
    own, theirs = certify(record, **options), certify(split_record, **options)
    assert theirs.selection_nats > own.selection_nats and theirs.bound > own.bound
    assert theirs.direct == own.direct
    assert exact_set_bound(split_record).nats > exact_set_bound(record).nats


def test_one_alias_is_the_latent_itself(record):
    same = aliased(record, record.activity(), record.discovery.n_active)
    np.testing.assert_array_equal(same.active, record.active)
    assert certify(same, method="in_sample", eps=()).bound == pytest.approx(
        certify(record, method="in_sample", eps=()).bound
    )


def test_merging_by_hand():
    active = np.array([[1, 0, 0, 0, 0, 1, 0, 1]], bool)  # latent 0: class 0; latent 1: 1 and 3
    assert merged(active, 4, 2).astype(int).tolist() == [[1, 0, 0, 1]]
    assert merged(active, 4, 1).astype(int).tolist() == [[1, 1]]
    with pytest.raises(ValueError, match="cannot be merged into 3"):
        merged(active, 4, 3)


def test_leaving_the_pool_by_hand_and_more_often_with_more_aliases():
    active = np.array([[1, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, 1]], bool)
    found = leaving(active, np.array([2, 1, 0]), nats=math.log(20))
    assert found[["pool", "share", "unseen"]].tolist() == [2, 0.5, 0.5]
    p = found["upper"]
    tail = sum(math.comb(4, k) * p**k * (1 - p) ** (4 - k) for k in range(3))
    assert tail == pytest.approx(1 / 20)
    rng = np.random.default_rng(0)
    rows, seen = rng.random((2, 50, 8 * 6)) < 0.05
    shares = [
        leaving(merged(rows, 8, r), merged(seen, 8, r).sum(axis=0), 3.0)["share"]
        for r in (1, 2, 4, 8)
    ]
    assert shares == sorted(shares)


def test_what_cannot_be_aliases(subject, corpora, record):
    with pytest.raises(ValueError, match="not as many for each"):
        aliased(record, np.zeros((10, record.d_sae + 1), bool))
    with pytest.raises(ValueError, match="60"):
        aliased(record, np.zeros((61, record.d_sae), bool))
    with pytest.raises(ValueError, match="not active where"):
        aliased(record, ~split(record, 2))
    bare = aliased(replace(record, discovery=None), split(record, 2), np.zeros(32, int))
    assert bare.discovery is None
    sample = corpora["certification"].take(2)
    with pytest.raises(ValueError, match="at least one alias"):
        aliases(subject, sample, [HOOK], copies=0, progress=False)
    with pytest.raises(ValueError, match="power of two"):
        alias_counts(subject, sample, [HOOK], copies=3, progress=False)
