"""Proxies: what stands in for the native activation at a hook point. Each is a name and one
function of a `Site`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.site import Site
from saecert.subjects.forward import native_acts
from saecert.subjects.subject import Subject


@dataclass(frozen=True)
class Proxy:
    """The LM with one activation replaced."""

    name: str
    """Key under which its losses are recorded."""
    replace: Callable[[Site], Float[Tensor, "batch pos d_in"]]
    """What to put in place of ``site.acts``; must treat each sequence on its own (assumption
    A3)."""
    key: str = ""
    """A text that changes whenever `replace` does, or a value that it uses: losses are kept under
    name and key. Needed."""
    kept: Float[Tensor, "d_sae"] | None = None
    """1 for the latents that a pool keeps, 0 for the others; None for anything but a pool."""


def full() -> Proxy:
    """The SAE reconstruction: all latents."""
    return Proxy("full", lambda site: site.recons, key_of("full"))


def pool(latents: Int[np.ndarray, "k"], d_sae: int) -> Proxy:
    """The reconstruction from a concept pool: latents outside are zeroed before decoding.

    Named "pool_<k>". Raises ValueError for repeated indices or indices outside the dictionary of
    `d_sae` latents.
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
    key = key_of("pool", _digest(np.sort(latents)))
    return Proxy(f"pool_{len(latents)}", lambda site: site.decode_only(kept), key, kept)


def top(k: int) -> Proxy:
    """The reconstruction from the `k` latents with the largest activations at each token, the
    others being zeroed: an SAE run with fewer active latents than it was trained with.

    Named "top_<k>". An SAE with at most `k` active latents at a token is left as it is there; of
    equal activations the first latents stay. ValueError unless k >= 1.
    """
    if k < 1:
        raise ValueError(f"at least 1 active latent must stay, got {k}")

    def replace(site: Site) -> Tensor:
        return site.decode(largest_codes(site.latents, k))

    return Proxy(f"top_{k}", replace, key_of("top", k))


def largest_codes(
    codes: Float[Tensor, "batch pos d_sae"], k: int
) -> Float[Tensor, "batch pos d_sae"]:
    """The `k` largest activations of each token, the others being zeroed."""
    largest, latent = codes.topk(min(k, codes.shape[-1]))
    return torch.zeros_like(codes).scatter(-1, latent, largest.clamp_min(0))


def mean_ablation(mean: Float[Tensor, "d_in"]) -> Proxy:
    """Every activation replaced by one fixed vector, the mean over the discovery split: a dense
    control."""
    key = key_of("mean", _digest(mean.double().numpy()))
    return Proxy("mean", lambda site: mean.to(site.acts).expand_as(site.acts), key)


def zero_ablation() -> Proxy:
    """Every activation replaced by zero: a dense control."""
    return Proxy("zero", lambda site: torch.zeros_like(site.acts), key_of("zero"))


def pca(mean: Float[Tensor, "d_in"], components: Float[Tensor, "k d_in"]) -> Proxy:
    """Projection onto the mean and `k` orthonormal directions: what as many dense components would
    keep."""

    def project(site: Site) -> Tensor:
        centre = mean.to(site.read)
        directions = components.to(site.read)
        return (site.read - centre) @ directions.T @ directions + centre

    values = torch.cat([mean[None], components]).double().numpy()
    return Proxy(f"pca_{len(components)}", project, key_of("pca", _digest(values)))


def shuffled_latents(seed: int = 0) -> Proxy:
    """Every activation moves to another latent, anew at each token: L0 and the activations
    themselves are kept, their meaning is not.

    The latents written to are drawn without replacement from the whole dictionary, one token after
    the other.
    """

    def shuffle(codes: Tensor, generator: torch.Generator) -> Tensor:
        n_active = (codes != 0).sum(dim=-1)
        drawn = torch.rand(codes.shape, generator=generator).topk(int(n_active.max())).indices
        targets = drawn.to(codes.device)
        position, latent = codes.nonzero(as_tuple=True)
        begin = n_active.cumsum(0) - n_active
        rank = torch.arange(len(position), device=codes.device) - begin[position]
        moved = (position, targets[position, rank])
        return torch.zeros_like(codes).index_put(moved, codes[position, latent])

    def replace(site: Site) -> Tensor:
        generators = _generators("latents", seed, site.ids)
        return site.decode(torch.stack(list(map(shuffle, site.latents, generators))))

    return Proxy("shuffled_latents", replace, key_of("shuffled_latents", seed))


