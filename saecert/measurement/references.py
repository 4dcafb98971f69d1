"""Reference predictors that a certificate is measured against: unigram and bigram (the uniform one
needs no fitting)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from saecert.corpora.corpus import Corpus
from saecert.corpora.installed import train_windows
from saecert.measurement.scoring import sequence_bits, smoothed_bits
from saecert.records import SequenceLosses
from saecert.subjects.subject import Subject

DISCOUNT = 0.75
"""What is taken off every count of a bigram."""


@dataclass(frozen=True)
class References:
    """Unigram (add-one) and interpolated absolute-discounting bigram (d = 0.75, backing off to the
    unigram), fitted once.

    P(w | v) = max(c(v, w) - d, 0) / c(v) + d N(v) / c(v) P(w), N(v) the number of distinct
    followers of v (Ney, Essen & Kneser 1994); P(w | v) = P(w) when v was never seen.
    """

    unigram: Float[np.ndarray, "d_vocab"]
    """P(w)."""
    discounted: sparse.csr_matrix
    """max(c(v, w) - d, 0) / c(v) at the pairs seen, zero elsewhere."""
    backoff: Float[np.ndarray, "d_vocab"]
    """Weight of the unigram after each token, 1 where the token was never seen as context."""
    n_tokens: int
    """Tokens fitted on."""

    def probabilities(
        self, tokens: Int[np.ndarray, "n_seq n_ctx"]
    ) -> dict[str, Float[np.ndarray, "n_seq n_targets"]]:
        """Probability of every token but the first of each sequence, by predictor."""
        context = tokens[:, :-1]
        target = tokens[:, 1:]
        unigram = self.unigram[target]
        seen = np.asarray(self.discounted[context.ravel(), target.ravel()]).reshape(target.shape)
        return {"unigram": unigram, "bigram": seen + self.backoff[context] * unigram}

    def limits(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest probability each predictor can give to any token after any token."""
        low = float(self.unigram.min())
        high = float(self.unigram.max())
        rows = np.repeat(np.arange(len(self.backoff)), np.diff(self.discounted.indptr))
        pairs = self.discounted.data + self.backoff[rows] * self.unigram[self.discounted.indices]
        top = max(float(pairs.max(initial=0.0)), float(self.backoff.max()) * high)
        return {"unigram": (low, high), "bigram": (float(self.backoff.min()) * low, min(1.0, top))}


def fit_references(
    tokens: Int[np.ndarray, "n_seq n_ctx"],
    d_vocab: int,
    lengths: Int[np.ndarray, "n_seq"] | None = None,
) -> References:
    """References fitted on `tokens`, of which the first `lengths` of each row count (all, by
    default).

    Counts transitions within a row only; the first token of a row (BOS) is context, never target.
    """
    lengths = np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths
    valid = np.arange(1, tokens.shape[1]) < lengths[:, None]
    context = tokens[:, :-1][valid].astype(np.int64)
    target = tokens[:, 1:][valid].astype(np.int64)
    if not len(target):
        raise ValueError("no tokens to fit the reference predictors on")
    counts = sparse.csr_matrix((np.ones(len(target)), (context, target)), shape=(d_vocab, d_vocab))
    counts.sum_duplicates()
    unigram = (np.bincount(target, minlength=d_vocab) + 1.0) / (len(target) + d_vocab)
    per_context = np.asarray(counts.sum(axis=1)).ravel()
    distinct = np.diff(counts.indptr)
    backoff = np.where(per_context > 0, DISCOUNT * distinct / np.maximum(per_context, 1), 1.0)
    counts.data = np.maximum(counts.data - DISCOUNT, 0) / np.repeat(per_context, distinct)
    return References(unigram, counts, backoff, len(target))


def with_references(
    losses: Mapping[str, SequenceLosses], subject: Subject, corpus: Corpus, discovery: Corpus
) -> dict[str, SequenceLosses]:
    """The same records, by hook name, with the reference predictors' losses, which no hook point
    changes.

    A shipped subject's references are fitted on the text that it was trained on, others on
    discovery.
    """
    shipped = bool(subject.card) and corpus.name == "docstrings"
    tokens, lengths = train_windows(subject) if shipped else (discovery.tokens, None)
    fitted = fit_references(tokens, subject.d_vocab, lengths)
    alphas = next(iter(losses.values())).alphas
    tables = _losses(fitted, corpus, alphas, subject.d_vocab)
    split = "train" if shipped else "discovery"
    facts = {"references": f"fitted on {fitted.n_tokens} tokens of the {split} split"}
    return {
        hook_name: replace(
            record,
            loss=record.loss | tables["loss"],
            raw=record.raw | tables["raw"],
            reference_support=_support(fitted, alphas, subject.d_vocab),
            provenance=record.provenance | facts,
        )
        for hook_name, record in losses.items()
    }


def _losses(
    fitted: References, corpus: Corpus, alphas: tuple[float, ...], n_vocab: int
) -> dict[str, dict[str, np.ndarray]]:
    """Smoothed losses at all alphas, and raw losses, of each predictor."""
    loss = {}
    raw = {}
    for name, probability in fitted.probabilities(corpus.tokens).items():
        loss[name] = np.stack([sequence_bits(probability, alpha, n_vocab) for alpha in alphas])
        raw[name] = sequence_bits(probability, 0.0, n_vocab)
    return {"loss": loss, "raw": raw}


def _support(
    fitted: References, alphas: tuple[float, ...], n_vocab: int
) -> dict[str, tuple[tuple[float, float], ...]]:
    """Smallest and largest loss that each predictor can have, at each alpha."""
    support = {}
    for name, limits in fitted.limits().items():
        ends = np.array(limits)[::-1]  # the largest probability has the smallest loss
        bits = [smoothed_bits(ends, alpha, n_vocab) for alpha in alphas]
        support[name] = tuple((float(low), float(high)) for low, high in bits)
    return support
