"""The largest of many numbers on a CPU: what sae_lens and torch pick, to the bit, but sooner.

`torch.topk` sorts pairs of values and places. Which values are kept is known from the smallest of
them alone, and numpy finds that one by partition, without any place.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from sae_lens import BatchTopKTrainingSAE, TrainingSAE
from sae_lens.saes.batchtopk_sae import BatchTopK
from sae_lens.saes.topk_sae import TopK
from torch import Tensor, nn

_SLACK = 0.75  # of the least value kept: how far it may fall from one batch to the next


class SoonerTopK(TopK):
    """`sae_lens.saes.topk_sae.TopK`: the k largest of each row, those below 0 as 0."""

    def forward(self, x: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_sae"]:
        """As in sae_lens; ties for the last place, and NaN, are left to it."""
        if x.device.type != "cpu" or self.use_sparse_activations or self.k > x.shape[-1]:
            return super().forward(x)
        values = x.detach().numpy()
        place = x.shape[-1] - self.k
        least = np.partition(values, place, axis=-1)[..., place : place + 1]
        chosen = torch.from_numpy(values >= least)
        if (chosen.sum(dim=-1) != self.k).any():
            return super().forward(x)
        return torch.where(chosen, x, 0).relu()


class SoonerBatchTopK(BatchTopK):
    """`sae_lens.saes.batchtopk_sae.BatchTopK`: k a row on average, the largest of all rows."""

    _bound = 0.0
    """Most likely below what the next batch keeps: the numbers above it are partitioned alone."""

    def forward(self, x: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_sae"]:
        """As in sae_lens; ties for the last place, and NaN, are left to it."""
        n_active = int(self.k * x.shape[:-1].numel())
        if x.device.type != "cpu" or not 0 < n_active <= x.numel():
            return super().forward(x)
        acts = x.relu()
        values = acts.detach().numpy().ravel()
        if np.isnan(values.max()):
            return super().forward(x)
        candidates = values[values > self._bound]
        if len(candidates) < n_active:
            candidates = values[values > 0]
        if len(candidates) < n_active:  # fewer are positive: all of these
            return acts
        place = len(candidates) - n_active
        least = np.partition(candidates, place)[place]
        self._bound = _SLACK * float(least)
        chosen = values >= least
        if np.count_nonzero(chosen) != n_active:
            return super().forward(x)
        return torch.where(torch.from_numpy(chosen).view(x.shape), acts, 0)


class SoonerThreshold(BatchTopKTrainingSAE):
    """`sae_lens.BatchTopKTrainingSAE`, whose running threshold is found without a list of all
    positive latents."""

    def update_topk_threshold(self, acts_topk: Float[Tensor, "*rows d_sae"]) -> None:
        """As in sae_lens."""
        least = torch.where(acts_topk > 0, acts_topk, torch.inf).min()
        super().update_topk_threshold(least if least.isfinite() else acts_topk)


def hasten(sae: TrainingSAE) -> None:
    """Give a TopK or BatchTopK SAE that is to be trained its sooner activation function."""
    chosen: nn.Module = sae.activation_fn
    if type(chosen) is TopK:
        sae.activation_fn = SoonerTopK(chosen.k, chosen.use_sparse_activations)
    elif type(chosen) is BatchTopK:
        sae.activation_fn = SoonerBatchTopK(chosen.k)


def largest_of(parts: Iterable[Float[Tensor, "_"]], n: int) -> Float[Tensor, "_"]:
    """The `n` largest values of all parts, in no order; all of them if there are no more.

    NaN counts as larger than any number.

    >>> float(largest_of([torch.tensor([1.0, 5.0]), torch.tensor([4.0, 2.0])], 2).min())
    4.0
    """
    largest = np.empty(0, dtype=np.float32)
    for part in parts:
        values = part.numpy()
        if 0 < n <= len(largest):
            values = values[~(values <= largest.min())]
        values = np.concatenate([largest, values])
        place = max(0, len(values) - n)
        largest = np.partition(values, place)[place:] if len(values) else values
    return torch.from_numpy(largest)
