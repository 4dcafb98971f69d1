"""Documents into splits and into an order, by hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import count

TEXT_SPLITS = {"discovery": 25, "certification": 75}
"""Percent of a user's own documents in each split."""
_RISK = 1e-3  # of a split with fewer than two, for the number of documents that a message asks for


class NoSequences(ValueError):
    """A split has no document, or none that is long enough."""


def check_split(split: str, splits: Mapping[str, int]) -> None:
    """Raise ValueError unless `split` is one of the splits."""
    if split not in splits:
        raise ValueError(f"unknown split '{split}'; there are {', '.join(splits)}")


def least_documents() -> int:
    """Documents of which, but for one list in 1,000, the smaller split gets at least two.

    Fewer do not make a certificate, whatever is asked for: every message about too little text asks
    for as many.

    Examples
    --------
    >>> least_documents()
    33
    """
    share = min(TEXT_SPLITS.values()) / 100
    none = 1 - share
    return next(n for n in count(2) if none**n + n * share * none ** (n - 1) <= _RISK)


def text_split(key: str) -> str:
    """Split of a user's document, by its SHA-256 `key`.

    Examples
    --------
    >>> text_split("00000000"), text_split("ffffffff")
    ('discovery', 'certification')
    """
    return "discovery" if int(key[:8], 16) % 100 < TEXT_SPLITS["discovery"] else "certification"


def by_hash(
    texts: list[str], split: str, name: str, groups: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """All different documents by their SHA-256, and those of one split in that order.

    Where the group of each document is given, a hash of the group decides on the split: no group
    has documents in two.

    Raises
    ------
    NoSequences
        The split got no document; the message says how many it takes.
    """
    documents = {_sha256(text): text for text in texts}
    deciding = {key: key for key in documents}
    if groups is not None:
        deciding = {key: _sha256(groups[text]) for key, text in documents.items()}
    chosen = {
        key: documents[key] for key in sorted(documents) if text_split(deciding[key]) == split
    }
    if not chosen and groups is not None:
        raise NoSequences(
            f"more groups needed: the {split} split of '{name}' got none of its "
            f"{len(set(groups.values()))} groups; a hash puts {TEXT_SPLITS[split]} % of them there"
        )
    if not chosen:
        share = TEXT_SPLITS[split]
        n_repeats = len(texts) - len(documents)
        repeats = f" ({n_repeats} repeats were dropped before)" if n_repeats else ""
        raise NoSequences(
            f"more documents needed: the {split} split of '{name}' got none of its "
            f"{len(documents)} documents{repeats}; a hash puts {share} % of the documents there, "
            f"so give {least_documents()} or more different ones"
        )
    return documents, chosen


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_documents(documents: Mapping[str, str]) -> str:
    """SHA-256 of all names and texts, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(documents):
        digest.update(f"{len(key)} {key} {len(documents[key])} {documents[key]}".encode())
    return digest.hexdigest()


def in_hash_order(keys: Iterable[str]) -> list[str]:
    """Names of documents in the order of a hash of them."""
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest()[8:])
