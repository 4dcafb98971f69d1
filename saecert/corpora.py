"""Documents to sequences: one sequence per document, split by a hash of the document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt64
from transformers import PreTrainedTokenizerBase

from saecert.docstrings import RECIPE, SPLITS, docstring_documents, package_versions, split_of
from saecert.storage import cached_arrays

if TYPE_CHECKING:
    from saecert.subjects import Subject

TEXT_SPLITS = {"discovery": 25, "certification": 75}
"""Percent of a user's own documents in each split."""


@dataclass(frozen=True)
class Corpus:
    """Sequences of equal length, each the beginning of one document, in an order fixed by a hash."""

    name: str
    """Where the text is from."""
    split: str
    """"train", "discovery", "certification", ..."""
    tokens: Int[np.ndarray, "n_seq n_ctx"]
    """Token ids; the first column is BOS when `bos`."""
    keys: tuple[str, ...]
    """Name of the document behind each sequence."""
    bos: bool
    """Whether sequences start with BOS."""
    n_too_short: int
    """Documents dropped for having too few tokens: the population is "documents of at least n_ctx tokens"."""
    text_hash: str
    """SHA-256 of all documents of all splits, before any was dropped for its length."""
    notes: tuple[str, ...] = ()
    """What a reader of a certificate must know, e.g. corpus drift that was allowed."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_ctx(self) -> int:
        """Tokens per sequence, BOS included."""
        return self.tokens.shape[1]

    @property
    def ids(self) -> UInt64[np.ndarray, "n_seq"]:
        """64-bit hash of the tokens of each sequence: equal sequences have equal ids."""
        rows = np.ascontiguousarray(self.tokens, dtype=np.int64)
        return np.array([int.from_bytes(hashlib.sha256(row.tobytes()).digest()[:8], "big") for row in rows], dtype=np.uint64)

    @property
    def population(self) -> str:
        """The population that a certificate on this corpus speaks about, in words."""
        return f"documents of '{self.name}' of at least {self.n_ctx - self.bos} tokens, cut to that length"

    def take(self, n_seq: int) -> Corpus:
        """The first `n_seq` sequences; ValueError when there are fewer."""
        if not 2 <= n_seq <= len(self):
            raise ValueError(
                f"n_seq={n_seq} asked of the {self.split} split of '{self.name}', which has {len(self)} sequences (at least 2 are needed)"
            )
        return replace(self, tokens=self.tokens[:n_seq], keys=self.keys[:n_seq])


def load_corpus(
    source: str | Path | Sequence[str],
    subject: Subject,
    *,
    split: str = "certification",
    n_seq: int | None = None,
    n_ctx: int | None = None,
    column: str = "text",
    allow_corpus_drift: bool = False,
) -> Corpus:
    """One sequence per document: BOS (if the subject uses it) and the document's first tokens, `n_ctx` in all.

    Parameters
    ----------
    source
        ``"docstrings"`` (the shipped corpus), a UTF-8 ``.txt`` file (one document a line), a ``.jsonl`` file (one
        object a line, text under `column`), or a list of strings. Exact duplicates are dropped.
    subject
        Gives tokenizer, BOS rule and the longest context.
    split
        ``"docstrings"`` has train, validation, discovery, certification; other sources discovery (25 %) and
        certification (75 %), by a hash of each document.
    n_seq
        Keep the first `n_seq` sequences (the order is that of document hashes, so they are a random subset). Default: all.
    n_ctx
        Tokens per sequence including BOS. Default: the model's context, at most 128.
    allow_corpus_drift
        Accept docstrings that differ from those the shipped subject was trained on (other package versions); recorded.

    Raises
    ------
    ValueError
        Unknown split, empty text, not UTF-8, every document too short, too few sequences, or corpus drift.
    FileNotFoundError
        The file does not exist.
    """
    n_ctx = min(subject.n_ctx, 128) if n_ctx is None else n_ctx
    if not 2 <= n_ctx <= subject.n_ctx:
        raise ValueError(f"n_ctx must lie between 2 and the model's context of {subject.n_ctx} tokens, got {n_ctx}")
    if isinstance(source, str) and source == "docstrings":
        corpus = _docstrings(subject, split, n_ctx, allow_corpus_drift)
    else:
        name, texts = _read_texts(source, column)
        documents = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
        chosen = {key: documents[key] for key in sorted(documents) if text_split(key, split) == split}
        corpus = tokenize(
            chosen, subject.tokenizer, n_ctx=n_ctx, bos=subject.bos, name=name, split=split, text_hash=hash_documents(documents)
        )
    return corpus if n_seq is None else corpus.take(n_seq)


def tokenize(
    documents: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_ctx: int,
    bos: bool,
    name: str,
    split: str,
    text_hash: str,
    notes: tuple[str, ...] = (),
) -> Corpus:
    """The beginning of each document that is long enough, in the order of the mapping. ValueError when none is."""
    body = n_ctx - bos
    encoded = tokenizer(list(documents.values()), add_special_tokens=False, verbose=False)["input_ids"] if documents else []
    kept = [(key, ids[:body]) for key, ids in zip(documents, encoded, strict=True) if len(ids) >= body]
    if not kept:
        longest = max((len(ids) for ids in encoded), default=0)
        raise ValueError(
            f"no document in the {split} split of '{name}' has {body} tokens ({len(encoded)} documents, the longest has {longest}): "
            "lower n_ctx or give longer text"
        )
    tokens = np.array([ids for _, ids in kept], dtype=np.int32)
    if bos:
        tokens = np.concatenate([np.full((len(tokens), 1), tokenizer.bos_token_id, dtype=np.int32), tokens], axis=1)
    return Corpus(name, split, tokens, tuple(key for key, _ in kept), bos, len(encoded) - len(kept), text_hash, notes)


def windows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, n_ctx: int
) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """Every window of every text, BOS first and padded on the right, and the number of tokens in each (BOS included)."""
    body = n_ctx - 1
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    pieces = [ids[i : i + body] for ids in encoded for i in range(0, len(ids), body)]
    tokens = np.full(
        (len(pieces), n_ctx), tokenizer.bos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id, dtype=np.int32
    )
    tokens[:, 0] = tokenizer.bos_token_id
    for row, piece in zip(tokens, pieces, strict=True):
        row[1 : 1 + len(piece)] = piece
    return tokens, np.array([1 + len(piece) for piece in pieces])


def train_windows(subject: Subject) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """`windows` of every docstring in the train split, cached."""

    def build() -> dict[str, np.ndarray]:
        documents = docstring_documents()
        texts = [documents[key] for key in sorted(documents) if split_of(key) == "train"]
        return dict(zip(("tokens", "lengths"), windows(texts, subject.tokenizer, n_ctx=128), strict=True))

    saved = cached_arrays("windows", _cache_key(subject, "train", 128), build)
    return saved["tokens"], saved["lengths"]


def text_split(key: str, wanted: str) -> str:
    """Split of a user's document by its SHA-256 `key`; ValueError when `wanted` is not a split."""
    if wanted not in TEXT_SPLITS:
        raise ValueError(f"unknown split '{wanted}'; there are {', '.join(TEXT_SPLITS)}")
    return "discovery" if int(key[:8], 16) % 100 < TEXT_SPLITS["discovery"] else "certification"