def permuted_dictionary(d_sae: int, seed: int = 0) -> Proxy:
    """Latent j writes with the atom of latent pi(j), one fixed random cycle through all latents:
    none keeps its own atom.

    Encoder and decoder are both the SAE's own, paired at random; each token's activations are kept.
    """
    cycle = torch.randperm(d_sae, generator=torch.Generator().manual_seed(seed))
    source = torch.empty_like(cycle)
    source[cycle.roll(-1)] = cycle

    def replace(site: Site) -> Tensor:
        return site.decode(site.latents[..., source.to(site.acts.device)])

    return Proxy("permuted_dictionary", replace, key_of("permuted_dictionary", d_sae, seed))


def shuffled_positions(seed: int = 0) -> Proxy:
    """Codes in a random order of the spliced positions, one order a sequence: each code is a real
    one of this text, at the wrong token."""

    def replace(site: Site) -> Tensor:
        n_spliced = site.acts.shape[1] - site.first
        generators = _generators("positions", seed, site.ids)
        orders = [torch.randperm(n_spliced, generator=generator) for generator in generators]
        order = (torch.stack(orders) + site.first).to(site.acts.device)
        codes = site.latents.clone()
        codes[:, site.first :] = site.latents.take_along_dim(order[..., None], dim=1)
        return site.decode(codes)

    return Proxy("shuffled_positions", replace, key_of("shuffled_positions", seed))


def donor_codes(subject: Subject, donors: Corpus, hook_name: str, seed: int = 0) -> Proxy:
    """Codes of another text at the same positions: each sequence gets one of `donors` by its hash.
    Take few, of the discovery split.

    Belongs to `hook_name`; only the donors' native activations there are held, and made when first
    needed. ValueError when a sequence is longer than the donors.
    """

    @cache
    def acts_of_donors() -> Tensor:
        tokens = torch.from_numpy(donors.tokens.astype(np.int64)).to(subject.device)
        return native_acts(subject.model, tokens, hook_name)

    def replace(site: Site) -> Tensor:
        if site.acts.shape[1] > donors.n_ctx:
            raise ValueError(
                f"the donors have {donors.n_ctx} tokens, the sequences {site.acts.shape[1]}: "
                "take donors at least as long"
            )
        generators = _generators("donors", seed, site.ids)
        chosen = [generator.initial_seed() % len(donors) for generator in generators]
        acts = acts_of_donors()[chosen, : site.acts.shape[1]]
        return site.decode(site.sae.encode(acts))

    key = key_of("donor_codes", seed, hook_name, _digest(donors.ids))
    return Proxy("donor_codes", replace, key)


def random_decoder(d_sae: int, d_in: int, seed: int = 0, *, match_norm: bool = False) -> Proxy:
    """The codes decoded by random unit vectors instead of the SAE's atoms; its bias is kept.

    With `match_norm` ("random_decoder_matched") what is added to the bias has at each token the
    norm that it has in the reconstruction: only its direction is lost.
    """
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(d_sae, d_in, generator=generator), dim=1)

    def replace(site: Site) -> Tensor:
        replaced = site.decode(site.latents, atoms)
        if not match_norm:
            return replaced
        bias = site.decode(torch.zeros_like(site.latents))
        length = (site.recons - bias).norm(dim=-1, keepdim=True)
        return bias + length * torch.nn.functional.normalize(replaced - bias, dim=-1)

    name = "random_decoder_matched" if match_norm else "random_decoder"
    return Proxy(name, replace, key_of("random_decoder", d_sae, d_in, seed, match_norm))


def noise(seed: int = 0) -> Proxy:
    """The native activation plus a random vector as long as the SAE's error at that position: an
    error without a direction of its own."""

    def drawn(generator: torch.Generator, n_pos: int, d_in: int) -> Tensor:
        return torch.stack([torch.randn(d_in, generator=generator) for _ in range(n_pos)])

    def replace(site: Site) -> Tensor:
        _, n_pos, d_in = site.acts.shape
        generators = _generators("noise", seed, site.ids)
        vectors = torch.stack([drawn(generator, n_pos, d_in) for generator in generators])
        directions = torch.nn.functional.normalize(vectors, dim=-1).to(site.acts)
        return site.acts + directions * (site.acts - site.recons).norm(dim=-1, keepdim=True)

    return Proxy("noise", replace, key_of("noise", seed))


def key_of(kind: str, *settings: object) -> str:
    """Key of a proxy that this package makes, from everything its function uses.

    >>> key_of("noise", 0)
    'saecert.noise(0)'
    """
    return f"saecert.{kind}({', '.join(map(str, settings))})"


def _generators(what: str, seed: int, ids: UInt64[np.ndarray, "batch"]) -> list[torch.Generator]:
    """A source of random numbers for each sequence, whatever the batch around it."""
    digests = [hashlib.sha256(f"{what} {seed} {ident}".encode()).digest() for ident in ids]
    return [torch.Generator().manual_seed(int.from_bytes(digest[:8], "big")) for digest in digests]


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
