"""Docstrings that no text of before November 2024 resembles, and those that it does.

A language model published then has very likely not been trained on the former, so that a sample of
them is independent of it; the latter were on every package index and surely in its training data.
"No text" is that of those releases, by a threshold: some old text that was moved or generated
passes. What old text looked like is kept as a Bloom filter of its five-word shingles, made by
`saecert.corpora.old_releases` from the last releases before that month: no text is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from saecert.corpora.docstrings import docstring_documents, split_of
from saecert.corpora.duplicates import SHINGLE, WORDS, words_of
from saecert.corpora.splits import NoSequences, in_hash_order

FRESH = "docstrings-fresh"
"""Source: documents of which less than `FRESH_BELOW` is old."""
OLD = "docstrings-old"
"""Source: documents of which at least `OLD_FROM` is old."""
FRESH_BELOW = 0.25
"""Share of old shingles below which a document is fresh; fixed before any loss on one was seen."""
OLD_FROM = 0.8
"""Share of old shingles from which on a document is old; fixed likewise."""
UNJUDGED = "torch"
"""Package whose old release is too large to be compared: its documents are neither."""
FOLDER = Path(__file__).parents[1] / "embedded/old-docstrings"
"""Where the filter of old shingles is."""

_HELD_OUT = ("discovery", "certification")


@dataclass(frozen=True)
class ShingleFilter:
    """A Bloom filter: says "new" only of shingles that were never added.

    Of those that were not it says "old" by mistake with a small probability (`mistaken`), so that a
    text may look older than it is, and never newer.
    """

    bits: UInt8[np.ndarray, "n_bytes"]
    """The bits of the filter, eight a byte."""
    n_hashes: int
    """Bits a shingle."""

    @classmethod
    def empty(cls, n_bits: int, n_hashes: int) -> ShingleFilter:
        """A filter that holds nothing; `n_bits` is a multiple of 8."""
        return cls(np.zeros(n_bits // 8, np.uint8), n_hashes)

    @property
    def mistaken(self) -> float:
        """Probability with which a shingle that was never added looks old."""
        share_set = float(np.unpackbits(self.bits).mean())
        return share_set**self.n_hashes

    def add(self, shingles: Iterable[str]) -> None:
        """Make `shingles` old."""
        places = self._places(shingles).ravel()
        np.bitwise_or.at(self.bits, places >> 3, self._masks(places))

    def holds(self, shingles: Iterable[str]) -> np.ndarray:
        """Which of `shingles` look old, in their order.

        >>> seen = ShingleFilter.empty(1024, 7)
        >>> seen.add(["one two three four five"])
        >>> seen.holds(["one two three four five", "two three four five six"]).tolist()
        [True, False]
        """
        places = self._places(shingles)
        return ((self.bits[places >> 3] & self._masks(places)) != 0).all(axis=1)

    def _places(self, shingles: Iterable[str]) -> Int[np.ndarray, "n_shingles n_hashes"]:
        """Which bits a shingle sets: two halves of one hash, combined as many times as needed."""
        digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in shingles]
        halves = np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)
        # an odd step, so that the bits of one shingle differ; sums wrap around on purpose
        steps = halves[:, 1:] | np.uint64(1)
        sums = halves[:, :1] + np.arange(self.n_hashes, dtype=np.uint64) * steps
        return (sums % np.uint64(8 * len(self.bits))).astype(np.int64)

    @staticmethod
    def _masks(places: Int[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
        return np.left_shift(1, places & 7).astype(np.uint8)


def shingles_of(text: str, n_words: int | None = None) -> list[str]:
    """Distinct five-word shingles of the first `n_words` words of a text, sorted. Default: all.

    A text of fewer words is one shingle.

    >>> shingles_of("a b c d e f")
    ['a b c d e', 'b c d e f']
    """
    words = words_of(text)[:n_words]
    starts = range(max(1, len(words) - SHINGLE + 1))
    return sorted({" ".join(words[start : start + SHINGLE]) for start in starts})


def old_share(texts: Sequence[str]) -> Float[np.ndarray, "n_texts"]:
    """Share of the distinct shingles among the first 128 words of each text that look old.

    128 words are at least as much text as the 127 tokens that a measurement reads. Nothing of the
    filter's mistakes is taken off.
    """
    known = old_shingles()
    shingles = [shingles_of(text, WORDS) for text in texts]
    counts = np.array([len(some) for some in shingles], dtype=np.int64)
    if not len(counts):
        return np.zeros(0)
    is_old = known.holds(shingle for some in shingles for shingle in some)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.add.reduceat(is_old.astype(np.float64), starts) / counts


def documents_by_age(source: str, split: str) -> tuple[dict[str, str], dict[str, str]]:
    """All documents of "docstrings-fresh" or "docstrings-old", and those of a split in its order.

    Certification: fresh documents of the discovery and certification splits of the docstring
    corpus, or old ones of its certification split; none was seen in training, not by an SAE either.
    Discovery, the same for both: what is not fresh in the discovery split.

    Raises
    ------
    ValueError
        The train split, which has neither.
    NoSequences
        None of the installed packages' documents is of this age.
    """
    if split not in _HELD_OUT:
        raise ValueError(
            f"'{source}' has no {split} split: its documents are held out of training; "
            f"there are {', '.join(_HELD_OUT)}"
        )
    documents = docstring_documents()
    ages = document_ages()
    old = {
        key for key, share in ages.items() if share >= OLD_FROM and split_of(key) == "certification"
    }
    fresh = {
        key for key, share in ages.items() if share < FRESH_BELOW and split_of(key) in _HELD_OUT
    }
    certified = fresh if source == FRESH else old
    pool_text = {key for key in ages.keys() - fresh if split_of(key) == "discovery"}
    chosen = in_hash_order(pool_text if split == "discovery" else certified)
    if not chosen:
        age = "younger" if source == FRESH else "older"
        raise NoSequences(
            f"'{source}' has no {split} document: none of the installed packages' is certainly "
            f"{age} than November 2024; are they the versions in constraints.txt?"
        )
    every = {key: documents[key] for key in pool_text | certified}
    return every, {key: documents[key] for key in chosen}


@cache
def document_ages() -> dict[str, float]:
    """Share of old shingles of every docstring that can be judged, by its name."""
    documents = docstring_documents()
    keys = [key for key in sorted(documents) if not key.startswith(f"{UNJUDGED}:")]
    shares = old_share([documents[key] for key in keys])
    return dict(zip(keys, shares.tolist(), strict=True))


@cache
def old_shingles() -> ShingleFilter:
    """The filter that ships, whole.

    Raises
    ------
    ValueError
        The file is missing or not the one that its facts describe.
    """
    facts = old_facts()
    path = FOLDER / "shingles.npy"
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
        raise ValueError(
            f"{path} is missing or damaged, so fresh docstrings cannot be told: "
            "restore it from the repository"
        )
    return ShingleFilter(np.load(path, allow_pickle=False), facts["n_hashes"])


def rules() -> list[Any]:
    """What decides on the age of a document: hash of the filter, and both thresholds."""
    return [old_facts()["sha256"], FRESH_BELOW, OLD_FROM]


@cache
def old_facts() -> Mapping[str, Any]:
    """What the filter was made from: releases, documents, shingles, hash of the file."""
    return json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
