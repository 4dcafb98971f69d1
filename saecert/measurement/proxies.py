"""Proxies: what stands in for the native activation at a hook point. Each is a name and one function of a `Site`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from sae_lens import SAE, GatedSAE, JumpReLUSAE, StandardSAE, TopKSAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.subjects.forward import native_acts
from saecert.subjects.subject import Subject


@dataclass(frozen=True)
class Site:
    """One batch at the hook point: native activations and what the SAE makes of them (computed once, shared by all proxies)."""

    acts: Float[Tensor, "batch pos d_in"]
    """Native activations."""
    sae: SAE
    """The SAE at this hook point."""
    ids: UInt64[np.ndarray, "batch"]
    """Hash of each sequence: keys the randomness of random proxies, so that losses do not depend on batching."""
    first: int = 0
    """First position that is spliced: 1 after a BOS token."""
    linear = (StandardSAE, JumpReLUSAE, GatedSAE, TopKSAE)
    """SAEs that decode by ``codes @ W_dec + b_dec`` and undoing the scaling of the input; of other kinds only `decode` is known."""

    @cached_property
    def latents(self) -> Float[Tensor, "batch pos d_sae"]:
        """Latent activations, ``sae.encode(acts)``."""
        return self.sae.encode(self.acts)

    @cached_property
    def recons(self) -> Float[Tensor, "batch pos d_in"]:
        """SAE reconstruction, ``decode(latents)``."""
        return self.decode(self.latents)

    @cached_property
    def active(self) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"], Float[Tensor, "n"]]:
        """Position (counted through the batch), latent and activation of every active latent: few of very many."""
        codes = self.latents.flatten(0, -2)
        position, latent = codes.nonzero(as_tuple=True)
        return position, latent, codes[position, latent]

    def decode_only(self, kept: Float[Tensor, "d_sae"]) -> Float[Tensor, "batch pos d_in"]:
        """Reconstruction from the latents at which `kept` is 1, the others being zeroed; adds up the atoms of the active ones alone."""
        if type(self.sae) not in self.linear or getattr(
            self.sae.cfg, "rescale_acts_by_decoder_norm", False
        ):
            return self.decode(self.latents * kept.to(self.latents))
        position, latent, activation = self.active
        n_active = torch.bincount(position, minlength=self.latents[..., 0].numel())
        weights = activation * kept.to(activation)[latent]
        summed = torch.nn.functional.embedding_bag(
            latent,
            self.sae.W_dec,
            n_active.cumsum(0) - n_active,
            mode="sum",
            per_sample_weights=weights,
        )
        self.sae.run_time_activation_norm_fn_in(self.acts)
        return self.sae.run_time_activation_norm_fn_out(
            summed.view(self.acts.shape) + self.sae.b_dec
        )

    def decode(
        self,
        codes: Float[Tensor, "batch pos d_sae"],
        atoms: Float[Tensor, "d_sae d_in"] | None = None,
    ) -> Float[Tensor, "batch pos d_in"]:
        """What the SAE makes of other codes at these positions, or with other `atoms` than its decoder's rows."""
        self.sae.run_time_activation_norm_fn_in(
            self.acts
        )  # an SAE that rescales what it reads undoes the last scale it saw
        if atoms is None:
            return self.sae.decode(codes)
        return self.sae.run_time_activation_norm_fn_out(codes @ atoms.to(codes) + self.sae.b_dec)

    def splice(self, replaced: Float[Tensor, "batch pos d_in"]) -> Float[Tensor, "batch pos d_in"]:
        """`replaced` where an activation may be replaced, the native one before: BOS keeps its own."""
        return torch.cat([self.acts[:, : self.first], replaced[:, self.first :]], dim=1)


@dataclass(frozen=True)
class Proxy:
    """The LM with one activation replaced."""

    name: str
    """Key under which its losses are recorded."""
    replace: Callable[[Site], Float[Tensor, "batch pos d_in"]]
    """What to put in place of ``site.acts``; must treat each sequence on its own (assumption A3)."""
    key: str = ""
    """Digest of whatever parameters `replace` closes over: two proxies of equal name and key are the same."""
    kept: Float[Tensor, "d_sae"] | None = None
    """1 for the latents that a pool keeps, 0 for the others; None for anything but a pool."""


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
        raise ValueError(
            f"latent {outside[0]} is outside the dictionary, which has latents 0 to {d_sae - 1}"
        )
    if len(np.unique(latents)) != len(latents):
        raise ValueError("a pool is a set of latents: some index is repeated")
    kept = torch.zeros(d_sae)
    kept[torch.from_numpy(latents.astype(np.int64))] = 1.0
    return Proxy(
        f"pool_{len(latents)}", lambda site: site.decode_only(kept), _digest(np.sort(latents)), kept
    )


def mean_ablation(mean: Float[Tensor, "d_in"]) -> Proxy:
    """Every activation replaced by one fixed vector, the mean over the discovery split: a dense control."""
    return Proxy(
        "mean", lambda site: mean.to(site.acts).expand_as(site.acts), _digest(mean.double().numpy())
    )


def zero_ablation() -> Proxy:
    """Every activation replaced by zero: a dense control."""
    return Proxy("zero", lambda site: torch.zeros_like(site.acts))


def pca(mean: Float[Tensor, "d_in"], components: Float[Tensor, "k d_in"]) -> Proxy:
    """Projection onto the mean and `k` orthonormal directions: what as many dense components would keep."""

    def project(site: Site) -> Tensor:
        centre, directions = mean.to(site.acts), components.to(site.acts)
        return (site.acts - centre) @ directions.T @ directions + centre

    return Proxy(
        f"pca_{len(components)}",
        project,
        _digest(torch.cat([mean[None], components]).double().numpy()),
    )


