"""Documents that begin alike, one in each split: their sequences stay in discovery only."""

import hashlib
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from conftest import N_CTX, make_texts

from saecert import load_corpus
from saecert.corpora.installed import installed_corpus
from saecert.corpora.splits import text_split
from saecert.measurement.provenance import about_corpus, overlap

HEADS = make_texts(6, seed=1)
"""Heads, longer than a sequence, of three documents each."""
ALIKE = [f"{head} ends in {word}" for head in HEADS for word in ("one", "two", "three")]
TEXTS = make_texts(60) + ALIKE


def sha256(text) -> str:
    """The key of a document."""
    return hashlib.sha256(text.encode()).hexdigest()


def split_of(text) -> str:
    """Where a hash puts a document."""
    return text_split(sha256(text))


def split_in_two(texts, subject, **options):
    """Discovery, and certification."""
    splits = ("discovery", "certification")
    return [load_corpus(texts, subject, split=split, n_ctx=N_CTX, **options) for split in splits]


def same(first, second) -> bool:
    """Whether two corpora agree in every field."""
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def test_no_sequence_is_in_both_splits_and_those_left_out_are_counted(subject):
    options = {"near_duplicates": "keep"}
    discovery, everything = split_in_two(TEXTS, subject, shared="keep", **options)
    again, sample = split_in_two(TEXTS, subject, **options)
    shared = overlap(everything, discovery)
    assert 0 < shared.sum() < len(everything)
    assert same(again, discovery)
    np.testing.assert_array_equal(sample.tokens, everything.tokens[~shared])
    kept = [key for key, out in zip(everything.keys, shared, strict=True) if not out]
    assert list(sample.keys) == kept
    assert sample.n_shared == shared.sum() and sample.n_list == len(sample)
    assert (everything.n_shared, everything.notes, discovery.n_shared) == (0, (), 0)
    said = about_corpus(sample)
    assert "without those then equal to one of the discovery split" in said["population"]
    assert said["notes"] == [f"{shared.sum()} sequences were left out that the discovery split has "
                             "as well"]  # fmt: skip


def test_a_part_is_the_beginning_of_the_whole(subject):
    whole = load_corpus(TEXTS, subject, n_ctx=N_CTX)
    few = load_corpus(TEXTS, subject, n_ctx=N_CTX, n_seq=20)
    np.testing.assert_array_equal(few.tokens, whole.tokens[:20])
    assert (few.n_shared, few.n_list, few.population) == (
        whole.n_shared, len(whole), whole.population)  # fmt: skip


def test_where_nothing_is_shared_nothing_changes(subject):
    for options in ({}, {"near_duplicates": "keep"}):
        _, sample = split_in_two(make_texts(60), subject, **options)
        _, everything = split_in_two(make_texts(60), subject, shared="keep", **options)
        assert sample.n_shared == 0 and same(sample, everything)
        assert "discovery" not in sample.population and sample.notes == ()


@pytest.mark.shared_cache
def test_what_the_package_ships_shares_nothing_at_its_length(shipped):
    for source in ("docstrings", "docstrings-fresh", "docstrings-old"):
        raw = installed_corpus(source, shipped, "certification", 128, True, False)
        sample = load_corpus(source, shipped)
        assert sample.n_shared == 0 and sample.n_similar + len(sample) == len(raw)


def test_shared_sequences_go_before_near_duplicates_are_looked_for(subject):
    """A near-duplicate of one that goes stays, and is not counted as similar."""
    head = make_texts(1, seed=2)[0]
    names = [f"{head} {n}" for n in range(200)]
    first = next(text for text in names if split_of(text) == "discovery")
    second = next(text for text in names if split_of(text) == "certification")
    other = next(
        text for n in range(200)
        if split_of(text := f"{head.replace(' ', ' not ', 1)} {n}") == "certification"
    )  # fmt: skip
    texts = [*make_texts(30), first, second, other]
    _, sample = split_in_two(texts, subject)
    _, kept = split_in_two(texts, subject, shared="keep")
    assert (sample.n_shared, sample.n_similar, kept.n_similar) == (1, 0, 1)
    assert len(sample) == len(kept)


def test_groups_stay_with_their_sequences(subject, tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": text, "site": f"site {n % 40}"} for n, text in enumerate(TEXTS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    _, sample = split_in_two(path, subject, group_column="site")
    assert sample.n_shared > 0 and len(sample.groups) == len(sample)
    site = {row["text"]: row["site"] for row in rows}
    of_key = {sha256(text): site[text] for text in TEXTS}
    assert list(sample.groups) == [of_key[key] for key in sample.keys]


def test_a_discovery_split_without_a_sequence_shares_none(subject):
    texts = [text for text in make_texts(40) if split_of(text) == "certification"]
    assert len(load_corpus(texts, subject, n_ctx=N_CTX)) == len(texts)
    short = next(word for n in range(200) if split_of(word := f"short {n}") == "discovery")
    assert len(load_corpus([*texts, short], subject, n_ctx=N_CTX)) == len(texts)


def test_a_sample_of_which_nothing_is_left_is_refused(subject):
    head = make_texts(1)[0]
    with pytest.raises(ValueError, match="each of the .* sequences of 24 tokens of 'texts given' "
                       "is in the discovery split, too: give documents that begin"):  # fmt: skip
        load_corpus([f"{head} {n}" for n in range(40)], subject, n_ctx=N_CTX)


def test_apart_from_other_text_is_the_sample_itself(corpora):
    sample = corpora["certification"]
    assert sample.apart_from(corpora["discovery"].tokens) is sample
    half = replace(sample, n_shared=2).apart_from(sample.tokens[::2].astype(np.int64))
    np.testing.assert_array_equal(half.tokens, sample.tokens[1::2])
    assert half.n_shared == 2 + len(sample.tokens[::2])
