"""From final residuals to losses, total variation and top-1 agreement, a chunk of positions at a time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from saecert.subjects.forward import logits_of

CHUNK_BYTES, GPU_CHUNK_BYTES, MIN_ROWS = 8 << 20, 256 << 20, 256
"""Size of one (rows, V) float32 tensor, of which there are three: fits a CPU's cache, unless so few rows make slow products."""


@torch.no_grad()
def score(
    model: TransformerBridge,
    residuals: Mapping[Hashable, Float[Tensor, "batch pos d_model"]],
    tokens: Int[Tensor, "batch pos"],
) -> dict[Hashable, Float[np.ndarray, "3 batch targets"]]:
    """Per position: probability of the next token, total variation to "clean", top-1 disagreement with "clean" (0 or 1).

    `residuals` maps predictor to what the unembedding reads; "clean" is required and computed once per chunk. All
    sequences predict tokens 1, 2, ... from the positions before. Logits are never held for more than a chunk of rows.
    """
    targets = tokens[:, 1:].flatten()
    flat = {
        name: residual[:, :-1].flatten(0, 1)
        for name, residual in sorted(residuals.items(), key=lambda item: item[0] != "clean")
    }
    head, rows = (
        model.original_model.get_output_embeddings().weight,
        min(_n_rows(model, targets), len(targets)),
    )
    # the same memory again and again: the first touch of new memory costs more than a softmax
    room, clean, probs = (
        torch.empty(rows, len(head), dtype=d, device=head.device)
        for d in (head.dtype, torch.float32, torch.float32)
    )
    out = torch.empty(len(flat), 3, len(targets), device=targets.device)
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        target = targets[part, None]
        n = len(target)
        for (name, residual), found in zip(flat.items(), out[:, :, part], strict=True):
            logits = logits_of(model, residual[part], out=room[:n])
            softmax = torch.softmax(
                logits, dim=1, dtype=torch.float32, out=(clean if name == "clean" else probs)[:n]
            )
            found[0] = softmax.gather(1, target)[:, 0]
            if name == "clean":
                top, found[1:] = logits.argmax(dim=1), 0.0
            else:
                found[1] = softmax.sub_(clean[:n]).abs_().sum(dim=1) / 2
                found[2] = logits.argmax(dim=1) != top
    return dict(
        zip(
            flat,
            out.view(len(flat), 3, len(tokens), -1).cpu().numpy().astype(np.float64),
            strict=True,
        )
    )


@torch.enable_grad()
def loss_gradient(
    model: TransformerBridge,
    residual: Float[Tensor, "batch pos d_model"],
    tokens: Int[Tensor, "batch pos"],
) -> Float[Tensor, "batch pos d_model"]:
    """Gradient of each sequence's raw loss in bits per token by what the unembedding reads, a chunk of positions at a time."""
    targets = tokens[:, 1:].flatten()
    flat, parts = residual.detach()[:, :-1].flatten(0, 1), []
    for rows, target in zip(
        *(x.split(_n_rows(model, targets)) for x in (flat, targets)), strict=True
    ):
        rows.requires_grad_()
        nats = torch.nn.functional.cross_entropy(
            logits_of(model, rows).float(), target, reduction="sum"
        )
        parts.append(torch.autograd.grad(nats, rows)[0])
    bits = (
        torch.cat(parts).div_(math.log(2) * (tokens.shape[1] - 1)).unflatten(0, (len(tokens), -1))
    )
    return torch.cat(
        [bits, torch.zeros_like(residual[:, -1:])], dim=1
    )  # the last position predicts nothing


def smoothed_bits(
    probability: Float[np.ndarray, "..."], alpha: float, n_vocab: int
) -> Float[np.ndarray, "..."]:
    """Smoothed loss of each prediction in bits, ``-log2((1 - alpha) q + alpha / V)`` (Lotfi et al. 2024); `alpha` may be 0."""
    return -np.log2((1 - alpha) * probability + alpha / n_vocab)


def _n_rows(model: TransformerBridge, targets: Int[Tensor, "rows"]) -> int:
    size = GPU_CHUNK_BYTES if targets.is_cuda else CHUNK_BYTES
    return max(MIN_ROWS, size // (4 * model.original_model.get_output_embeddings().weight.shape[0]))
