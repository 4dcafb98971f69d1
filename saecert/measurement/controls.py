"""Controls built from an SAE: cut down to a pool, latents mixed, an encoder that learned
nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.linalg import hadamard
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.identity import digest, identity
from saecert.measurement.proxies import Proxy, key_of
from saecert.measurement.site import Site, atom_norms
from saecert.measurement.stand_in import as_sae
from saecert.storage import cached_arrays
from saecert.subjects.forward import native_acts
from saecert.subjects.subject import Subject

__all__ = ["as_sae", "best_atoms", "mix", "mixed", "pooled", "random_encoder"]

N_FITTED = 200
"""Discovery sequences on which the atoms of a random encoder are fitted."""
MAX_RANDOM = 4096
"""Most latents of a random encoder."""
_RIDGE = 1e-4
"""Share of the mean square of a code: keeps equations regular where a latent never fires."""
_SKIPPED = 320
"""Numbers drawn before a random encoder's directions; its published figures were made so."""


@dataclass(frozen=True)
class _PooledSite(Site):
    """A site at which codes are cut down to a pool before they are decoded."""

    kept: Tensor | None = None

    def decode(self, codes: Tensor, atoms: Tensor | None = None) -> Tensor:
        return super().decode(codes * self.kept.to(codes), atoms)

    def decode_only(self, kept: Tensor) -> Tensor:
        return super().decode_only(kept * self.kept)


def pooled(proxy: Proxy, pool: Proxy) -> Proxy:
    """`proxy` with the latents outside `pool` set to zero in whatever codes it decodes.

    It is to `proxy` what "pool_<k>" is to "full", and is named "<proxy> pool_<k>". Measure both in
    one sweep. `pool` is one of `saecert.measurement.proxies.pool`.
    """

    def replaced(site: Site) -> Tensor:
        return proxy.replace(_PooledSite(site.acts, site.sae, site.ids, site.first, pool.kept))

    key = key_of("pooled", proxy.key, pool.key) if proxy.key else ""
    return Proxy(f"{proxy.name} {pool.name}", replaced, key)


def mix(codes: Float[Tensor, "*rows d_sae"], block: int) -> Float[Tensor, "*rows d_sae"]:
    """Codes in blocks of `block` neighbours, each mixed by an orthogonal matrix; what fits no block
    stays.

    Each new latent of a block is a sum of all its latents with signs, divided by ``sqrt(block)`` (a
    Hadamard matrix: `block` is a power of two). Sums over the first latents of whole blocks are
    kept: ``mix(z)[:k] @ mix(D.T).T[:k] = z[:k] @ D[:k]``.
    """
    cut = codes.shape[-1] // block * block
    rotation = torch.tensor(hadamard(block) / block**0.5).to(codes)
    blocks = codes[..., :cut].unflatten(-1, (-1, block))
    return torch.cat([(blocks @ rotation).flatten(-2), codes[..., cut:]], dim=-1)


def mixed(sae: torch.nn.Module, order: Int[np.ndarray, "d_sae"], block: int) -> Proxy:
    """The SAE with its latents mixed in blocks of neighbours in `order`: the same reconstruction
    from other latents.

    Named "mixed_<block>". Its codes stand in the order given, so that its pool of k latents is
    ``pool(np.arange(k), d_sae)``. ValueError unless `block` is a power of two and at most the
    number of latents.
    """
    if block < 1 or block & (block - 1) or block > len(order):
        raise ValueError(
            f"latents are mixed in blocks of a power of two of at most {len(order)}, got {block}"
        )
    ranked = torch.from_numpy(np.ascontiguousarray(order))
    unit = torch.nn.functional.normalize(sae.W_dec, dim=1)
    atoms = (unit * atom_norms(sae)[:, None]).detach()[ranked]
    basis = mix(atoms.T, block).T

    def replace(site: Site) -> Tensor:
        return site.decode(mix(site.latents[..., ranked], block), basis)

    return Proxy(f"mixed_{block}", replace, key_of("mixed", block, digest(order.tobytes().hex())))


def best_atoms(
    codes: Float[Tensor, "n d_sae"], target: Float[Tensor, "n d_in"]
) -> Float[Tensor, "d_sae d_in"]:
    """Atoms that reconstruct `target` best from given codes, by least squares: the decoder of an
    encoder that is not trained."""
    gram = codes.T @ codes
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(gram + ridge, codes.T @ target)


def random_encoder(
    subject: Subject,
    discovery: Corpus,
    hook_name: str,
    mean: Float[Tensor, "d_in"],
    k: int,
    seed: int = 0,
) -> Proxy:
    """An encoder of random directions of which the `k` largest activations count, its atoms fitted
    on discovery.

    Named "random_<k>". As many latents as the SAE has, at most 4,096; the atoms fit best, by least
    squares, the native activations of the first 200 discovery sequences, less their `mean`.
    ValueError unless 1 <= k <= latents.
    """
    sae = subject.sae_at(hook_name)
    width = min(sae.cfg.d_sae, MAX_RANDOM)
    if not 1 <= k <= width:
        raise ValueError(f"{k} active latents asked of a random encoder of {width}")
    some = discovery.part(0, min(N_FITTED, len(discovery)))
    generator = torch.Generator().manual_seed(seed)
    torch.randn(_SKIPPED, generator=generator)
    drawn = torch.randn(width, sae.cfg.d_in, generator=generator)
    directions = torch.nn.functional.normalize(drawn, dim=1)

    def encode(acts: Tensor) -> Tensor:
        latents = ((acts - mean.to(acts)) @ directions.to(acts).T).relu()
        return latents * (latents >= latents.topk(k).values[..., -1:])

    @torch.no_grad()
    def build() -> Mapping[str, np.ndarray]:
        tokens = torch.from_numpy(some.tokens.astype(np.int64)).to(subject.device)
        acts = native_acts(subject.model, tokens, hook_name)[:, some.first :].flatten(0, 1)
        acts = acts.to(sae.W_dec.dtype)
        atoms = best_atoms(encode(acts), acts - mean.to(acts))
        return {"atoms": atoms.float().cpu().numpy()}

    settings = digest(k, seed, width, digest(mean.double().numpy().tobytes().hex()))
    key = identity(subject, some, hook_name, "random encoder", settings)
    atoms = torch.from_numpy(cached_arrays("random-encoder", key, build)["atoms"])

    def replace(site: Site) -> Tensor:
        return mean.to(site.read) + encode(site.read) @ atoms.to(site.read)

    return Proxy(f"random_{k}", replace, key_of("random_encoder", k, seed, key))