def hash_documents(documents: Mapping[str, str]) -> str:
    """SHA-256 of all names and texts, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(documents):
        digest.update(f"{len(key)} {key} {len(documents[key])} {documents[key]}".encode())
    return digest.hexdigest()


def _docstrings(subject: Subject, split: str, n_ctx: int, allow_drift: bool) -> Corpus:
    if split not in SPLITS:
        raise ValueError(f"unknown split '{split}'; there are {', '.join(SPLITS)}")

    def build() -> dict[str, np.ndarray]:
        documents = docstring_documents()
        keys = sorted((key for key in documents if split_of(key) == split), key=lambda key: hashlib.sha256(key.encode()).digest()[8:])
        chosen = {key: documents[key] for key in keys}
        made = tokenize(
            chosen, subject.tokenizer, n_ctx=n_ctx, bos=subject.bos, name="docstrings", split=split, text_hash=hash_documents(documents)
        )
        return {
            "tokens": made.tokens,
            "keys": np.array(made.keys),
            "n_too_short": np.array(made.n_too_short),
            "hash": np.array(made.text_hash),
        }

    saved = cached_arrays("tokens", _cache_key(subject, split, n_ctx), build)
    corpus = Corpus(
        "docstrings", split, saved["tokens"], tuple(saved["keys"].tolist()), subject.bos, int(saved["n_too_short"]), str(saved["hash"])
    )
    return _check_drift(corpus, subject, allow_drift)


def _check_drift(corpus: Corpus, subject: Subject, allow: bool) -> Corpus:
    expected = subject.card.get("corpus", {}).get("text_hash")
    if expected in (None, corpus.text_hash):
        return corpus
    message = f"the docstrings on this machine are not those '{subject.name}' was trained on (other package versions: {package_versions()})"
    if not allow:
        raise ValueError(f"{message}: install the versions pinned in pyproject.toml or pass allow_corpus_drift=True, which is recorded")
    return replace(corpus, notes=(*corpus.notes, message))


def _cache_key(subject: Subject, split: str, n_ctx: int) -> str:
    return json.dumps([RECIPE, package_versions(), split, n_ctx, subject.bos, subject.tokenizer.backend_tokenizer.to_str()])


def _read_texts(source: str | Path | Sequence[str], column: str) -> tuple[str, list[str]]:
    if not isinstance(source, (str, Path)):
        name, texts = "texts given", list(source)
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"no text at '{path}': give \"docstrings\", a .txt or .jsonl file, or a list of strings")
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 (byte {error.start}): convert it first") from error
        name, texts = (
            path.name,
            [_json_text(line, number, path, column) for number, line in enumerate(lines, 1) if line.strip()]
            if path.suffix == ".jsonl"
            else lines,
        )
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(f"'{name}' holds no text")
    return name, texts


def _json_text(line: str, number: int, path: Path, column: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        raise ValueError(
            f"{path}, line {number}: no text under '{column}' (it has {', '.join(row) if isinstance(row, dict) else type(row).__name__})"
        )
    return row[column]
