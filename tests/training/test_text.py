"""The text SAEs are trained on: all of a split, some held out, nothing of certification."""

import numpy as np
import pytest
from conftest import N_CTX, make_texts

from saecert import load_corpus
from saecert.training import text as training
from saecert.training.text import training_text


def rows(tokens):
    return {tuple(row) for row in tokens.tolist()}


def test_a_users_text_is_split_and_its_certification_split_left_alone(subject, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(make_texts(300)))
    train, held_out = training_text(str(path), subject, n_ctx=N_CTX)
    sample = load_corpus(path, subject, split="certification", n_ctx=N_CTX)
    discovery = load_corpus(path, subject, split="discovery", n_ctx=N_CTX)
    assert rows(train.tokens) | rows(held_out.tokens) == rows(discovery.tokens)
    assert not rows(train.tokens) & rows(held_out.tokens)
    assert not rows(train.tokens) & rows(sample.tokens)
    assert len(held_out.tokens) == pytest.approx(len(discovery) / 20, abs=1)
    assert train.n_tokens == len(train.tokens) * (N_CTX - 1)


def test_of_docstrings_every_window_of_train_and_validation(subject, monkeypatch):
    texts = {"train": make_texts(6), "validation": make_texts(3, seed=1)}
    monkeypatch.setattr(training, "split_texts", texts.get)
    train, held_out = training_text("docstrings", subject, n_ctx=N_CTX)
    encoded = [subject.tokenizer(text)["input_ids"] for text in texts["train"]]
    assert train.n_tokens == sum(map(len, encoded))
    assert (train.tokens[:, 0] == subject.tokenizer.bos_token_id).all()
    assert np.array_equal(held_out.lengths <= N_CTX, np.ones(len(held_out.lengths), bool))


def test_a_source_without_end_gives_what_is_asked_for(subject):
    train, _ = training_text("random-tokens", subject, n_ctx=N_CTX, n_tokens=5_000)
    assert 5_000 <= train.n_tokens < 6_000
