"""From final residuals to losses, total variation and top-1 agreement, a chunk of positions at a time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.forward import logits_of

CHUNK_BYTES, GPU_CHUNK_BYTES, MIN_ROWS = 8 << 20, 256 << 20, 64
"""Size of one (rows, V) float32 tensor, on a CPU small enough for its cache; a few are alive, under 256 MB at V = 256,000 too."""


@torch.no_grad()
def score(
    model: TransformerBridge, residuals: Mapping[Hashable, Float[Tensor, "batch pos d_model"]], tokens: Int[Tensor, "batch pos"]
) -> dict[Hashable, Float[np.ndarray, "3 batch targets"]]:
    """Per position: probability of the next token, total variation to "clean", top-1 disagreement with "clean" (0 or 1).

    `residuals` maps predictor to what the unembedding reads; "clean" is required and computed once per chunk. All
    sequences predict tokens 1, 2, ... from the positions before. Logits are never held for more than a chunk of rows.
    """
    targets = tokens[:, 1:].flatten()
    flat = {name: residual[:, :-1].flatten(0, 1) for name, residual in residuals.items()}
    out = {name: torch.empty(3, len(targets), dtype=torch.float32, device=targets.device) for name in flat}
    for part in _chunks(model, targets):
        clean, clean_top = _softmax(model, flat["clean"][part])
        for name, residual in flat.items():
            probs, top = (clean, clean_top) if name == "clean" else _softmax(model, residual[part])
            out[name][0, part] = probs.gather(1, targets[part, None])[:, 0]
            out[name][2, part] = (top != clean_top).float()
            out[name][1, part] = 0.0 if name == "clean" else probs.sub_(clean).abs_().sum(dim=1) / 2
    shape = (3, tokens.shape[0], tokens.shape[1] - 1)
    return {name: values.cpu().numpy().astype(np.float64).reshape(shape) for name, values in out.items()}


@torch.enable_grad()
def loss_gradient(
    model: TransformerBridge, residual: Float[Tensor, "batch pos d_model"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos d_model"]:
    """Gradient of each sequence's raw loss in bits per token by what the unembedding reads, a chunk of positions at a time."""
    targets = tokens[:, 1:].flatten()
    flat, parts = residual.detach()[:, :-1].flatten(0, 1), []
    for part in _chunks(model, targets):
        rows = flat[part].requires_grad_()
        nats = torch.nn.functional.cross_entropy(logits_of(model, rows).float(), targets[part], reduction="sum")
        parts.append(torch.autograd.grad(nats, rows)[0])
    bits = torch.cat(parts).div_(math.log(2) * (tokens.shape[1] - 1)).unflatten(0, (len(tokens), -1))
    return torch.cat([bits, torch.zeros_like(residual[:, -1:])], dim=1)  # the last position predicts nothing


def smoothed_bits(probability: Float[np.ndarray, "..."], alpha: float, n_vocab: int) -> Float[np.ndarray, "..."]:
    """Smoothed loss of each prediction in bits, ``-log2((1 - alpha) q + alpha / V)`` (Lotfi et al. 2024); `alpha` may be 0."""
    return -np.log2((1 - alpha) * probability + alpha / n_vocab)


def _chunks(model: TransformerBridge, targets: Int[Tensor, "rows"]) -> Iterator[slice]:
    size = GPU_CHUNK_BYTES if targets.is_cuda else CHUNK_BYTES
    rows = max(MIN_ROWS, size // (4 * model.original_model.get_output_embeddings().weight.shape[0]))
    return (slice(start, start + rows) for start in range(0, len(targets), rows))


def _softmax(model: TransformerBridge, residual: Float[Tensor, "rows d_model"]) -> tuple[Tensor, Tensor]:
    logits = logits_of(model, residual).float()
    peak, top = logits.max(dim=1, keepdim=True)
    probs = logits.sub_(peak).exp_()
    return probs.div_(probs.sum(dim=1, keepdim=True)), top[:, 0]
