"""Single activations of a text, a few positions of each sequence, as an SAE's atoms see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64

from saecert.corpora.corpus import Corpus
from saecert.dictionaries.lasso import Atoms, Codes, Data, checked_codes
from saecert.measurement.identity import digest
from saecert.measurement.loop import Batch, Quantity, Values, run
from saecert.measurement.site import Site, atom_norms
from saecert.subjects import forward
from saecert.subjects.subject import Subject


class AsAtoms(NamedTuple):
    """An SAE's view of some activations, in the units of its decoder."""

    x: Data
    """What is reconstructed: activations as the SAE reads them, less the decoder's bias."""
    atoms: Atoms
    """Decoder rows of norm 1."""
    codes: Codes
    """Codes of the encoder, times the norms of the rows."""


def chosen_positions(
    ids: UInt64[np.ndarray, "n_seq"], first: int, n_ctx: int, count: int, seed: int
) -> Int[np.ndarray, "n_seq count"]:
    """Random positions of each sequence, ascending, without BOS: keyed by the sequence's hash.

    ValueError for more positions than there are.
    """
    if not 1 <= count <= n_ctx - first:
        raise ValueError(
            f"per_sequence must be 1 to {n_ctx - first}, the positions that count, got {count}"
        )
    places = np.arange(first, n_ctx)
    chosen = [np.random.default_rng([seed, int(i)]).permutation(places)[:count] for i in ids]
    return np.sort(np.array(chosen).reshape(len(ids), count), axis=1)


def sampled_activations(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    per_sequence: int,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, Float[np.ndarray, "n_seq per_sequence d_in"]]:
    """Native activations at `per_sequence` random positions of every sequence, by hook point.

    Kept in the cache folder. ValueError for more positions than a sequence has.
    """
    chosen_positions(corpus.ids[:1], corpus.first, corpus.n_ctx, per_sequence, seed)
    measure = partial(_acts, per_sequence=per_sequence, seed=seed)
    quantity = Quantity("activations", digest(per_sequence, seed), measure, tuple(hook_names))
    found = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {name: found[name]["acts"] for name in hook_names}


@torch.no_grad()
def as_atoms(subject: Subject, hook_name: str, acts: Float[np.ndarray, "n d_in"]) -> AsAtoms:
    """Activations, atoms and the encoder's codes of the SAE at a hook point.

    ValueError for an SAE with negative codes, or one that decodes in another way than by adding up
    its atoms.
    """
    sae = subject.sae_at(hook_name)
    read = torch.from_numpy(np.asarray(acts, dtype=np.float32)).to(subject.device)
    if not isinstance(sae, Site.linear):
        raise ValueError(
            f"the SAE at '{hook_name}' ({type(sae).__name__}) is not known to decode by adding up "
            "atoms: its optimum is that of another objective"
        )
    latents = sae.encode(read.to(sae.W_dec.dtype)).double()
    scaled = sae.run_time_activation_norm_fn_in(read.to(sae.W_dec.dtype))
    x = (scaled - sae.b_dec).double().cpu().numpy()
    rows = sae.W_dec.double().cpu().numpy()
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    atoms = rows / np.where(norms > 0, norms, 1)
    codes = (latents * atom_norms(sae).double()).cpu().numpy()
    return AsAtoms(x, atoms, checked_codes(codes, x, atoms))


def _acts(
    subject: Subject, batch: Batch, hook_names: Sequence[str], per_sequence: int, seed: int
) -> Mapping[str, Values]:
    n_ctx = batch.tokens.shape[1]
    places = chosen_positions(batch.ids, batch.first, n_ctx, per_sequence, seed)
    rows = np.arange(len(places))[:, None]
    acts = forward.native_acts_at(subject.model, batch.tokens, hook_names)
    return {name: {"acts": acts[name][rows, places].float().cpu()} for name in hook_names}
