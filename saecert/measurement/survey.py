"""What the discovery split says about the latents: how often each fires, what it carries, in which order to keep them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sae_lens import SAE
from torch import Tensor

from saecert.corpora.corpus import Corpus
from saecert.measurement.proxies import Site, atom_norms
from saecert.measurement.scoring import loss_gradient
from saecert.subjects.forward import final_residual, native_acts, native_acts_at
from saecert.subjects.subject import Subject

RANKINGS = ("frequency", "energy", "attribution")
"""What latents may be ranked by, see `Survey.ranking`."""
N_ATTRIBUTION = 200
"""Discovery sequences on which `attribution` is measured."""


@dataclass(frozen=True)
class Survey:
    """Statistics of one SAE on one corpus, BOS left out."""

    n_tokens: int
    """Positions counted."""
    n_seq: int
    """Sequences counted."""
    token_count: Int[np.ndarray, "d_sae"]
    """Positions at which each latent is active."""
    sequence_count: Int[np.ndarray, "d_sae"]
    """Sequences in which each latent is active at least once."""
    energy: Float[np.ndarray, "d_sae"]
    """Sum over positions of each latent's activation times the norm of its decoder row, squared."""
    mean: Float[Tensor, "d_in"]
    """Mean native activation."""
    variances: Float[np.ndarray, "d_in"]
    """Variances of the native activation along its principal directions, largest first (float64)."""
    directions: Float[np.ndarray, "d_in d_in"]
    """Principal directions, one a row: orthonormal eigenvectors of the covariance of the native activation."""
    sq_error: float
    """Sum over positions of the squared error of the reconstruction."""
    attribution: Float[np.ndarray, "d_sae"] | None = None
    """Sum over positions of the loss that each latent's contribution moves, to first order; None when not measured."""

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, E||x - x_hat||^2 / E||x - E x||^2 pooled over tokens (predicting the mean scores 1)."""
        return self.sq_error / (self.n_tokens * float(self.variances.sum()))

    @property
    def l0(self) -> float:
        """Mean number of active latents per token."""
        return float(self.token_count.sum() / self.n_tokens)

    @property
    def silent(self) -> float:
        """Share of latents that are never active."""
        return float((self.token_count == 0).mean())

    def ranking(self, rule: str = "frequency") -> Int[np.ndarray, "d_sae"]:
        """Latents from first to last by one of `RANKINGS`; ties by index. ValueError for others and for what was not measured."""
        check_ranking(rule)
        score = {
            "frequency": self.token_count,
            "energy": self.energy,
            "attribution": self.attribution,
        }[rule]
        if score is None:
            raise ValueError(
                "attribution was not measured: replace(survey, attribution=attribution(subject, corpus, hook_name))"
            )
        return np.argsort(-score, kind="stable")

    def components(self, k: int) -> Float[Tensor, "k d_in"]:
        """The `k` leading principal directions, for `saecert.measurement.proxies.pca`; ValueError unless 1 <= k <= d_in."""
        if not 1 <= k <= len(self.variances):
            raise ValueError(f"{k} components asked of activations of width {len(self.variances)}")
        return torch.from_numpy(self.directions[:k])

    def n_components(self, fvu: float) -> int:
        """The smallest number of principal components, at least 1, that leaves a share of at most `fvu` of the variance unexplained."""
        left = 1 - np.cumsum(self.variances) / self.variances.sum()
        left[-1] = 0.0  # all of them leave nothing, whatever the rounding
        return int(np.argmax(left <= fvu)) + 1


def check_ranking(rule: str) -> None:
    """Raise ValueError unless latents can be ranked by `rule`."""
    if rule not in RANKINGS:
        raise ValueError(f"unknown ranking '{rule}'; there are {', '.join(RANKINGS)}")


def survey(
    subject: Subject, corpus: Corpus, hook_name: str, *, batch_size: int = 16, progress: bool = True
) -> Survey:
    """Statistics of the SAE at `hook_name` on `corpus`, in one pass over the blocks up to it."""
    return survey_layers(subject, corpus, [hook_name], batch_size=batch_size, progress=progress)[
        hook_name
    ]


@torch.no_grad()
def survey_layers(
    subject: Subject,
    corpus: Corpus,
    hook_names: Sequence[str],
    *,
    batch_size: int = 16,
    progress: bool = True,
) -> dict[str, Survey]:
    """`survey` of several hook points in one pass over the blocks up to the last of them."""
    tallies = {hook_name: _Tally(subject.sae_at(hook_name)) for hook_name in hook_names}
    for _, tokens in corpus.batches(
        batch_size, subject.device, f"survey {' '.join(hook_names)}", progress
    ):
        for hook_name, acts in native_acts_at(subject.model, tokens, hook_names).items():
            tallies[hook_name].add(acts[:, int(corpus.bos) :])
    return {hook_name: tally.survey() for hook_name, tally in tallies.items()}


def attribution(
    subject: Subject, corpus: Corpus, hook_name: str, *, batch_size: int = 16, progress: bool = True
) -> Float[np.ndarray, "d_sae"]:
    """How much each latent's contribution moves the loss to first order, summed over positions without sign.

    At a position where latent j has activation a and the loss (raw bits per token of that sequence, in the LM with the SAE's
    reconstruction spliced in) has gradient g by the reconstruction, removing the latent changes the loss by ``-a d_j . g`` to
    first order, d_j being its decoder row (attribution patching, Syed et al. 2023). Costs a suffix run and its gradient.
    """
    sae, ids, total = subject.sae_at(hook_name), corpus.ids, 0.0
    for rows, tokens in corpus.batches(
        batch_size, subject.device, f"attribution {hook_name}", progress
    ):
        site = Site(native_acts(subject.model, tokens, hook_name), sae, ids[rows], int(corpus.bos))
        with torch.no_grad():
            codes = site.latents
        codes.requires_grad_()
        residual = final_residual(subject.model, tokens, hook_name, site.splice(site.recons))
        (by_code,) = torch.autograd.grad(
            residual, codes, loss_gradient(subject.model, residual, tokens)
        )
        total += (codes.detach() * by_code).abs_().sum(dim=(0, 1)).double().cpu()
    return total.numpy()


class _Tally:
    """Running sums over batches of activations at one hook point."""

    def __init__(self, sae: SAE) -> None:
        d_in, d_sae, device = sae.cfg.d_in, sae.cfg.d_sae, sae.W_dec.device
        self.sae, self.n_tokens, self.n_seq, self.sq_error = sae, 0, 0, 0.0
        self.counts = torch.zeros(2, d_sae, dtype=torch.int64, device=device)
        self.sq_acts = torch.zeros(d_sae, dtype=torch.float64, device=device)
        self.total = torch.zeros(d_in, dtype=torch.float64, device=device)
        self.products = torch.zeros(d_in, d_in, dtype=torch.float64, device=device)

    def add(self, acts: Float[Tensor, "batch pos d_in"]) -> None:
        latents = self.sae.encode(acts)
        on, flat = latents != 0, acts.flatten(0, 1).double()
        self.n_tokens, self.n_seq = self.n_tokens + len(flat), self.n_seq + len(acts)
        self.counts += torch.stack([on.sum(dim=(0, 1)), on.any(dim=1).sum(dim=0)])
        self.sq_acts += latents.flatten(0, 1).norm(dim=0, dtype=torch.float32).double().square()
        self.total += flat.sum(dim=0)
        self.products += flat.T @ flat
        self.sq_error += (acts - self.sae.decode(latents)).double().square().sum().item()

    def survey(self) -> Survey:
        mean = self.total / self.n_tokens
        variances, directions = torch.linalg.eigh(
            self.products / self.n_tokens - torch.outer(mean, mean)
        )
        energy = self.sq_acts * atom_norms(self.sae).double().square()
        return Survey(
            self.n_tokens,
            self.n_seq,
            *self.counts.cpu().numpy(),
            energy.cpu().numpy(),
            mean.float().cpu(),
            variances.flip(0).clamp_min(0).cpu().numpy(),
            directions.T.flip(0).float().cpu().numpy(),
            self.sq_error,
        )
