"""Horizon KL: what an error at one hook point does to the prediction, block by block.

The SAE's reconstruction is spliced in, and the residual stream some blocks later is read through
the final norm and the unembedding, with and without the splice. At horizon 0 that is how far the
prediction *there* moves ("local fidelity"), at the output what the model makes of it
("amplification"). Two errors exactly as large stand beside the SAE's: an isotropic one, and that of
the same code with its activations moved to other latents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.quantities import (
    CEILING,
    DIVERGENCES,
    OUTPUT,
    PERTURBATIONS,
    divergence_name,
)
from saecert.measurement import proxies
from saecert.measurement.batch import site_at
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.measurement.site import Site
from saecert.subjects import forward
from saecert.subjects.subject import Subject

CHUNK_BYTES = 1 << 20
"""Size of one (rows, V) float32 tensor, of which there are six: together they fit into a cache."""
GPU_CHUNK_BYTES = 128 << 20
"""The same on a GPU."""
MIN_ROWS = 64
"""Fewer rows than these make slow products."""

Residual = Float[Tensor, "batch pos d_model"]
Horizon = int | str


def horizon(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str] | None = None,
    *,
    horizons: Sequence[int] | None = None,
    alpha: float = 0.5,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Float[np.ndarray, "n_seq"]]]:
    """KL of predictions from the clean ones, in bits: ``{hook_name: {name: values}}``.

    Names are those of `saecert.dictionaries.quantities.divergence_name`: "KL of <perturbation> at
    <horizon>" and the same with "smoothed KL", of predictors that give the uniform distribution the
    weight `alpha`. Each is ``KL(clean || perturbed)``, averaged over the positions that are spliced
    and whose next token is in the sequence; rounding below 0 counts as 0. Plain KL has no upper
    end; smoothed KL is at most `largest_smoothed_kl`, which stands beside them in each row.

    A clean run serves all hook points, and each perturbation takes one run more. Logits are made
    a chunk of positions at a time. Kept in the cache folder.

    Parameters
    ----------
    subject, corpus
        The model with its SAEs, and the sequences.
    hook_names
        Hook points; by default every one that has an SAE.
    horizons
        Blocks after the hook point at which the residual stream is read, besides the output. By
        default 0, and 1, 2, 4, ... as long as another block follows. Horizon 0 is the stream at the
        hook point if that is ``hook_resid_pre`` or ``hook_resid_post``, else behind its block.
    alpha
        Smoothing weight in (0, 1).
    seed
        Of the noise and the shuffling, which are keyed by sequence.
    batch_size, progress
        As for `saecert.measurement.loop.run`.

    Raises
    ------
    ValueError
        A horizon that is negative or beyond the last block, a hook point without an SAE, `alpha`
        outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    names = tuple(hook_names or subject.hook_names)
    n_blocks = subject.model.cfg.n_layers
    read = {name: chosen_horizons(name, n_blocks, horizons) for name in names}
    key = digest(str(horizons and list(horizons)), alpha, seed)
    measure = partial(_divergences, read=read, alpha=alpha, seed=seed)
    quantity = Quantity("horizon", key, measure, names)
    values = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    ceiling = np.full(len(corpus), largest_smoothed_kl(alpha, _n_vocab(subject.model)))
    return {name: {**values[name], CEILING: ceiling} for name in names}


def chosen_horizons(hook_name: str, n_blocks: int, horizons: Sequence[int] | None) -> list[int]:
    """Horizons at one hook point of a model of `n_blocks` blocks; ValueError for one beyond them.

    >>> chosen_horizons("blocks.1.hook_resid_post", 12, None)
    [0, 1, 2, 4, 8]
    """
    furthest = n_blocks - _blocks_before(hook_name)
    if horizons is None:
        return [0, *(2**i for i in range(n_blocks.bit_length()) if 2**i < furthest)]
    outside = [h for h in horizons if not 0 <= h <= furthest]
    if outside:
        raise ValueError(
            f"horizon {outside[0]}: after '{hook_name}' come {furthest} of {n_blocks} blocks, "
            f"so horizons go from 0 to {furthest}"
        )
    return sorted(set(horizons))


def largest_smoothed_kl(alpha: float, n_vocab: int) -> float:
    """Upper end of the KL of two smoothed predictions in bits.

    ``(1 - alpha) log2(1 + (1 - alpha) V / alpha)``: KL is convex in the pair, and smoothing is
    affine, so the largest value is that of two certainties of different words (our derivation; as
    `saecert.certificates.divergence.divergence_range`).

    >>> round(largest_smoothed_kl(0.5, 4096), 3)
    6.0
    """
    return (1 - alpha) * math.log2(1 + (1 - alpha) * n_vocab / alpha)


def divergences(
    model: TransformerBridge,
    clean: Float[Tensor, "rows d_model"],
    perturbed: Sequence[Float[Tensor, "rows d_model"]],
    alpha: float,
) -> Float[Tensor, "perturbed 2 rows"]:
    """KL and smoothed KL of each prediction from the clean one, in bits, a chunk at a time.

    `clean` and `perturbed` are what the unembedding reads.
    """
    out = torch.empty(len(perturbed), 2, len(clean), device=clean.device)
    n_rows = _n_rows(model, clean)
    for start in range(0, len(clean), n_rows):
        part = slice(start, start + n_rows)
        expected = _Prediction.of(model, clean[part], alpha)
        for scores, residual in zip(out[:, :, part], perturbed, strict=True):
            predicted = _Prediction.of(model, residual[part], alpha)
            scores[0] = _bits(expected.plain, expected.log_plain - predicted.log_plain)
            scores[1] = _bits(expected.smooth, expected.log_smooth - predicted.log_smooth)
    return out.clamp_min_(0)


