"""Surveys of the latents on the discovery split, and their attributions: measured by the one
loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.batch import site_at
from saecert.measurement.loop import Batch, Quantity, Total, Values, run
from saecert.measurement.ranking import RANKINGS, Survey, check_ranking
from saecert.measurement.scoring import loss_gradient
from saecert.measurement.site import atom_norms
from saecert.subjects.forward import final_residual, native_acts, native_acts_at
from saecert.subjects.subject import Subject

__all__ = [
    "N_ATTRIBUTION",
    "RANKINGS",
    "Survey",
    "attribution",
    "check_ranking",
    "survey",
    "survey_layers",
]

N_ATTRIBUTION = 200
"""Discovery sequences on which `attribution` is measured for a ranking."""


def survey(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> Survey:
    """Statistics of the SAE at `hook_name` on `corpus`, in one pass over the blocks up to it.

    Kept in the cache folder; an interrupted survey goes on from where it was.
    """
    surveys = survey_layers(subject, corpus, [hook_name], batch_size=batch_size, progress=progress)
    return surveys[hook_name]


def survey_layers(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> dict[str, Survey]:
    """`survey` of several hook points in one pass over the blocks up to the last of them, by hook
    name."""
    quantity = Quantity("survey", "", _tally, tuple(hook_names))
    tallies = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return {
        hook_name: _survey(subject.sae_at(hook_name), tallies[hook_name])
        for hook_name in hook_names
    }


def attribution(
    subject: Subject,
    corpus: Corpus,
    hook_name: str,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> Float[np.ndarray, "d_sae"]:
    """How much each latent's contribution moves the loss to first order, summed over positions
    without sign.

    At a position where latent j has activation a and the loss (raw bits per token of that sequence,
    in the LM with the SAE's reconstruction spliced in) has gradient g by the reconstruction,
    removing the latent changes the loss by ``-a d_j . g`` to first order, d_j being its decoder row
    (attribution patching, Syed et al. 2023). Costs a suffix run and its gradient. Kept in the cache
    folder.
    """
    quantity = Quantity("attribution", "", _attributions, (hook_name,))
    totals = run(subject, corpus, quantity, batch_size=batch_size, progress=progress)
    return totals[hook_name]["attribution"]


def _tally(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
    """What a survey adds up, of one batch."""
    acts = native_acts_at(subject.model, batch.tokens, hook_names)
    return {
        hook_name: _sums(subject.sae_at(hook_name), acts[hook_name][:, batch.first :])
        for hook_name in hook_names
    }


def _sums(sae: SAE, acts: Float[Tensor, "batch pos d_in"]) -> dict[str, Total]:
    latents = sae.encode(acts)
    active = latents != 0
    flat = acts.flatten(0, 1).double()
    # norms in float32 as before: the squares of few numbers of one latent
    norms = latents.flatten(0, 1).norm(dim=0, dtype=torch.float32)
    sums = {
        "n_tokens": torch.tensor(len(flat)),
        "n_seq": torch.tensor(len(acts)),
        "token_count": active.sum(dim=(0, 1)),
        "sequence_count": active.any(dim=1).sum(dim=0),
        "sq_latents": norms.double().square(),
        "sum": flat.sum(dim=0),
        "products": flat.T @ flat,
        "sq_error": (acts - sae.decode(latents)).double().square().sum(),
    }
    return {name: Total(values) for name, values in sums.items()}


def _survey(sae: SAE, tally: dict[str, np.ndarray]) -> Survey:
    n_tokens = int(tally["n_tokens"])
    mean = torch.from_numpy(tally["sum"]) / n_tokens
    products = torch.from_numpy(tally["products"])
    lengths = atom_norms(sae).detach().double().cpu().numpy()
    return Survey(
        n_tokens=n_tokens,
        n_seq=int(tally["n_seq"]),
        token_count=tally["token_count"],
        sequence_count=tally["sequence_count"],
        energy=tally["sq_latents"] * lengths**2,
        centre=mean.float().numpy(),
        covariance=(products / n_tokens - torch.outer(mean, mean)).numpy(),
        sq_error=float(tally["sq_error"]),
    )


def _attributions(subject: Subject, batch: Batch, hook_names: Sequence[str]) -> dict[str, Values]:
    return {
        hook_name: {"attribution": Total(_attribution(subject, batch, hook_name))}
        for hook_name in hook_names
    }


def _attribution(subject: Subject, batch: Batch, hook_name: str) -> Float[Tensor, "d_sae"]:
    acts = native_acts(subject.model, batch.tokens, hook_name)
    site = site_at(subject, batch, hook_name, acts)
    codes = site.latents
    with torch.enable_grad():
        codes.requires_grad_()
        spliced = site.splice(site.recons)
        residual = final_residual(subject.model, batch.tokens, hook_name, spliced)
        gradient = loss_gradient(subject.model, residual, batch.tokens)
        (by_code,) = torch.autograd.grad(residual, codes, gradient)
    return (codes.detach() * by_code).abs_().sum(dim=(0, 1)).double()
