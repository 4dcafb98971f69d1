"""Training steps of TopK SAEs on a CPU that touch only the latents which are active.

Of 3,200 latents 20 are active in a sample. `sae_lens` multiplies by all of them, forwards and
backwards: six dense products a step. Here only the first one, which finds the active latents, is
dense; losses and gradients are those of `sae_lens` up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sae_lens import (
    BatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag

from saecert.subjects.products import affine
from saecert.training.selection import SoonerThreshold

Acts = Float[Tensor, "batch d_in"]
Latents = Float[Tensor, "batch d_sae"]


@dataclass(frozen=True)
class _Codes:
    """Active latents of a batch, sample after sample."""

    dense: Latents
    """The same as an array, without gradients."""
    latents: Int[Tensor, "_"]
    """Which."""
    strengths: Float[Tensor, "_"]
    """By how much each one's decoder row is multiplied."""
    counts: Int[Tensor, "batch"]
    """How many of each sample."""
    sae_in: Acts
    """What they were read from, less the decoder's bias."""
    hidden_pre: Latents
    """What the active ones were chosen by, without gradients."""
    version: int
    """Of `dense`, as torch counts: whoever writes into it changes it."""

    def are(self, feature_acts: Latents) -> bool:
        """Whether these are the codes, as they were made in this training step."""
        same = feature_acts is self.dense and feature_acts._version == self.version
        return same and torch.is_grad_enabled()

    def times(self, W_dec: Float[Tensor, "d_sae d_in"], start: int, stop: int) -> Acts:
        """Sums of decoder rows, of latents in [start, stop)."""
        inside = (self.latents >= start) & (self.latents < stop)
        sample = torch.repeat_interleave(torch.arange(len(self.counts)), self.counts)
        counts = torch.bincount(sample[inside], minlength=len(self.counts))
        offsets = counts.cumsum(0) - counts
        strengths = self.strengths[inside]
        return embedding_bag(
            self.latents[inside], W_dec, offsets, mode="sum", per_sample_weights=strengths
        )


class SparseSteps(TopKTrainingSAE):
    """`sae_lens.TopKTrainingSAE` for a CPU, with codes that are multiplied as what they are.

    The norms of the decoder's rows decide which latents are active, and cancel elsewhere: what the
    encoder multiplies by them the decoder divides by them. ValueError for settings other than the
    recipe's.
    """

    _codes: _Codes | None = None

    def __init__(self, cfg: TopKTrainingSAEConfig, use_error_term: bool = False) -> None:
        usual = cfg.rescale_acts_by_decoder_norm and cfg.reshape_activations == "none"
        if not usual or cfg.normalize_activations not in ("none", "expected_average_only_in"):
            raise ValueError(
                "sparse steps are for activations that are not reshaped or normalised one by one, "
                "and latents that are rescaled by the decoder's norms: use the SAE of sae_lens"
            )
        super().__init__(cfg, use_error_term)

    def __getstate__(self) -> dict[str, Any]:
        """Without the codes of the last step, which belong to its graph."""
        return {name: value for name, value in self.__dict__.items() if name != "_codes"}

    def encode_with_hidden_pre(self, x: Acts) -> tuple[Latents, Latents]:
        """As in sae_lens; in training both results come without gradients, which the codes hold."""
        if not torch.is_grad_enabled():
            return super().encode_with_hidden_pre(x)
        sae_in = self.process_sae_in(x)
        encoder = self.W_enc.T.contiguous()
        with torch.no_grad():
            hidden_pre = affine(sae_in, encoder, self.b_enc)
            hidden_pre *= self.W_dec.norm(dim=-1)
            acts = self.activation_fn(hidden_pre)
        places = np.flatnonzero(acts.numpy())
        sample, latents = (torch.from_numpy(part) for part in np.divmod(places, acts.shape[1]))
        rows = embedding(latents, encoder)
        strengths = (embedding(sample, sae_in) * rows).sum(dim=-1) + self.b_enc[latents]
        counts = torch.bincount(sample, minlength=len(acts))
        version = acts._version
        self._codes = _Codes(acts, latents, strengths, counts, sae_in, hidden_pre, version)
        return acts, hidden_pre

    def decode(self, feature_acts: Latents) -> Acts:
        """As in sae_lens."""
        codes = self._codes
        if codes is None or not codes.are(feature_acts):
            return super().decode(feature_acts)
        recons = codes.times(self.W_dec, 0, self.cfg.d_sae) + self.b_dec
        return self.run_time_activation_norm_fn_out(recons)

    def calculate_topk_aux_loss(
        self,
        sae_in: Acts,
        sae_out: Acts,
        hidden_pre: Latents,
        dead_neuron_mask: Bool[Tensor, "d_sae"] | None,
    ) -> Float[Tensor, ""]:
        """As in sae_lens, with products of the dead latents alone."""
        codes = self._codes
        if codes is None or hidden_pre is not codes.hidden_pre or not torch.is_grad_enabled():
            return super().calculate_topk_aux_loss(sae_in, sae_out, hidden_pre, dead_neuron_mask)
        if dead_neuron_mask is None or not dead_neuron_mask.any():
            return sae_out.new_tensor(0.0)
        dead = dead_neuron_mask.nonzero().flatten()
        usual = sae_in.shape[-1] // 2
        k = min(usual, len(dead))
        strengths = codes.sae_in @ embedding(dead, self.W_enc.T).T + self.b_enc[dead]
        chosen = hidden_pre[:, dead].topk(k, sorted=False).indices
        kept = torch.zeros_like(strengths).scatter(-1, chosen, strengths.gather(-1, chosen))
        error = kept @ embedding(dead, self.W_dec) - (sae_in - sae_out).detach()
        scale = self.cfg.aux_loss_coefficient * min(len(dead) / usual, 1.0)
        return scale * error.pow(2).sum(dim=-1).mean()


class SparseTopK(SparseSteps):
    """`sae_lens.TopKTrainingSAE`."""


class SparseBatchTopK(SparseSteps, SoonerThreshold, BatchTopKTrainingSAE):
    """`sae_lens.BatchTopKTrainingSAE`."""


class SparseMatryoshka(SparseSteps, SoonerThreshold, MatryoshkaBatchTopKTrainingSAE):
    """`sae_lens.MatryoshkaBatchTopKTrainingSAE`, with one loss for all dead latents."""

    def __init__(
        self, cfg: MatryoshkaBatchTopKTrainingSAEConfig, use_error_term: bool = False
    ) -> None:
        if cfg.use_matryoshka_aux_loss:
            raise ValueError("use_matryoshka_aux_loss needs the SAE of sae_lens itself")
        super().__init__(cfg, use_error_term)

    def _iterable_decode(
        self, feature_acts: Latents, include_outer_loss: bool = False
    ) -> Iterator[tuple[int, Acts]]:
        codes = self._codes
        if codes is None or not codes.are(feature_acts):
            yield from super()._iterable_decode(feature_acts, include_outer_loss)
            return
        widths = self.cfg.matryoshka_widths
        recons, start = self.b_dec, 0
        for width in widths if include_outer_loss else widths[:-1]:
            recons = recons + codes.times(self.W_dec, start, width)
            start = width
            yield width, self.run_time_activation_norm_fn_out(recons)
