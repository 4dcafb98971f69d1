"""Is this the SAE of this place? A look at a few sequences before anything is measured with it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.subjects.forward import hook_layer, native_acts_at
from saecert.subjects.subject import Subject

MIN_EXPLAINED = 0.3
"""Least share of the variance that an SAE must explain where it belongs."""
L0_FACTOR = 3
"""How far the number of active latents may be from what the SAE's release lists."""
SCALES = tuple(2 ** (half / 2) for half in range(-12, 13))
"""Rescalings of the activation that are tried on an SAE that does not fit."""


def check_sae(
    subject: Subject, corpus: Corpus, hook_name: str, *, n_seq: int = 4, allow_bad_sae: bool = False
) -> dict[str, Any]:
    """What the SAE at `hook_name` does on the first `n_seq` sequences of `corpus`, for the record.

    Explained variance, 1 - E||x - x_hat||^2 / E||x - E x||^2 pooled over tokens without BOS, must lie in [0.3, 1], and the
    mean number of active latents within a factor 3 of what the release lists, if it lists one. An SAE that fails is also tried
    on rescaled and on centred activations, and the message names what fits best: the usual mistakes are an index that counts
    from 1, an activation scaling that was not folded in, and writing weights that were not centred.

    Returns ``explained_variance``, ``l0``, ``listed_l0`` (or None), ``best_at``, the hook point up to two layers away that the
    SAE explains best, ``n_seq``, and ``problem``, which is None if all is well. An SAE one layer away from its place often
    passes, since neighbouring layers are alike: only ``best_at`` shows it, and it is no proof.

    Raises
    ------
    ValueError
        If the SAE fails and `allow_bad_sae` is not set (with it, the diagnosis is returned as ``problem``), or is of another
        width than the activation.
    """
    corpus, sae = corpus.take(min(n_seq, len(corpus))), subject.sae_at(hook_name)
    listed = float(subject.listed.get(hook_name, {}).get("l0") or sae.cfg.metadata.l0 or 0) or None
    tokens = torch.from_numpy(corpus.tokens.astype(np.int64)).to(subject.device)
    around = native_acts_at(subject.model, tokens, _layers_around(subject, hook_name))
    around = {name: acts[:, int(corpus.bos) :] for name, acts in around.items()}
    acts, width = around[hook_name], around[hook_name].shape[-1]
    if width != sae.cfg.d_in:
        raise ValueError(
            f"the SAE at '{hook_name}' has d_in={sae.cfg.d_in} but the activation there has width {width}: another model's SAE?"
        )
    here = {name: fit(sae, other) for name, other in around.items()}
    (explained, l0), best_at = here[hook_name], max(here, key=lambda name: here[name][0])
    facts = {
        "explained_variance": round(explained, 4),
        "l0": round(l0, 2),
        "listed_l0": listed,
        "best_at": best_at,
        "n_seq": len(corpus),
    }
    if fits(explained, l0, listed):
        return {**facts, "problem": None}
    tried = {
        f"at '{name}': was it trained there?": found
        for name, found in here.items()
        if name != hook_name
    }
    centred = acts - acts.mean(dim=-1, keepdim=True)
    tried["on centred activations: load the model with center_writing_weights=True"] = fit(
        sae, centred
    )
    rescaled = (
        "on activations times about {0:.3g}: sae.fold_activation_norm_scaling_factor({0:.3g})"
    )
    usual = (
        width**0.5 / acts.norm(dim=-1).mean().item()
    )  # what "expected_average_only_in" of sae_lens means
    tried[rescaled.format(usual)] = fit(sae, acts, usual)
    if not any(fits(*found, listed) for found in tried.values()):
        tried |= {rescaled.format(scale): fit(sae, acts, scale) for scale in SCALES}
    suspect, (best, active) = max(
        tried.items(), key=lambda item: (fits(*item[1], listed), item[1][0])
    )
    better = f"It fits best {suspect} (explains {best:.2f} with {active:.3g})"
    if not fits(best, active, listed):
        better = "No layer around, rescaling or centring helps: another model's SAE, another processing of the weights, or half-trained"
    listing = (
        f" (its release lists {listed:.3g}; a factor {L0_FACTOR} is let pass)" if listed else ""
    )
    problem = (
        f"the SAE at '{hook_name}' explains {explained:.2f} of the variance (at least {MIN_EXPLAINED} is asked for) with {l0:.3g} "
        f"active latents{listing} on {len(corpus)} sequences. {better}. allow_bad_sae=True measures it all the same, and records this"
    )
    if not allow_bad_sae:
        raise ValueError(problem)
    return {**facts, "problem": problem}


def fits(explained: float, l0: float, listed: float | None) -> bool:
    """Whether an SAE may be measured: enough variance explained, and about as many active latents as listed."""
    return MIN_EXPLAINED <= explained <= 1 and (
        not listed or listed / L0_FACTOR <= l0 <= listed * L0_FACTOR
    )


@torch.no_grad()
def fit(sae: SAE, acts: Float[Tensor, "seq pos d_in"], scale: float = 1.0) -> tuple[float, float]:
    """Explained variance and mean number of active latents, had the SAE been built for `scale` times the activation."""
    error, active = 0.0, 0.0
    for one in acts:  # a sequence at a time: the latents of a wide SAE are large
        latents = sae.encode(one * scale)
        error += (one.double() - sae.decode(latents).double() / scale).square().sum().item()
        active += (latents != 0).sum().item()
    flat = acts.flatten(0, 1).double()
    return 1 - error / (flat - flat.mean(dim=0)).square().sum().item(), active / len(flat)


def _layers_around(subject: Subject, hook_name: str) -> list[str]:
    """The same hook point in this layer and up to two layers before and after."""
    layers = range(hook_layer(hook_name) - 2, hook_layer(hook_name) + 3)
    return [
        re.sub(r"\d+", str(layer), hook_name, count=1)
        for layer in layers
        if 0 <= layer < subject.n_layers
    ]
