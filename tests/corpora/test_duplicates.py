"""Near-duplicates: exact, in memory that grows linearly with their number."""

import tracemalloc

import numpy as np
import pytest

from saecert.certificates.checks import short_windows
from saecert.corpora import duplicates
from saecert.corpora.corpus import Corpus
from saecert.corpora.duplicates import JACCARD, near_duplicate_texts, near_duplicates


def shingle_sets(tokens):
    return [{tuple(row[i : i + 5]) for i in range(len(row) - 4)} for row in tokens.tolist()]


def resemble(one, other):
    return len(one & other) >= JACCARD * len(one | other)


def clusters_by_hand(tokens):
    """First of the cluster of each row, by merging the clusters of every pair that resembles."""
    sets = shingle_sets(tokens)
    first = list(range(len(sets)))
    for row in range(len(sets)):
        for other in range(row):
            if resemble(sets[row], sets[other]):
                ends = {first[row], first[other]}
                first = [min(ends) if label in ends else label for label in first]
    return first


def similar_rows(generator, n, rate, n_ctx=24):
    """Copies of three templates in which some tokens were replaced."""
    templates = generator.integers(9, size=(3, n_ctx))
    tokens = templates[generator.integers(3, size=n)]
    replaced = generator.random(tokens.shape) < rate
    return np.where(replaced, generator.integers(9, size=tokens.shape), tokens)


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.08])
def test_clusters_are_exact_whatever_the_block(monkeypatch, block, rate):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    tokens = similar_rows(np.random.default_rng(int(1000 * rate)), 60, rate)
    ids = np.arange(60, dtype=np.uint64)
    assert near_duplicates(tokens, ids).tolist() == clusters_by_hand(tokens)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_texts_are_compared_with_those_kept(monkeypatch, block):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    tokens = similar_rows(np.random.default_rng(5), 60, 0.06)
    sets = shingle_sets(tokens)
    keep = []
    for row in range(len(sets)):
        if not any(resemble(sets[row], sets[other]) for other in keep):
            keep.append(row)
    dropped = near_duplicate_texts([" ".join(map(str, row)) for row in tokens.tolist()])
    assert np.flatnonzero(~dropped).tolist() == keep


def peak_memory(n):
    """Bytes at most allocated while `n` sequences that all resemble each other are compared."""
    generator = np.random.default_rng(0)
    tokens = np.tile(generator.integers(1000, size=64), (n, 1))
    tokens[:, -1] = np.arange(n)
    tracemalloc.start()
    assert len(np.unique(near_duplicates(tokens, np.arange(n, dtype=np.uint64)))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_grows_linearly_when_all_resemble_each_other(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 256)
    assert peak_memory(4000) < 2.5 * peak_memory(2000)


def test_a_filter_that_cannot_work_is_noted():
    tokens = np.random.default_rng(0).integers(1000, size=(20, 19)).astype(np.int32)
    keys = tuple(map(str, range(20)))
    long = Corpus("texts", "certification", tokens, keys, True, 0, "")
    short = Corpus("texts", "certification", tokens[:, :18], keys, True, 0, "")
    assert long.without_similar().notes == ()
    (note,) = short.without_similar().notes
    assert "windows of 18 tokens are too short for the near-duplicate filter" in note


@pytest.mark.parametrize(("n_ctx", "found"), [(11, False), (18, False), (19, True), (128, True)])
def test_one_token_in_the_middle_hides_a_repeat_in_exactly_the_windows_that_are_noted(n_ctx, found):
    tokens = np.tile(np.arange(n_ctx), (2, 1))
    tokens[1, n_ctx // 2] = n_ctx
    ids = np.array([1, 2], dtype=np.uint64)
    resembles = near_duplicates(tokens, ids)[1] == 1
    assert resembles == found
    assert (duplicates.filter_note(n_ctx) is None) == found
    assert short_windows({"n_ctx": n_ctx}) != found
