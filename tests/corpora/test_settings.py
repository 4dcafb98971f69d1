"""Settings that cannot be right, and splits that are too small: a line says what it takes."""

import json
import re
from contextlib import contextmanager
from hashlib import sha256

import pytest
from conftest import N_CTX, make_texts

from saecert import load_corpus
from saecert.corpora import docstrings
from saecert.corpora.splits import text_split
from saecert.reporting.study import open_study


@pytest.fixture
def no_reading(monkeypatch):
    """Nothing is read: settings are checked before."""
    monkeypatch.setattr(
        "saecert.corpora.loading.read_texts", lambda *given: pytest.fail("read all the same")
    )


@pytest.mark.parametrize("n_seq", [-1, 0, 1, True])
@pytest.mark.parametrize("source", ["a.txt", "random-tokens", "model-samples"])
def test_numbers_of_sequences_are_checked_first(subject, no_reading, n_seq, source):
    with pytest.raises(ValueError, match="n_seq must be a whole number of at least 2, got"):
        load_corpus(source, subject, n_seq=n_seq)


@pytest.mark.parametrize("n_ctx", [-1, 0, 1, 33, True])
def test_lengths_are_checked_first(subject, no_reading, n_ctx):
    with pytest.raises(ValueError, match="n_ctx must lie between 2 and .* 32 tokens, got"):
        load_corpus("a.txt", subject, n_ctx=n_ctx)


def test_splits_are_checked_first(subject, no_reading):
    with pytest.raises(ValueError, match="unknown split 'train'; there are discovery, cert"):
        load_corpus("a.txt", subject, split="train")


def test_an_empty_split_says_how_many_documents_it_takes(subject):
    text = make_texts(1)[0]
    splits = ("discovery", "certification")
    messages = []
    for split in splits:
        try:
            load_corpus([text] * 5, subject, split=split, n_ctx=N_CTX)
        except ValueError as error:
            messages.append(str(error))
    (message,) = messages
    assert "more documents needed" in message and "lower n_ctx" not in message
    assert "got none of its 1 documents (4 repeats were dropped before)" in message
    assert any(
        f"puts {share} % of the documents there, so give 33 or more different ones" in message
        for share in (25, 75)
    )


@pytest.mark.parametrize("n_different", [1, 2, 3])
def test_too_little_text_is_told_with_one_number(subject, folders, tmp_path, n_different):
    """Whichever split a hash leaves without sequences: as many documents always would do."""
    path = tmp_path / "texts.jsonl"
    told = set()
    for seed in range(12):
        texts = make_texts(n_different, seed) * 50
        path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
        study = open_study(str(folders["llama"]), corpus=str(path), n_seq=0, n_ctx=N_CTX)
        study._shared["subject", None] = subject
        with suppress_and_note(told):
            assert len(study.sample) >= 2 and len(study.discovery) >= 2
    assert told == {33}


@pytest.mark.parametrize("n", [33, 40])
def test_as_many_documents_do(n):
    """In one list of 1,000 a split has fewer than two."""
    short = 0
    for seed in range(3000):
        splits = [text_split(sha256(f"{seed} {i}".encode()).hexdigest()) for i in range(n)]
        short += min(splits.count("discovery"), splits.count("certification")) < 2
    assert short <= 9


@contextmanager
def suppress_and_note(told):
    """The number of documents in the message of an error, if there is one."""
    try:
        yield
    except ValueError as error:
        said = re.search(r"about (\d+) documents like|give (\d+) or more different", str(error))
        told.add(int(said[1] or said[2]))


def test_too_few_sequences_say_how_many_documents_they_take(subject):
    texts = make_texts(80)
    has = len(load_corpus(texts, subject, split="discovery", n_ctx=N_CTX))
    needed = -(-500 * 80 // has)
    with pytest.raises(
        ValueError,
        match=f"n_seq=500 asked of the discovery split.*has {has} .*it takes about {needed:,} "
        "documents like its 80",
    ):
        load_corpus(texts, subject, split="discovery", n_ctx=N_CTX, n_seq=500)


def test_at_most_takes_what_there_is(subject):
    texts = make_texts(80)
    everything = load_corpus(texts, subject, n_ctx=N_CTX)
    for n_seq in (5, 500):
        corpus = load_corpus(texts, subject, n_ctx=N_CTX, n_seq=n_seq, at_most=True)
        assert len(corpus) == min(n_seq, len(everything))
        assert corpus.keys == everything.keys[: len(corpus)]
    with pytest.raises(ValueError, match="has 1 sequences .at least 2 are needed"):
        everything.part(0, 1).take(5, at_most=True)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'{"a": "b', b"\xff"])
def test_a_damaged_cache_of_documents_is_made_anew(monkeypatch, damage):
    monkeypatch.setattr(docstrings, "PACKAGES", ("networkx",))
    documents = docstrings.docstring_documents(progress=False)
    path = next(iter(docstrings.cache_dir().glob("docstrings-*.json")))
    path.write_bytes(damage)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged .*made anew"):
        assert docstrings.docstring_documents(progress=False) == documents
    assert json.loads(path.read_text()) == documents