def shuffled_latents(seed: int = 0) -> Proxy:
    """Every activation moves to another latent, anew at each token: L0 and the activations themselves are kept, their meaning is not.

    The latents written to are drawn without replacement from the whole dictionary, one token after the other.
    """

    def shuffle(codes: Tensor, generator: torch.Generator) -> Tensor:
        n_active = (codes != 0).sum(dim=-1)
        targets = (
            torch.rand(codes.shape, generator=generator)
            .topk(int(n_active.max()))
            .indices.to(codes.device)
        )
        position, latent = codes.nonzero(as_tuple=True)
        rank = (
            torch.arange(len(position), device=codes.device)
            - (n_active.cumsum(0) - n_active)[position]
        )
        return torch.zeros_like(codes).index_put(
            (position, targets[position, rank]), codes[position, latent]
        )

    def replace(site: Site) -> Tensor:
        return site.decode(
            torch.stack(list(map(shuffle, site.latents, _generators("latents", seed, site.ids))))
        )

    return Proxy("shuffled_latents", replace, str(seed))


def permuted_dictionary(d_sae: int, seed: int = 0) -> Proxy:
    """Latent j writes with the atom of latent pi(j), one fixed random cycle through all latents: none keeps its own atom.

    Encoder and decoder are both the SAE's own, paired at random; each token's activations are kept.
    """
    cycle = torch.randperm(d_sae, generator=torch.Generator().manual_seed(seed))
    source = torch.empty_like(cycle)
    source[cycle.roll(-1)] = cycle
    return Proxy(
        "permuted_dictionary",
        lambda site: site.decode(site.latents[..., source.to(site.acts.device)]),
        str(seed),
    )


def shuffled_positions(seed: int = 0) -> Proxy:
    """Codes in a random order of the spliced positions, one order a sequence: each code is a real one of this text, at the wrong token."""

    def replace(site: Site) -> Tensor:
        n_spliced = site.acts.shape[1] - site.first
        orders = [
            torch.randperm(n_spliced, generator=generator)
            for generator in _generators("positions", seed, site.ids)
        ]
        order = (torch.stack(orders) + site.first).to(site.acts.device)
        codes = site.latents.clone()
        codes[:, site.first :] = site.latents.take_along_dim(order[..., None], dim=1)
        return site.decode(codes)

    return Proxy("shuffled_positions", replace, str(seed))


def donor_codes(subject: Subject, donors: Corpus, hook_name: str, seed: int = 0) -> Proxy:
    """Codes of another text at the same positions: each sequence gets one of `donors` by its hash. Take few, of the discovery split.

    Belongs to `hook_name`; only the donors' native activations there are held, and made when first needed. ValueError when
    a sequence is longer than the donors.
    """

    @cache
    def acts_of_donors() -> Tensor:
        return native_acts(
            subject.model,
            torch.from_numpy(donors.tokens.astype(np.int64)).to(subject.device),
            hook_name,
        )

    def replace(site: Site) -> Tensor:
        if site.acts.shape[1] > donors.n_ctx:
            raise ValueError(
                f"the donors have {donors.n_ctx} tokens, the sequences {site.acts.shape[1]}: take donors at least as long"
            )
        chosen = [
            generator.initial_seed() % len(donors)
            for generator in _generators("donors", seed, site.ids)
        ]
        return site.decode(site.sae.encode(acts_of_donors()[chosen, : site.acts.shape[1]]))

    return Proxy("donor_codes", replace, f"{seed} {hook_name} {_digest(donors.ids)}")


def random_decoder(d_sae: int, d_in: int, seed: int = 0, *, match_norm: bool = False) -> Proxy:
    """The codes decoded by random unit vectors instead of the SAE's atoms; its bias is kept.

    With `match_norm` ("random_decoder_matched") what is added to the bias has at each token the norm that it has in the
    reconstruction: only its direction is lost.
    """
    atoms = torch.nn.functional.normalize(
        torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed)), dim=1
    )

    def replace(site: Site) -> Tensor:
        replaced = site.decode(site.latents, atoms)
        if not match_norm:
            return replaced
        bias = site.decode(torch.zeros_like(site.latents))
        return bias + (site.recons - bias).norm(
            dim=-1, keepdim=True
        ) * torch.nn.functional.normalize(replaced - bias, dim=-1)

    return Proxy("random_decoder" + "_matched" * match_norm, replace, f"{seed} {match_norm}")


def noise(seed: int = 0) -> Proxy:
    """The native activation plus a random vector as long as the SAE's error at that position: an error without a direction of its own."""

    def replace(site: Site) -> Tensor:
        _, n_pos, d_in = site.acts.shape
        drawn = [
            torch.stack([torch.randn(d_in, generator=generator) for _ in range(n_pos)])
            for generator in _generators("noise", seed, site.ids)
        ]
        directions = torch.nn.functional.normalize(torch.stack(drawn), dim=-1).to(site.acts)
        return site.acts + directions * (site.acts - site.recons).norm(dim=-1, keepdim=True)

    return Proxy("noise", replace, str(seed))


def atom_norms(sae: SAE) -> Float[Tensor, "d_sae"]:
    """Length of what each latent writes per unit of its activation: the decoder rows' norms, 1 where activations are in those units."""
    return (
        torch.ones_like(sae.W_dec[:, 0])
        if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False)
        else sae.W_dec.norm(dim=1)
    )


def _generators(what: str, seed: int, ids: UInt64[np.ndarray, "batch"]) -> list[torch.Generator]:
    """A source of random numbers for each sequence, whatever the batch around it."""
    digests = [hashlib.sha256(f"{what} {seed} {ident}".encode()).digest() for ident in ids]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big")) for digest in digests]


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
