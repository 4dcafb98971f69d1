"""One batch at one hook point: native activations and what the SAE makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt64
from sae_lens import SAE, GatedSAE, JumpReLUSAE, StandardSAE, TopKSAE
from torch import Tensor


def summed_by(cells: Int[Tensor, "n"], weights: Shaped[Tensor, "n"], n_cells: int) -> Tensor:
    """Weights added up by cell: `torch.bincount`, for which the host would wait for a GPU."""
    zeros = torch.zeros(n_cells, dtype=weights.dtype, device=weights.device)
    return zeros.index_add_(0, cells, weights)


@dataclass(frozen=True)
class Site:
    """Native activations of a batch and what the SAE makes of them: computed once, shared by all
    proxies."""

    acts: Float[Tensor, "batch pos d_in"]
    """Native activations."""
    sae: SAE
    """The SAE at this hook point."""
    ids: UInt64[np.ndarray, "batch"]
    """Hash of each sequence: keys the randomness of random proxies, so that losses do not depend on
    batching."""
    first: int = 0
    """First position that is spliced: 1 after a BOS token."""
    linear = (StandardSAE, JumpReLUSAE, GatedSAE, TopKSAE)
    """SAEs that decode by ``codes @ W_dec + b_dec`` and undoing the scaling of the input; of other
    kinds only `decode` is known."""

    @property
    def read(self) -> Float[Tensor, "batch pos d_in"]:
        """What the SAE reads: ``acts`` in its number type."""
        return self.acts.to(self.sae.W_dec.dtype)

    @cached_property
    def latents(self) -> Float[Tensor, "batch pos d_sae"]:
        """Latent activations, ``sae.encode(read)``."""
        return self.sae.encode(self.read)

    @cached_property
    def recons(self) -> Float[Tensor, "batch pos d_in"]:
        """SAE reconstruction, ``decode(latents)``."""
        return self.decode(self.latents)

    @cached_property
    def active(self) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"], Float[Tensor, "n"]]:
        """Position (counted through the batch), latent and activation of every active latent: few
        of very many."""
        codes = self.latents.flatten(0, -2)
        position, latent = codes.nonzero(as_tuple=True)
        return position, latent, codes[position, latent]

    @cached_property
    def n_active(self) -> Int[Tensor, "batch pos"]:
        """How many latents are active at each position."""
        position = self.active[0]
        n_positions = self.latents.shape[:-1]
        counts = summed_by(position, torch.ones_like(position), n_positions.numel())
        return counts.view(n_positions)

    def decode_only(self, kept: Float[Tensor, "d_sae"]) -> Float[Tensor, "batch pos d_in"]:
        """Reconstruction from the latents at which `kept` is 1, the others being zeroed; adds up
        the atoms of the active ones alone."""
        rescales = getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False)
        if type(self.sae) not in self.linear or rescales:
            return self.decode(self.latents * kept.to(self.latents))
        _, latent, activation = self.active
        n_active = self.n_active.flatten()
        summed = torch.nn.functional.embedding_bag(
            latent,
            self.sae.W_dec,
            n_active.cumsum(0) - n_active,
            mode="sum",
            per_sample_weights=activation * kept.to(activation)[latent],
        )
        self.sae.run_time_activation_norm_fn_in(self.read)
        recons = summed.view(self.acts.shape) + self.sae.b_dec
        return self.sae.run_time_activation_norm_fn_out(recons)

    def decode(
        self,
        codes: Float[Tensor, "batch pos d_sae"],
        atoms: Float[Tensor, "d_sae d_in"] | None = None,
    ) -> Float[Tensor, "batch pos d_in"]:
        """What the SAE makes of other codes at these positions, or with other `atoms` than its
        decoder's rows."""
        # an SAE that rescales what it reads undoes the last scale it saw
        self.sae.run_time_activation_norm_fn_in(self.read)
        if atoms is None:
            return self.sae.decode(codes)
        recons = codes @ atoms.to(codes) + self.sae.b_dec
        return self.sae.run_time_activation_norm_fn_out(recons)

    def splice(self, replaced: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_in"]:
        """`replaced` where an activation may be replaced, the native one before: BOS keeps its
        own. In the number type of the activations."""
        after = replaced[:, self.first :].to(self.acts)
        return torch.cat([self.acts[:, : self.first], after], dim=1)


def atom_norms(sae: SAE) -> Float[Tensor, "d_sae"]:
    """Length of what each latent writes per unit of its activation: the decoder rows' norms, 1
    where activations are in those units."""
    if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        return torch.ones_like(sae.W_dec[:, 0])
    return sae.W_dec.norm(dim=1)
