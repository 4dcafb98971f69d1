"""Everything that a sweep records of one batch, as pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from saecert.measurement.loop import Batch, Part, Values
from saecert.measurement.proxies import Proxy
from saecert.measurement.scoring import score
from saecert.measurement.site import Site, atom_norms, summed_by
from saecert.subjects.forward import clean_run, final_residual
from saecert.subjects.subject import Subject

CLEAN = Part("", "clean", "")
"""The model itself: measured once for a corpus, whatever the hook points."""
HELD_BYTES = 1 << 30
"""Final residuals held before they are scored together against one clean softmax."""


def measure_losses(
    subject: Subject, batch: Batch, parts: Sequence[Part], proxies: Mapping[Part, Proxy]
) -> dict[Part, Values]:
    """What is recorded of each of `parts` on one batch.

    Of a part in `proxies`: probability of each next token, total variation and top-1 disagreement
    with the model, and for a pool the shares outside it. Of another part with a hook point: what
    the latents do (`firings`). Of `CLEAN`: the probability of each next token.

    The model runs once, and what comes after a hook point once more for each proxy there; the
    model's predictions are made once for all of them.
    """
    hook_names = list(dict.fromkeys(part.hook_name for part in parts if part.hook_name))
    acts, clean = clean_run(subject.model, batch.tokens, hook_names)
    values: dict[Part, Values] = {}
    residuals: dict[Part, Tensor] = {}
    for hook_name in hook_names:
        site = site_at(subject, batch, hook_name, acts.pop(hook_name))
        here = [part for part in parts if part.hook_name == hook_name]
        values |= _without_forward(site, here, proxies)
        for part in here:
            if part in proxies:
                spliced = site.splice(proxies[part].replace(site))
                residuals[part] = final_residual(subject.model, batch.tokens, hook_name, spliced)
        del site
        if sum(residual.nbytes for residual in residuals.values()) > HELD_BYTES:
            _score_into(values, subject, batch, clean, residuals)
            residuals.clear()
    if residuals or CLEAN not in values:
        _score_into(values, subject, batch, clean, residuals)
    model_alone = {part: values[CLEAN] for part in parts if not part.hook_name}
    return {part: values[part] for part in parts if part.hook_name} | model_alone


def site_at(
    subject: Subject, batch: Batch, hook_name: str, acts: Float[Tensor, "batch pos d_in"]
) -> Site:
    """The batch at a hook point; ValueError for an SAE of another width than the activation."""
    sae = subject.sae_at(hook_name)
    width = acts.shape[-1]
    if width != sae.cfg.d_in:
        raise ValueError(
            f"the SAE at '{hook_name}' has d_in={sae.cfg.d_in} but the activation there has width "
            f"{width}: another model's SAE?"
        )
    return Site(acts, sae, batch.ids, batch.first)


def firings(site: Site) -> tuple[Float[Tensor, "batch d_sae"], Float[Tensor, "batch d_sae"]]:
    """Positions at which each latent is active in each sequence, and its energy there; BOS left
    out.

    Energy is the square of activation times decoder norm, summed over positions (float64).
    """
    n_seq, n_pos, d_sae = site.latents.shape
    position, latent, activation = site.active
    # those of BOS get the weight 0: leaving them out would make the host wait for their number
    spliced = (position % n_pos >= site.first).double()
    cells = position // n_pos * d_sae + latent
    written = activation.double() * atom_norms(site.sae).double()[latent]
    counts = summed_by(cells, spliced, n_seq * d_sae).view(n_seq, d_sae)
    energy = summed_by(cells, written.square() * spliced, n_seq * d_sae).view(n_seq, d_sae)
    return counts, energy


def latents_of(site: Site, counts: Float[Tensor, "batch d_sae"]) -> Values:
    """Which latents are active anywhere in each sequence (packed bits), and how many at each
    position."""
    l0 = site.n_active.to(torch.int32)
    l0[:, : site.first] = 0
    active = packed_bits(counts > 0)
    return {"active": active, "l0": l0}


def packed_bits(rows: Bool[Tensor, "n width"]) -> UInt8[Tensor, "n n_bytes"]:
    """Eight columns in a byte, the first in its highest bit, as `numpy.packbits` does it."""
    bits = torch.nn.functional.pad(rows.to(torch.uint8), (0, -rows.shape[1] % 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.uint8, device=rows.device)
    return (bits.unflatten(1, (-1, 8)) * weights).sum(dim=2, dtype=torch.uint8)


def shares_outside(
    kept: Float[Tensor, "d_sae"],
    counts: Float[Tensor, "batch d_sae"],
    energy: Float[Tensor, "batch d_sae"],
) -> Float[Tensor, "batch 2"]:
    """Shares of each sequence's firings and of its energy that are outside a pool; 0 without
    any.

    Summed sequence by sequence: a product of matrices would round by the size of the batch.
    """
    outside = 1 - kept.to(counts)
    tiny = torch.finfo(torch.float64).tiny
    shares = [
        (values * outside).sum(dim=1) / values.sum(dim=1).clamp_min(tiny)
        for values in (counts, energy)
    ]
    return torch.stack(shares, dim=1)


def _without_forward(
    site: Site, parts: Sequence[Part], proxies: Mapping[Part, Proxy]
) -> dict[Part, Values]:
    """What is known of each part without running the model once more."""
    pools = {part: proxies[part].kept for part in parts if part in proxies}
    if all(part in proxies and pools[part] is None for part in parts):
        return {part: {} for part in parts}
    counts, energy = firings(site)
    values: dict[Part, Values] = {}
    for part in parts:
        if part not in proxies:
            values[part] = latents_of(site, counts)
        elif pools[part] is None:
            values[part] = {}
        else:
            values[part] = {"outside": shares_outside(pools[part], counts, energy)}
    return values


def _score_into(
    values: dict[Part, Values],
    subject: Subject,
    batch: Batch,
    clean: Float[Tensor, "batch pos d_model"],
    residuals: Mapping[Part, Float[Tensor, "batch pos d_model"]],
) -> None:
    scores = score(subject.model, {"clean": clean, **residuals}, batch.tokens)
    for key, (probability, variation, disagreement) in scores.items():
        part = CLEAN if key == "clean" else key
        _check_finite(probability, part.name, batch.start)
        scored = {"probability": probability.astype(np.float32)}
        if part != CLEAN:
            scored["total_variation"] = variation.mean(axis=1)
            scored["top1_disagreement"] = disagreement.mean(axis=1)
        values[part] = {**values.get(part, {}), **scored}


def _check_finite(probability: Float[np.ndarray, "batch targets"], name: str, start: int) -> None:
    bad = ~np.isfinite(probability).all(axis=1)
    if bad.any():
        raise ValueError(
            f"the loss of '{name}' on sequence {start + int(np.argmax(bad))} is not finite: "
            "NaN or infinite weights or activations?"
        )
