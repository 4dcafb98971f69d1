"""Where the latents of the SAEs are active: a measurement, read by `saecert.dictionaries.growth`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt

from saecert.corpora.corpus import Corpus
from saecert.measurement.identity import code_of, identity
from saecert.storage import cached_arrays
from saecert.subjects import forward
from saecert.subjects.loading import Subject


def activity(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, UInt[np.ndarray, "n_seq _"]]:
    """Positions at which each latent is active in each sequence, BOS left out, by hook point.

    One run of the LM per batch serves all hook points (default: every one that has an SAE). Kept in the cache folder.
    """
    saes = {name: subject.sae_at(name) for name in hook_names or subject.hook_names}

    @torch.no_grad()
    def build() -> dict[str, np.ndarray]:
        counts = {
            name: np.zeros((len(corpus), sae.cfg.d_sae), np.min_scalar_type(corpus.n_ctx))
            for name, sae in saes.items()
        }
        for rows, tokens in corpus.batches(
            batch_size, subject.device, f"activity {corpus.split}", progress
        ):
            for name, acts in forward.native_acts_at(subject.model, tokens, list(saes)).items():
                counts[name][rows] = (
                    (saes[name].encode(acts)[:, int(corpus.bos) :] != 0).sum(dim=1).cpu().numpy()
                )
        return counts

    return cached_arrays(
        "activity", identity(subject, corpus, list(saes), code_of(forward, activity)), build
    )
