"""Reference predictors that a certificate is measured against: unigram and bigram (the uniform one needs no fitting)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

DISCOUNT = 0.75


@dataclass(frozen=True)
class References:
    """Unigram (add-one) and interpolated absolute-discounting bigram (d = 0.75, backing off to the unigram), fitted once.

    P(w | v) = max(c(v, w) - d, 0) / c(v) + d N(v) / c(v) P(w), N(v) the number of distinct followers of v
    (Ney, Essen & Kneser 1994); P(w | v) = P(w) when v was never seen.
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
        context, target = tokens[:, :-1], tokens[:, 1:]
        unigram = self.unigram[target]
        seen = np.asarray(self.discounted[context.ravel(), target.ravel()]).reshape(target.shape)
        return {"unigram": unigram, "bigram": seen + self.backoff[context] * unigram}

    def limits(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest probability each predictor can give to any token after any token."""
        low, high = float(self.unigram.min()), float(self.unigram.max())
        rows = np.repeat(np.arange(len(self.backoff)), np.diff(self.discounted.indptr))
        pairs = self.discounted.data + self.backoff[rows] * self.unigram[self.discounted.indices]
        top = max(float(pairs.max(initial=0.0)), float(self.backoff.max()) * high)
        return {"unigram": (low, high), "bigram": (float(self.backoff.min()) * low, min(1.0, top))}


def fit_references(
    tokens: Int[np.ndarray, "n_seq n_ctx"],
    d_vocab: int,
    lengths: Int[np.ndarray, "n_seq"] | None = None,
) -> References:
    """References fitted on `tokens`, of which the first `lengths` of each row count (all, by default).

    Counts transitions within a row only; the first token of a row (BOS) is context, never target.
    """
    lengths = np.full(len(tokens), tokens.shape[1]) if lengths is None else lengths
    valid = np.arange(1, tokens.shape[1]) < lengths[:, None]
    context, target = tokens[:, :-1][valid].astype(np.int64), tokens[:, 1:][valid].astype(np.int64)
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
