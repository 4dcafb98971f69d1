"""How dense and how impure codes become when latents are mixed in blocks: page 16's control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.controls import mix
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Total, Values, run
from saecert.measurement.survey import survey
from saecert.subjects import forward
from saecert.subjects.subject import Subject


def mixing(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    *,
    blocks: Sequence[int],
    batch_size: int | None = None,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """ "l0" and "purity" of the SAE's latents mixed in each of `blocks`, BOS left out.

    Latents are mixed as by `saecert.measurement.controls.mixed`, in the frequency ranking of
    `corpus`; a block of 1 is the SAE as it is. "l0" is the number of mixed latents that are not 0,
    averaged over tokens. The purity of a mixed latent is the share of the tokens of its block (at
    which any latent of the block is active) at which one and the same latent of the SAE is active,
    whichever is active most often; "purity" is its mean over blocks in which any latent fires.
    """
    order = survey(subject, corpus, hook_name, progress=progress).ranking()
    key = digest(tuple(blocks), order.tobytes().hex())
    measure = partial(_mixing, order=order, blocks=tuple(blocks))
    quantity = Quantity("mixing", key, measure, (hook_name,))
    totals = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)[hook_name]
    n_tokens = totals["n_tokens"]
    l0 = [float(totals[f"nonzero_{block}"] / n_tokens) for block in blocks]
    purity = [_purity(totals["latents"], totals[f"blocks_{block}"], block) for block in blocks]
    return {"l0": np.array(l0), "purity": np.array(purity)}


def _purity(latents: np.ndarray, fired: np.ndarray, block: int) -> float:
    """Mean share of the most frequent latent; `fired` counts tokens at which a block is active."""
    most = latents[: len(fired) * block].reshape(-1, block).max(axis=1)
    alive = fired > 0
    return float((most[alive] / fired[alive]).mean()) if alive.any() else float("nan")


def _mixing(
    subject: Subject,
    batch: Batch,
    hook_names: Sequence[str],
    order: np.ndarray,
    blocks: Sequence[int],
) -> Mapping[str, Values]:
    """Counts of one batch: tokens, active tokens of each latent and block, mixed latents not 0."""
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    totals = {}
    for hook_name in hook_names:
        latents = subject.sae_at(hook_name).encode(acts[hook_name])[:, batch.first :]
        codes = latents.flatten(0, 1)[:, torch.from_numpy(order.copy()).to(latents.device)]
        active = codes != 0
        counts = {"n_tokens": np.array(len(codes)), "latents": _sum(active)}
        for block in blocks:
            whole = codes.shape[1] // block * block
            any_active = active[:, :whole].unflatten(-1, (-1, block)).any(dim=-1)
            counts[f"blocks_{block}"] = _sum(any_active)
            mixed = mix(codes, block) if block > 1 else codes
            counts[f"nonzero_{block}"] = np.array(int((mixed != 0).sum()))
        totals[hook_name] = {name: Total(count) for name, count in counts.items()}
    return totals


def _sum(flags: Tensor) -> np.ndarray:
    return flags.sum(dim=0).cpu().numpy()
