"""Where latents are active: a measurement, which `saecert.dictionaries.growth` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt

from saecert.corpora.corpus import Corpus
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.subjects import forward
from saecert.subjects.subject import Subject


def activity(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, UInt[np.ndarray, "n_seq _"]]:
    """Positions at which each latent is active in each sequence, BOS left out, by hook point.

    One run of the blocks up to the last hook point serves all of them (default: every one that has
    an SAE). Kept in the cache folder. ValueError for a hook point without an SAE.
    """
    quantity = Quantity("activity", "", _counts, tuple(hook_names or subject.hook_names))
    counts = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {hook_name: counts[hook_name]["positions"] for hook_name in quantity.hook_names}


def _counts(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
    """Active positions of every latent in every sequence of one batch."""
    dtype = np.min_scalar_type(batch.tokens.shape[1])
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    positions = {}
    for hook_name in hook_names:
        active = subject.sae_at(hook_name).encode(acts[hook_name])[:, batch.first :] != 0
        positions[hook_name] = {"positions": active.sum(dim=1).cpu().numpy().astype(dtype)}
    return positions
