"""Documents to sequences: splits, lengths, drift, and text that cannot be used."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import N_CTX, make_texts

from saecert import load_corpus
from saecert.corpora import windows
from saecert.docstrings import SPLITS, near_duplicates, split_of


def test_splits_share_no_document_and_every_sequence_starts_with_bos(corpora, subject):
    discovery, sample = corpora["discovery"], corpora["certification"]
    assert not set(discovery.keys) & set(sample.keys)
    assert len(discovery) + len(sample) == 120 and sample.tokens.shape[1] == N_CTX
    assert (sample.tokens[:, 0] == subject.tokenizer.bos_token_id).all()
    assert len(set(sample.ids.tolist())) == len(sample)


def test_order_and_split_do_not_depend_on_the_order_of_the_file(subject):
    texts = make_texts(40)
    one, other = (load_corpus(given, subject, n_ctx=N_CTX) for given in (texts, texts[::-1] + texts[:3]))
    np.testing.assert_array_equal(one.tokens, other.tokens)


def test_short_documents_are_dropped_and_counted(subject):
    corpus = load_corpus([*make_texts(30), "too short", "much too short"], subject, n_ctx=N_CTX)
    discovery = load_corpus([*make_texts(30), "too short", "much too short"], subject, split="discovery", n_ctx=N_CTX)
    assert corpus.n_too_short + discovery.n_too_short == 2
    assert "at least 23 tokens" in corpus.population


def test_text_and_jsonl_files(subject, tmp_path):
    texts = make_texts(30)
    (tmp_path / "a.txt").write_text("\n".join(texts))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"body": text}) for text in texts))
    lines = load_corpus(tmp_path / "a.txt", subject, n_ctx=N_CTX)
    rows = load_corpus(tmp_path / "a.jsonl", subject, n_ctx=N_CTX, column="body")
    np.testing.assert_array_equal(lines.tokens, rows.tokens)


def test_text_that_cannot_be_used(subject, tmp_path):
    def load(name, content, **options):
        (tmp_path / name).write_bytes(content)
        return load_corpus(tmp_path / name, subject, **options)

    with pytest.raises(FileNotFoundError, match="no text at"):
        load_corpus(tmp_path / "missing.txt", subject)
    with pytest.raises(ValueError, match="holds no text"):
        load("empty.txt", b"\n \n")
    with pytest.raises(ValueError, match=r"not UTF-8 \(byte 2\)"):
        load("latin.txt", b"ol\xe9 ")
    with pytest.raises(ValueError, match="line 1: not JSON"):
        load("bad.jsonl", b"{text")
    with pytest.raises(ValueError, match="no text under 'text' .it has body"):
        load("column.jsonl", b'{"body": "x"}')
    with pytest.raises(ValueError, match="no document in the certification split.*has 31 tokens.*lower n_ctx"):
        load("short.txt", b"one two\nthree four", n_ctx=32)


def test_bad_arguments(subject, corpora):
    with pytest.raises(ValueError, match="unknown split 'test'; there are discovery, certification"):
        load_corpus(make_texts(5), subject, split="test")
    with pytest.raises(ValueError, match="context of 32 tokens, got 64"):
        load_corpus(make_texts(5), subject, n_ctx=64)
    with pytest.raises(ValueError, match="n_seq=1 asked.*at least 2"):
        corpora["certification"].take(1)
    with pytest.raises(ValueError, match="n_seq=9999 asked"):
        load_corpus(make_texts(30), subject, n_ctx=N_CTX, n_seq=9999)


def test_windows_cover_every_token_once(subject):
    texts = make_texts(3)
    tokens, lengths = windows(texts, subject.tokenizer, n_ctx=16)
    kept = np.concatenate([row[1:length] for row, length in zip(tokens, lengths, strict=True)])
    assert kept.tolist() == [token for ids in subject.tokenizer(texts, add_special_tokens=False)["input_ids"] for token in ids]
    assert (tokens[:, 0] == subject.tokenizer.bos_token_id).all()


def test_near_duplicates_keep_the_first():
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join(words), " ".join([*words[:50], "other", *words[51:]]), " ".join(words[::-1]), " ".join(words[:30])]
    assert near_duplicates(texts).tolist() == [False, True, False, False]
    assert near_duplicates(texts[::-1]).tolist() == [False, False, False, True]
    assert near_duplicates(["short", "short", "other"]).tolist() == [False, True, False]


def test_shares_of_the_splits():
    names = [split_of(f"package:name{i}") for i in range(20_000)]
    for name, percent in SPLITS.items():
        assert names.count(name) / 200 == pytest.approx(percent, abs=1.5)


@pytest.mark.shared_cache
def test_another_corpus_is_refused_unless_allowed(shipped):
    drifted = replace(shipped, card={"corpus": {"text_hash": "0" * 64}})
    with pytest.raises(ValueError, match="not those 'docstring-6l' was trained on.*allow_corpus_drift=True"):
        load_corpus("docstrings", drifted)
    assert "not those" in load_corpus("docstrings", drifted, allow_corpus_drift=True).notes[0]
    assert load_corpus("docstrings", shipped).notes == ()
