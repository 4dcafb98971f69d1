"""The text that SAEs are trained on: windows of any corpus, and others held out."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Int

from saecert.corpora.loading import load_corpus
from saecert.corpora.tokenize import windows
from saecert.subjects.subject import Subject
from saecert.training.language_model import split_texts

HELD_OUT = 20
"""One sequence in so many is held out, of a corpus that has no validation split."""


@dataclass(frozen=True)
class Windows:
    """Windows of text, padded on the right."""

    tokens: Int[np.ndarray, "n_windows n_ctx"]
    """Token ids."""
    lengths: Int[np.ndarray, "n_windows"]
    """Number of tokens in each window, BOS included."""
    bos: bool
    """Whether every window starts with BOS."""

    @property
    def n_tokens(self) -> int:
        """Tokens without BOS and padding."""
        return int(self.lengths.sum()) - self.bos * len(self.lengths)


def training_text(
    source: str, subject: Subject, *, n_ctx: int | None = None, n_tokens: int = 1_000_000
) -> tuple[Windows, Windows]:
    """Windows to train on and windows held out, none of them of a certification split.

    Of "docstrings" these are all windows of the train and of the validation documents. Of any other
    source of `load_corpus` it is the first window of each document of the discovery split, of
    which every twentieth is held out; sources without end give as many as `n_tokens` asks for.

    Raises
    ------
    ValueError
        As `load_corpus` does, an `n_ctx` that the model does not take, and fewer than two windows.
    """
    n_ctx = min(subject.n_ctx, 128) if n_ctx is None else n_ctx
    if not 2 <= n_ctx <= subject.n_ctx:
        raise ValueError(
            f"n_ctx must lie between 2 and the model's context of {subject.n_ctx} tokens, "
            f"got {n_ctx}"
        )
    if source == "docstrings" and subject.bos:
        return _docstrings("train", subject, n_ctx), _docstrings("validation", subject, n_ctx)
    n_seq = None
    if source in ("random-tokens", "model-samples"):
        n_train = ceil(n_tokens / (n_ctx - subject.bos))
        n_seq = n_train + ceil(n_train / (HELD_OUT - 1)) + 1
    split = "train" if source == "docstrings" else "discovery"
    corpus = load_corpus(
        source, subject, split=split, n_seq=n_seq, n_ctx=n_ctx, near_duplicates="keep"
    )
    if len(corpus) < 2:
        raise ValueError(f"'{source}' has one sequence to train on: give more text")
    is_held_out = np.arange(len(corpus)) % HELD_OUT == 1
    lengths = np.full(len(corpus), n_ctx)
    return (
        Windows(corpus.tokens[~is_held_out], lengths[~is_held_out], subject.bos),
        Windows(corpus.tokens[is_held_out], lengths[is_held_out], subject.bos),
    )


def _docstrings(split: str, subject: Subject, n_ctx: int) -> Windows:
    return Windows(*windows(split_texts(split), subject.tokenizer, n_ctx=n_ctx), bos=True)
