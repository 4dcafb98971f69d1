"""Hashes of labels and keys: what groups are called by, and what orders documents."""

from __future__ import annotations

import hashlib


def label_hash(label: str) -> int:
    """64-bit hash of the label of a group or the key of a document.

    >>> label_hash("numpy") == label_hash("scipy")
    False
    """
    return int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big")


def second_hash(key: str) -> bytes:
    """A hash of a document's key, independent of the one that orders and splits the documents."""
    return hashlib.blake2b(key.encode(), key=b"order of survivors").digest()
