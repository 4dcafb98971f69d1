"""Text of the installed packages as tokens, cached: docstrings, and source without them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from saecert.corpora import fresh
from saecert.corpora.corpus import Corpus
from saecert.corpora.docstrings import (
    RECIPE,
    docstring_documents,
    package_versions,
    python_functions,
    split_of,
)
from saecert.corpora.splits import NoSequences, by_hash, hash_documents, in_hash_order
from saecert.corpora.tokenize import tokenize, windows
from saecert.storage import cached_arrays

if TYPE_CHECKING:
    from saecert.subjects.subject import Subject

INSTALLED = {
    "docstrings": "tokens",
    "python-source": "functions",
    fresh.FRESH: "fresh",
    fresh.OLD: "old",
}
"""Sources that every machine with saecert has, and what their cache files are called."""


def installed_corpus(
    source: str, subject: Subject, split: str, n_ctx: int, bos: bool, allow_drift: bool
) -> Corpus:
    """The sequences of one split; ValueError for docstrings that the subject was not trained on."""

    def build() -> dict[str, np.ndarray]:
        documents, chosen = _documents(source, split)
        corpus = tokenize(
            chosen,
            subject.tokenizer,
            n_ctx=n_ctx,
            bos=bos,
            name=source,
            split=split,
            text_hash=hash_documents(documents),
        )
        return {
            "tokens": corpus.tokens,
            "keys": np.array(corpus.keys),
            "n_too_short": np.array(corpus.n_too_short),
            "hash": np.array(corpus.text_hash),
        }

    key = _cache_key(subject, split, n_ctx, bos)
    if source in (fresh.FRESH, fresh.OLD):
        key = f"{key} {fresh.rules()}"
    saved = cached_arrays(INSTALLED[source], key, build)
    corpus = Corpus(
        name=source,
        split=split,
        tokens=saved["tokens"],
        keys=tuple(saved["keys"].tolist()),
        bos=bos,
        n_too_short=int(saved["n_too_short"]),
        text_hash=str(saved["hash"]),
        groups=() if source == "python-source" else _packages(saved["keys"].tolist()),
    )
    return _check_drift(corpus, subject, allow_drift) if source == "docstrings" else corpus


def installed_discovery(
    source: str, subject: Subject, n_ctx: int, bos: bool, allow_drift: bool
) -> Int[np.ndarray, "n_seq n_ctx"]:
    """Tokens of the discovery split; none where no document of it is long enough."""
    try:
        return installed_corpus(source, subject, "discovery", n_ctx, bos, allow_drift).tokens
    except NoSequences:
        return np.zeros((0, n_ctx), dtype=np.int32)


def train_windows(
    subject: Subject,
) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """`windows` of every docstring in the train split, cached."""

    def build() -> dict[str, np.ndarray]:
        documents = docstring_documents()
        texts = [documents[key] for key in sorted(documents) if split_of(key) == "train"]
        tokens, lengths = windows(texts, subject.tokenizer, n_ctx=128)
        return {"tokens": tokens, "lengths": lengths}

    saved = cached_arrays("windows", _cache_key(subject, "train", 128, subject.bos), build)
    return saved["tokens"], saved["lengths"]


def _documents(source: str, split: str) -> tuple[dict[str, str], dict[str, str]]:
    """All documents of a source, and those of one split in their order."""
    if source == "python-source":
        return by_hash(list(python_functions().values()), split, source)
    if source in (fresh.FRESH, fresh.OLD):
        return fresh.documents_by_age(source, split)
    documents = docstring_documents()
    keys = in_hash_order(key for key in documents if split_of(key) == split)
    return documents, {key: documents[key] for key in keys}


def _check_drift(corpus: Corpus, subject: Subject, allow: bool) -> Corpus:
    expected = subject.card.get("corpus", {}).get("text_hash")
    if expected in (None, corpus.text_hash):
        return corpus
    message = (
        f"the docstrings on this machine are not those '{subject.name}' was trained on "
        f"(other package versions: {package_versions()})"
    )
    if not allow:
        raise ValueError(
            f"{message}: install the versions pinned in pyproject.toml or pass "
            "allow_corpus_drift=True, which is recorded"
        )
    return replace(corpus, notes=(*corpus.notes, message))


def _packages(keys: list[str]) -> tuple[str, ...]:
    """The package that each docstring is from."""
    return tuple(key.partition(":")[0] for key in keys)


def _cache_key(subject: Subject, split: str, n_ctx: int, bos: bool) -> str:
    tokenizer = subject.tokenizer.backend_tokenizer.to_str()
    return json.dumps([RECIPE, package_versions(), split, n_ctx, bos, tokenizer])
