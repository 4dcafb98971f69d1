"""Latents split into aliases by the token they fire at: which of them are active, a measurement.

Alias (j, s) of latent j is active where j is and the token is of class s, with j's activation, and
writes with j's atom. So the SAE reconstructs what it did, from a dictionary `copies` times as wide.
`saecert.dictionaries.aliased` says what becomes of certificates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.aliased import merged
from saecert.measurement.loop import Batch, Quantity, Total, Values, run
from saecert.subjects import forward
from saecert.subjects.subject import Subject

COPIES = 32
"""Aliases of a latent, if not said; fewer are read off by merging them."""
_MULTIPLIER = 0x9E3779B1
"""A prime near 2^32 over the golden ratio: its multiples are spread evenly (Knuth)."""


def token_class(tokens: Int[Tensor, "*shape"], copies: int) -> Int[Tensor, "*shape"]:
    """Class of each token, 0 to ``copies - 1``: a hash of its id, the same at all places.

    >>> token_class(torch.arange(6), 4).tolist()
    [0, 3, 2, 2, 1, 1]
    """
    return (((tokens * _MULTIPLIER) & 0xFFFFFFFF) >> 16) % copies


def aliases(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    copies: int = COPIES,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, UInt8[np.ndarray, "n_seq bytes"]]]:
    """ "active": which aliases are active anywhere in each sequence, BOS left out, by hook point.

    Packed by `numpy.packbits`; alias (j, s) is bit ``j * copies + s``. One run of the blocks up to
    the last hook point serves all of them (default: every one that has an SAE). Kept in the cache
    folder. ValueError for a hook point without an SAE or less than one copy.
    """
    measure = partial(_rows, copies=_checked(copies))
    quantity = Quantity("aliases", str(copies), measure, tuple(hook_names or subject.hook_names))
    return run(subject, corpus, quantity, batch_size=batch_size, progress=progress)


def alias_counts(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    copies: int = COPIES,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Int[np.ndarray, "..."]]]:
    """In how many sequences each alias is active, with 1, 2, 4, ... up to `copies` of a latent.

    "n_active_<r>" has a number for each alias (j, s), at ``j * r + s``; "n_seq" is the number of
    sequences. Otherwise as `aliases`. ValueError unless `copies` is a power of two.
    """
    measure = partial(_counts, copies=_checked(copies))
    if copies & (copies - 1):
        raise ValueError(f"copies must be a power of two to be merged by halves, got {copies}")
    names = tuple(hook_names or subject.hook_names)
    quantity = Quantity("alias_counts", str(copies), measure, names)
    return run(subject, corpus, quantity, batch_size=batch_size, progress=progress)


def _checked(copies: int) -> int:
    if copies < 1:
        raise ValueError(f"a latent has at least one alias, itself; got copies={copies}")
    return copies


def _active(
    subject: Subject, batch: Batch, hook_names: Sequence[str], copies: int
) -> dict[str, Bool[np.ndarray, "batch aliases"]]:
    """Aliases active in each sequence of one batch, by hook point."""
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    classes = token_class(batch.tokens[:, batch.first :], copies)
    of_class = torch.nn.functional.one_hot(classes, copies).float()
    found = {}
    for hook_name in hook_names:
        latents = subject.sae_at(hook_name).encode(acts[hook_name])[:, batch.first :]
        together = (latents != 0).float().transpose(1, 2) @ of_class
        found[hook_name] = (together > 0).flatten(1).cpu().numpy()
    return found


def _rows(
    subject: Subject, batch: Batch, hook_names: Sequence[str], copies: int
) -> dict[str, Values]:
    active = _active(subject, batch, hook_names, copies)
    return {name: {"active": np.packbits(bits, axis=1)} for name, bits in active.items()}


def _counts(
    subject: Subject, batch: Batch, hook_names: Sequence[str], copies: int
) -> dict[str, Values]:
    active = _active(subject, batch, hook_names, copies)
    sizes = [2**i for i in range(copies.bit_length())]
    n_seq = {"n_seq": Total(np.array(len(batch.ids)))}
    return {
        name: n_seq | {f"n_active_{r}": Total(merged(bits, copies, r).sum(axis=0)) for r in sizes}
        for name, bits in active.items()
    }
