"""Proxies: what stands in for the native activation at a hook point. Each is a name and one function of a `Site`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from sae_lens import SAE
from torch import Tensor


@dataclass(frozen=True)
class Site:
    """One batch at the hook point: native activations and what the SAE makes of them (computed once, shared by all proxies)."""

    acts: Float[Tensor, "batch pos d_in"]
    """Native activations."""
    sae: SAE
    """The SAE at this hook point."""
    ids: UInt64[np.ndarray, "batch"]
    """Hash of each sequence: keys the randomness of random proxies, so that losses do not depend on batching."""

    @cached_property
    def latents(self) -> Float[Tensor, "batch pos d_sae"]:
        """Latent activations, ``sae.encode(acts)``."""
        return self.sae.encode(self.acts)

    @cached_property
    def recons(self) -> Float[Tensor, "batch pos d_in"]:
        """SAE reconstruction, ``sae.decode(latents)``."""
        return self.sae.decode(self.latents)


@dataclass(frozen=True)
class Proxy:
    """The LM with one activation replaced."""

    name: str
    """Key under which its losses are recorded."""
    replace: Callable[[Site], Float[Tensor, "batch pos d_in"]]
    """What to put in place of ``site.acts``; must treat each sequence on its own (assumption A3)."""
    key: str = ""
    """Digest of whatever parameters `replace` closes over: two proxies of equal name and key are the same."""


def full() -> Proxy:
    """The SAE reconstruction: all latents."""
    return Proxy("full", lambda site: site.recons)


def pool(latents: Int[np.ndarray, "k"], d_sae: int) -> Proxy:
    """The reconstruction from a concept pool: latents outside are zeroed before decoding.

    Named "pool_<k>". Raises ValueError for repeated indices or indices outside the dictionary of `d_sae` latents.
    """
    latents = np.asarray(latents)
    outside = latents[(latents < 0) | (latents >= d_sae)]
    if len(outside):
        raise ValueError(f"latent {outside[0]} is outside the dictionary, which has latents 0 to {d_sae - 1}")
    if len(np.unique(latents)) != len(latents):
        raise ValueError("a pool is a set of latents: some index is repeated")
    kept = torch.zeros(d_sae)
    kept[torch.from_numpy(latents.astype(np.int64))] = 1.0
    return Proxy(f"pool_{len(latents)}", lambda site: site.sae.decode(site.latents * kept.to(site.latents)), _digest(np.sort(latents)))


def mean_ablation(mean: Float[Tensor, "d_in"]) -> Proxy:
    """Every activation replaced by one fixed vector, the mean over the discovery split: a dense control."""
    return Proxy("mean", lambda site: mean.to(site.acts).expand_as(site.acts), _digest(mean.double().numpy()))


def zero_ablation() -> Proxy:
    """Every activation replaced by zero: a dense control."""
    return Proxy("zero", lambda site: torch.zeros_like(site.acts))


def pca(mean: Float[Tensor, "d_in"], components: Float[Tensor, "k d_in"]) -> Proxy:
    """Projection onto the mean and `k` orthonormal directions: what as many dense components would keep."""

    def project(site: Site) -> Tensor:
        centre, directions = mean.to(site.acts), components.to(site.acts)
        return (site.acts - centre) @ directions.T @ directions + centre

    return Proxy(f"pca_{len(components)}", project, _digest(torch.cat([mean[None], components]).double().numpy()))


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