class _Prediction(NamedTuple):
    """Next-token distributions of some positions, in nats, as they are and smoothed."""

    plain: Float[Tensor, "rows d_vocab"]
    log_plain: Float[Tensor, "rows d_vocab"]
    smooth: Float[Tensor, "rows d_vocab"]
    log_smooth: Float[Tensor, "rows d_vocab"]

    @classmethod
    def of(
        cls, model: TransformerBridge, residual: Float[Tensor, "rows d_model"], alpha: float
    ) -> _Prediction:
        log_plain = forward.logits_of(model, residual).float().log_softmax(dim=1)
        plain = log_plain.exp()
        smooth = (plain * (1 - alpha)).add_(alpha / plain.shape[1])
        return cls(plain, log_plain, smooth, smooth.log())


def _bits(
    weights: Float[Tensor, "rows d_vocab"], nats: Float[Tensor, "rows d_vocab"]
) -> Float[Tensor, "rows"]:
    """Means of `nats`, one a row, in bits."""
    return torch.linalg.vecdot(weights, nats) / math.log(2)


def _divergences(
    subject: Subject,
    batch: Batch,
    hook_names: Sequence[str],
    read: Mapping[str, Sequence[int]],
    alpha: float,
    seed: int,
) -> dict[str, Values]:
    """Divergences of one batch, averaged over positions."""
    model = subject.model
    places = {name: [_place(name, h) for h in read[name]] for name in hook_names}
    wanted = dict.fromkeys([*hook_names, *(place for some in places.values() for place in some)])
    acts, last = forward.clean_run(model, batch.tokens, list(wanted))
    values = {}
    for hook_name in hook_names:
        site = site_at(subject, batch, hook_name, acts[hook_name])
        ends = [
            _spliced(model, batch, hook_name, site.splice(replaced), places[hook_name])
            for replaced in _perturbed(site, seed)
        ]
        streams = [*zip(*(end.residuals for end in ends), strict=True)]
        found: dict[str, Tensor] = {}
        for h, place, stream in zip(read[hook_name], places[hook_name], streams, strict=True):
            pair = [forward.lens(model, residual) for residual in (acts[place], *stream)]
            found |= dict(_named(model, batch, pair, h, alpha))
        found |= dict(_named(model, batch, [last, *(end.last for end in ends)], OUTPUT, alpha))
        values[hook_name] = found
    return values


class _Ends(NamedTuple):
    """What one spliced run leaves behind."""

    residuals: list[Residual]
    """The residual stream at each horizon."""
    last: Residual
    """What the unembedding reads."""


def _spliced(
    model: TransformerBridge,
    batch: Batch,
    hook_name: str,
    acts: Float[Tensor, "batch pos d_in"],
    places: Sequence[str],
) -> _Ends:
    """One run with `acts` at the hook point."""
    later = [place for place in places if place != hook_name]
    seen, last = forward.spliced_run(model, batch.tokens, hook_name, acts, later)
    seen[hook_name] = acts
    return _Ends([seen[place] for place in places], last)


def _perturbed(site: Site, seed: int) -> Iterator[Float[Tensor, "batch pos d_in"]]:
    """What stands for the activation, in the order of `PERTURBATIONS`: errors of one length."""
    length = (site.recons - site.acts).norm(dim=-1, keepdim=True)
    shuffled = proxies.shuffled_latents(seed).replace(site) - site.acts
    yield site.recons
    yield proxies.noise(seed).replace(site)
    yield site.acts + length * torch.nn.functional.normalize(shuffled, dim=-1)


def _named(
    model: TransformerBridge,
    batch: Batch,
    residuals: Sequence[Residual],
    horizon: Horizon,
    alpha: float,
) -> Iterator[tuple[str, Float[Tensor, "batch"]]]:
    """Names and values of one horizon; the clean residual stream comes first."""
    clean, *perturbed = (part[:, batch.first : -1].flatten(0, 1) for part in residuals)
    by_row = divergences(model, clean, perturbed, alpha).double()
    means = by_row.unflatten(-1, (len(batch.tokens), -1)).mean(dim=-1)
    for perturbation, pair in zip(PERTURBATIONS, means, strict=True):
        for divergence, values in zip(DIVERGENCES, pair, strict=True):
            yield divergence_name(divergence, perturbation, horizon), values


def _blocks_before(hook_name: str) -> int:
    """Blocks that have written to the residual stream where horizon 0 reads it."""
    before = forward.hook_layer(hook_name)
    return before if hook_name.endswith(".hook_resid_pre") else before + 1


def _place(hook_name: str, horizon: int) -> str:
    """Where the residual stream is read: the hook point itself, if that is the stream there."""
    if not horizon and hook_name.endswith((".hook_resid_pre", ".hook_resid_post")):
        return hook_name
    return f"blocks.{_blocks_before(hook_name) + horizon - 1}.hook_resid_post"


def _n_rows(model: TransformerBridge, residual: Float[Tensor, "rows d_model"]) -> int:
    size = GPU_CHUNK_BYTES if residual.is_cuda else CHUNK_BYTES
    return max(MIN_ROWS, size // (4 * _n_vocab(model)))


def _n_vocab(model: TransformerBridge) -> int:
    return len(model.original_model.get_output_embeddings().weight)
