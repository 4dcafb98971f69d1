"""Special tokens that a text spells: counted, since they act as what they are."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from saecert.corpora.corpus import Corpus

_NAMED = 4  # tokens that a note names


def with_special_noted(corpus: Corpus, tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """`corpus` with a note, which is warned of, too, if its text spells special tokens.

    A tokenizer reads ``<|endoftext|>`` in a text as the token of that name. The BOS that stands
    before a sequence is none of the text, and the token for what a tokenizer does not know is not
    spelled.
    """
    body = corpus.tokens[:, int(corpus.bos) :]
    ids = _special_ids(tokenizer)
    spelled = np.isin(body, list(ids))
    if not spelled.any():
        return corpus
    names = [repr(ids[number]) for number in np.unique(body[spelled]).tolist()]
    shown = ", ".join(names[:_NAMED]) + (" and others" if len(names) > _NAMED else "")
    note = (
        f"{int(spelled.sum()):,} tokens in {int(spelled.any(axis=1).sum()):,} of the "
        f"{len(corpus):,} {corpus.split} sequences of '{corpus.name}' are special tokens that the "
        f"text spells ({shown}) and act as such: take them out of the text unless that is meant"
    )
    warnings.warn(note, stacklevel=3)
    return replace(corpus, notes=(*corpus.notes, note))


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Special tokens by their id, but the one that only stands for what is not known."""
    ids = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    ids |= {
        number: token.content
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special
    }
    others = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if tokenizer.unk_token_id not in others:
        ids.pop(tokenizer.unk_token_id, None)
    return ids
