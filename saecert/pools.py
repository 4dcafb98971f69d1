"""What the discovery split says about the latents: how often each fires, in which order to keep them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from saecert.corpora import Corpus
from saecert.forward import native_acts
from saecert.subjects import Subject


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
    mean: Float[Tensor, "d_in"]
    """Mean native activation."""
    sq_error: float
    """Sum over positions of the squared error of the reconstruction."""
    sq_deviation: float
    """Sum over positions of the squared distance of the activation from its mean."""

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, E||x - x_hat||^2 / E||x - E x||^2 pooled over tokens (predicting the mean scores 1)."""
        return self.sq_error / self.sq_deviation

    @property
    def l0(self) -> float:
        """Mean number of active latents per token."""
        return float(self.token_count.sum() / self.n_tokens)

    @property
    def silent(self) -> float:
        """Share of latents that are never active."""
        return float((self.token_count == 0).mean())

    @property
    def order(self) -> Int[np.ndarray, "d_sae"]:
        """Latents by the number of tokens they fire on, most frequent first; ties by index."""
        return np.argsort(-self.token_count, kind="stable")


@torch.no_grad()
def survey(subject: Subject, corpus: Corpus, hook_name: str, *, batch_size: int = 16, progress: bool = True) -> Survey:
    """Statistics of the SAE at `hook_name` on `corpus`, in one pass over the blocks up to it."""
    sae, first = subject.sae_at(hook_name), int(corpus.bos)
    d_in, d_sae = sae.cfg.d_in, sae.cfg.d_sae
    tokens_on, sequences_on = torch.zeros(d_sae, dtype=torch.int64), torch.zeros(d_sae, dtype=torch.int64)
    total, sq_norm, sq_error = torch.zeros(d_in, dtype=torch.float64), 0.0, 0.0
    for start in tqdm(range(0, len(corpus), batch_size), desc=f"survey {hook_name}", disable=not progress, leave=False):
        tokens = torch.from_numpy(corpus.tokens[start : start + batch_size].astype(np.int64)).to(subject.device)
        acts = native_acts(subject.model, tokens, hook_name)[:, first:]
        latents = sae.encode(acts)
        on = latents != 0
        tokens_on += on.sum(dim=(0, 1)).cpu()
        sequences_on += on.any(dim=1).sum(dim=0).cpu()
        total += acts.sum(dim=(0, 1)).double().cpu()
        sq_norm += acts.double().square().sum().item()
        sq_error += (acts - sae.decode(latents)).double().square().sum().item()
    n_tokens = len(corpus) * (corpus.n_ctx - first)
    mean = total / n_tokens
    return Survey(
        n_tokens,
        len(corpus),
        tokens_on.numpy(),
        sequences_on.numpy(),
        mean.float(),
        sq_error,
        sq_norm - n_tokens * mean.square().sum().item(),
    )
