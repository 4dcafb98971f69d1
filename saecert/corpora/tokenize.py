"""Documents to token ids: the beginning of each, or windows over all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int
from transformers import PreTrainedTokenizerBase

from saecert.corpora.corpus import Corpus
from saecert.corpora.splits import NoSequences


def tokenize(
    documents: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    *,
    n_ctx: int,
    bos: bool,
    name: str,
    split: str,
    text_hash: str,
    n_documents: int = 0,
) -> Corpus:
    """The beginning of each document that is long enough, in the order of the mapping.

    Raises
    ------
    NoSequences
        No document is long enough.
    """
    tokens, lengths = beginnings(list(documents.values()), tokenizer, n_ctx=n_ctx, bos=bos)
    body = n_ctx - bos
    if not len(tokens):
        raise NoSequences(
            f"no document in the {split} split of '{name}' has {body} tokens ({len(lengths)} "
            f"documents, the longest has {max(lengths)}): lower n_ctx or give longer text"
        )
    return Corpus(
        name=name,
        split=split,
        tokens=tokens,
        keys=tuple(key for key, length in zip(documents, lengths, strict=True) if length >= body),
        bos=bos,
        n_too_short=len(lengths) - len(tokens),
        text_hash=text_hash,
        n_documents=n_documents,
    )


def beginnings(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, *, n_ctx: int, bos: bool
) -> tuple[Int[np.ndarray, "n_long n_ctx"], list[int]]:
    """The first `n_ctx` tokens of each text that has as many, and the tokens in every text.

    With `bos` that token comes first; the numbers in every text are without.
    """
    if not texts:
        return np.zeros((0, n_ctx), dtype=np.int32), []
    encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    body = n_ctx - bos
    long_enough = [ids[:body] for ids in encoded if len(ids) >= body]
    tokens = np.array(long_enough, dtype=np.int32).reshape(len(long_enough), body)
    if bos:
        first = np.full((len(tokens), 1), tokenizer.bos_token_id, dtype=np.int32)
        tokens = np.concatenate([first, tokens], axis=1)
    return tokens, [len(ids) for ids in encoded]


def windows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, n_ctx: int
) -> tuple[Int[np.ndarray, "n_windows n_ctx"], Int[np.ndarray, "n_windows"]]:
    """Every window of every text, and the number of tokens in each, BOS included.

    Windows start with BOS and are padded on the right.
    """
    body = n_ctx - 1
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    pieces = [ids[start : start + body] for ids in encoded for start in range(0, len(ids), body)]
    bos = tokenizer.bos_token_id
    padding = bos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    tokens = np.full((len(pieces), n_ctx), padding, dtype=np.int32)
    tokens[:, 0] = bos
    for row, piece in zip(tokens, pieces, strict=True):
        row[1 : 1 + len(piece)] = piece
    return tokens, np.array([1 + len(piece) for piece in pieces])
