"""Special tokens that a text spells are counted and said, and change nothing else."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import N_CTX, make_texts, make_tokenizer

from saecert import collect, load_corpus
from saecert.corpora.special import with_special_noted

TEXTS = make_texts(60)


def test_spelled_tokens_are_counted_and_recorded(subject):
    plain = load_corpus(TEXTS, subject, n_ctx=N_CTX)
    assert not plain.notes
    texts = [f"{text[:8]}<|bos|><|pad|>{text[8:]}" for text in TEXTS[:30]] + TEXTS[30:]
    said = r"special tokens that the text spells \('<\|bos\|>', '<\|pad\|>'\)"
    with pytest.warns(UserWarning, match=said):
        corpus = load_corpus(texts, subject, n_ctx=N_CTX)
    spelled = np.isin(corpus.tokens[:, 1:], [0, 1])
    (note,) = corpus.notes
    n_with = int(spelled.any(axis=1).sum())
    assert n_with > 1
    assert note.startswith(f"{2 * n_with} tokens in {n_with} of the {len(corpus)} certification")
    with pytest.warns(UserWarning, match=said):
        some = load_corpus(texts, subject, n_ctx=N_CTX, n_seq=8)
    assert np.array_equal(some.tokens, corpus.tokens[:8]) and some.notes == (note,)
    assert collect(subject, some).provenance["notes"] == [note]


def test_bos_before_a_sequence_and_unknown_characters_are_not_spelled(subject):
    corpus = load_corpus(TEXTS, subject, n_ctx=N_CTX)
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"unk_token": "<|unk|>"})
    tokens = corpus.tokens.copy()
    tokens[:, 5] = tokenizer.unk_token_id
    corpus = replace(corpus, tokens=tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_special_noted(corpus, tokenizer) is corpus


@pytest.mark.shared_cache
def test_shipped_text_is_noted_nothing(shipped):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        corpus = load_corpus("docstrings", shipped)
    assert (corpus.tokens[:, 1:] == shipped.tokenizer.pad_token_id).sum() == 1
    assert not corpus.notes
