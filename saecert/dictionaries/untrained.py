"""An SAE that learned nothing of its own latents: random directions, atoms fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import TopKSAE, TopKSAEConfig
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.controls import MAX_RANDOM, N_FITTED, best_atoms
from saecert.measurement.identity import digest, identity
from saecert.storage import cached_arrays
from saecert.subjects.forward import native_acts
from saecert.subjects.subject import Subject


def untrained(
    subject: Subject,
    discovery: Corpus,
    hook_name: str,
    *,
    k: int,
    mean: Float[Tensor, "d_in"],
    seed: int = 0,
) -> Subject:
    """The subject with an untrained SAE at `hook_name`, and no other.

    A TopK SAE with as many latents as the SAE there, at most 4,096: its encoder has random unit
    directions, of which the `k` largest activations count; its bias is `mean`, its atoms fit the
    native activations of the first 200 discovery sequences best, by least squares. So it is
    `saecert.measurement.controls.random_encoder` with latents that can be looked at. The atoms are
    kept in the cache folder.

    Raises
    ------
    ValueError
        Unless 1 <= k <= latents; a hook point without an SAE.
    """
    trained = subject.sae_at(hook_name)
    width = min(trained.cfg.d_sae, MAX_RANDOM)
    if not 1 <= k <= width:
        raise ValueError(f"{k} active latents asked of an untrained SAE of {width}")
    config = TopKSAEConfig(d_in=trained.cfg.d_in, d_sae=width, k=k)
    config.dtype = str(trained.W_dec.dtype).removeprefix("torch.")
    sae = TopKSAE(config).to(subject.device)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(width, trained.cfg.d_in, generator=generator)
    directions = torch.nn.functional.normalize(drawn, dim=1)
    with torch.no_grad():
        sae.W_enc.copy_(directions.T)
        sae.b_enc.zero_()
        sae.b_dec.copy_(mean)
    some = discovery.part(0, min(N_FITTED, len(discovery)))

    @torch.no_grad()
    def build() -> Mapping[str, np.ndarray]:
        tokens = torch.from_numpy(some.tokens.astype(np.int64)).to(subject.device)
        acts = native_acts(subject.model, tokens, hook_name)[:, some.first :].flatten(0, 1)
        acts = acts.to(sae.W_dec.dtype)
        atoms = best_atoms(sae.encode(acts), acts - sae.b_dec)
        return {"atoms": atoms.float().cpu().numpy()}

    settings = digest(k, seed, width, digest(mean.double().numpy().tobytes().hex()))
    key = identity(subject, some, hook_name, "untrained", settings)
    atoms = cached_arrays("untrained", key, build)["atoms"]
    with torch.no_grad():
        sae.W_dec.copy_(torch.from_numpy(atoms))
    return replace(subject, saes={hook_name: sae}, listed={}, sae_names={}, hook_mismatches={})
