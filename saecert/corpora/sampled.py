"""Sequences drawn at random: uniform tokens, and samples of the model itself."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Int

from saecert.corpora.corpus import Corpus
from saecert.storage import cached_arrays

if TYPE_CHECKING:
    from saecert.subjects.subject import Subject

# model samples are always drawn so many at a time: another batch size would change the last digits
_BLOCK = 32


def sampled_corpus(
    source: str, subject: Subject, split: str, n_seq: int | None, n_ctx: int, bos: bool, seed: int
) -> Corpus:
    """`n_seq` sequences of a source without end; asking for more keeps the first.

    Raises
    ------
    ValueError
        No `n_seq`, or samples of the model without BOS.
    """
    if n_seq is None:
        raise ValueError(f"'{source}' has no end: say with n_seq= how many sequences to draw")
    if source == "model-samples" and not bos:
        raise ValueError(
            "a model has a distribution over sequences only after BOS: model samples need bos=True"
        )
    if source == "random-tokens":
        body = _random_tokens(subject, (n_seq, n_ctx - bos), [seed, *split.encode()])
    else:
        seeds = ([seed, block, *split.encode()] for block in range(-(-n_seq // _BLOCK)))
        body = np.concatenate([_model_samples(subject, n_ctx, key) for key in seeds])[:n_seq]
    first = np.full((n_seq, int(bos)), subject.tokenizer.bos_token_id or 0)
    tokens = np.concatenate([first, body], axis=1).astype(np.int32)
    return Corpus(
        name=source,
        split=split,
        tokens=tokens,
        keys=tuple(f"{source}:{split}:{seed}:{row}" for row in range(n_seq)),
        bos=bos,
        n_too_short=0,
        text_hash=hashlib.sha256(tokens.tobytes()).hexdigest(),
    )


def _random_tokens(
    subject: Subject, shape: tuple[int, int], seed: list[int]
) -> Int[np.ndarray, "n_seq body"]:
    """Tokens drawn uniformly from the vocabulary without its special tokens."""
    vocabulary = np.arange(len(subject.tokenizer))
    allowed = np.setdiff1d(vocabulary, subject.tokenizer.all_special_ids)
    return allowed[np.random.default_rng(seed).integers(len(allowed), size=shape)]


def _model_samples(subject: Subject, n_ctx: int, seed: list[int]) -> Int[np.ndarray, "block body"]:
    """`_BLOCK` sequences without their BOS, cached.

    Each token by inverting the distribution function of the next token.
    """

    @torch.no_grad()
    def build() -> dict[str, np.ndarray]:
        uniform = torch.from_numpy(np.random.default_rng(seed).random((n_ctx - 1, _BLOCK, 1)))
        tokens = [torch.full((_BLOCK, 1), subject.tokenizer.bos_token_id)]
        past = None
        for u in uniform:
            out = subject.model.original_model(
                input_ids=tokens[-1].to(subject.device), past_key_values=past, use_cache=True
            )
            past = out.past_key_values
            below = out.logits[:, -1].cpu().double().softmax(dim=1).cumsum(dim=1)
            tokens.append(torch.searchsorted(below, u * below[:, -1:], right=True))
        return {"tokens": torch.cat(tokens[1:], dim=1).numpy()}

    # the last digits of a probability depend on the kind of processor
    machine = torch.backends.cpu.get_cpu_capability()
    key = json.dumps([subject.fingerprint, str(subject.device), machine, n_ctx, seed])
    return cached_arrays("samples", key, build)["tokens"]
