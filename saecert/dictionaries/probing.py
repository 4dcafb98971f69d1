"""Sparse probing: what the best few latents of an SAE say of a label, on text not seen before.

Latents are picked and the probe is fitted on one split and scored on another. Tokens of a sequence
depend on each other, so what is returned has one score for each independent unit: a few sequences
with the label and without, or a sequence whose tokens have both values. The mean score over units
is a balanced accuracy: 1/2 is what a constant answer gets, whatever the labels.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Shaped
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

Codes = sparse.csr_array | Float[np.ndarray, "n_items d_sae"]
"""One row an item, a sequence or a token; one column a latent."""
Labels = Bool[np.ndarray, "n_items"]


class Probe(NamedTuple):
    """A probe that was fitted on a few latents."""

    latents: Int[np.ndarray, "k"]
    """Which latents it reads."""
    model: Pipeline
    """Scaling and logistic regression."""

    def answers(self, codes: Codes) -> Labels:
        """What it says of each item."""
        return self.model.predict(_columns(codes, self.latents)).astype(bool)


def sequence_means(
    codes: sparse.csr_array, n_seq: int, first: int
) -> Float[np.ndarray, "n_seq d_sae"]:
    """Mean activation of each latent over the positions of each sequence, BOS left out.

    Rows of `codes` are positions, those of a sequence one after the other; of each sequence the
    first `first` do not count.
    """
    n_pos = codes.shape[0] // n_seq
    weights = np.ones((n_seq, n_pos)) / (n_pos - first)
    weights[:, :first] = 0
    rows = np.repeat(np.arange(n_seq), n_pos)
    average = sparse.csr_array((weights.ravel(), (rows, np.arange(n_seq * n_pos))))
    return np.asarray((average @ codes).todense())


def separation(codes: Codes, labels: Labels) -> Float[np.ndarray, "d_sae"]:
    """How far the mean of each latent differs with the label, in standard deviations within it.

    Absolute differences, over the root of the mean of both variances; 0 for a latent that never
    changes, infinite for one that changes with the label only. ValueError for labels of one class.
    """
    check_two_classes(labels)
    moments = [_moments(codes[labels == value]) for value in (False, True)]
    difference = np.abs(moments[1][0] - moments[0][0])
    spread = np.sqrt((moments[0][1] + moments[1][1]) / 2)
    only_by_label = np.where(difference > 0, np.inf, 0.0)
    return np.divide(difference, spread, out=only_by_label, where=spread > 0)


def best_latents(codes: Codes, labels: Labels, k: int) -> Int[np.ndarray, "k"]:
    """The `k` latents with the largest `separation`, ties by number.

    ValueError for labels of one class, or fewer latents than asked for.
    """
    _check_number(k, codes.shape[1])
    return np.argsort(-separation(codes, labels), kind="stable")[:k]


def random_latents(codes: Codes, k: int, seed: int) -> Int[np.ndarray, "k"]:
    """`k` random latents among those that are active anywhere in `codes`; of all, if too few are.

    ValueError for fewer latents than asked for.
    """
    _check_number(k, codes.shape[1])
    active = np.flatnonzero(np.asarray(abs(codes).sum(axis=0)).ravel() > 0)
    among = active if len(active) >= k else np.arange(codes.shape[1])
    return np.sort(np.random.default_rng([seed, k]).permutation(among)[:k])


def fitted(codes: Codes, labels: Labels, latents: Int[np.ndarray, "k"]) -> Probe:
    """A logistic regression on some latents, classes weighted equally; scikit-learn's defaults.

    ValueError for labels of one class.
    """
    check_two_classes(labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(_columns(codes, latents), labels)
    return Probe(latents, model)


def balanced_scores(
    right: Bool[np.ndarray, "n_seq"], labels: Bool[np.ndarray, "n_seq"]
) -> Float[np.ndarray, "n_units"]:
    """Balanced accuracy in disjoint sets of sequences, one of the rarer class in each.

    Each takes as many of the other class as there are for all, in the order given, and counts both
    classes alike; what is left over does not count. For sequences drawn i.i.d. the sets are i.i.d.
    given the labels, and the expected score is the balanced accuracy. ValueError for labels of one
    class.

    >>> right = np.array([True, False, True, True, True])
    >>> balanced_scores(right, np.array([True, False, False, True, False]))
    array([0.5, 1. ])
    """
    check_two_classes(labels)
    rare, other = right[labels], right[~labels]
    if len(rare) > len(other):
        rare, other = other, rare
    each = len(other) // len(rare)
    sets = other[: each * len(rare)].reshape(len(rare), each)
    return (rare + sets.mean(axis=1)) / 2


def within_scores(
    right: Bool[np.ndarray, "n_seq n_pos"], labels: Int8[np.ndarray, "n_seq n_pos"]
) -> Float[np.ndarray, "n_units"]:
    """Balanced accuracy over the tokens of each sequence that has both values of the label.

    A label below 0 is none. Sequences with one value do not count: a topic that they share with
    their label would do. ValueError where no sequence has both.

    >>> right = np.array([[True, True, False], [True, True, True]])
    >>> within_scores(right, np.array([[1, 0, 0], [1, 1, -1]], dtype=np.int8))
    array([0.75])
    """
    both = ((labels == 1).any(axis=1)) & ((labels == 0).any(axis=1))
    if not both.any():
        raise ValueError(
            "no sequence has tokens with and tokens without the label: there is nothing to tell "
            "apart, take more or other text"
        )
    right, labels = right[both], labels[both]
    shares = [
        (right & (labels == value)).sum(axis=1) / (labels == value).sum(axis=1) for value in (0, 1)
    ]
    return (shares[0] + shares[1]) / 2


def check_two_classes(labels: Shaped[np.ndarray, "n_items"]) -> None:
    """Raise ValueError unless both values occur."""
    if len(np.unique(labels)) < 2:
        only = f"all {len(labels)} are {bool(labels[0])}" if len(labels) else "there are none"
        raise ValueError(f"labels of one class cannot be probed ({only}): take more or other text")


def _moments(codes: Codes) -> tuple[Float[np.ndarray, "d_sae"], Float[np.ndarray, "d_sae"]]:
    """Mean and variance of each column; a variance that rounding may have made counts as 0."""
    codes = codes.astype(np.float64)
    square = codes.power(2) if sparse.issparse(codes) else np.square(codes)
    mean = np.asarray(codes.mean(axis=0)).ravel()
    raw = np.asarray(square.mean(axis=0)).ravel()
    variance = raw - mean**2
    return mean, np.where(variance > 1e-12 * raw, variance, 0.0)


def _columns(codes: Codes, latents: Int[np.ndarray, "k"]) -> Float[np.ndarray, "n_items k"]:
    part = codes[:, latents]
    return np.asarray(part.todense() if sparse.issparse(part) else part, dtype=np.float64)


def _check_number(k: int, d_sae: int) -> None:
    if not 1 <= k <= d_sae:
        raise ValueError(f"{k} latents asked of a dictionary of {d_sae}: ask for 1 to {d_sae}")
