"""What the discovery split says about the latents, and in which order to keep them (numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from saecert.measurement.quality import fraction_unexplained

if TYPE_CHECKING:
    from torch import Tensor

RANKINGS = ("frequency", "energy", "attribution")
"""What latents may be ranked by, see `Survey.ranking`."""


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
    centre: Float[np.ndarray, "d_in"]
    """Mean native activation (float32)."""
    covariance: Float[np.ndarray, "d_in d_in"]
    """Covariance of the native activation (float64)."""
    sq_error: float
    """Sum over positions of the squared error of the reconstruction."""
    attribution: Float[np.ndarray, "d_sae"] | None = None
    """Sum over positions of the loss that each latent's contribution moves, to first order; None
    when not measured."""

    @property
    def mean(self) -> Tensor:
        """Mean native activation, as a tensor for `saecert.measurement.proxies`."""
        import torch  # rankings need none of it

        return torch.from_numpy(self.centre)

    @cached_property
    def variances(self) -> Float[np.ndarray, "d_in"]:
        """Variances of the native activation along its principal directions, largest first."""
        return np.linalg.eigvalsh(self.covariance)[::-1].clip(0)

    @cached_property
    def directions(self) -> Float[np.ndarray, "d_in d_in"]:
        """Principal directions, one a row: orthonormal eigenvectors of the covariance (float32)."""
        import torch

        _, vectors = torch.linalg.eigh(torch.from_numpy(self.covariance))
        return vectors.T.flip(0).float().numpy()

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, pooled over tokens (`saecert.measurement.quality`)."""
        return fraction_unexplained(self.sq_error, self.n_tokens * float(self.covariance.trace()))

    @property
    def l0(self) -> float:
        """Mean number of active latents per token."""
        return float(self.token_count.sum() / self.n_tokens)

    @property
    def silent(self) -> float:
        """Share of latents that are never active."""
        return float((self.token_count == 0).mean())

    def ranking(self, rule: str = "frequency") -> Int[np.ndarray, "d_sae"]:
        """Latents from first to last by one of `RANKINGS`; ties by index.

        ValueError for others and for what was not measured.
        """
        check_ranking(rule)
        scores = {
            "frequency": self.token_count,
            "energy": self.energy,
            "attribution": self.attribution,
        }
        if scores[rule] is None:
            raise ValueError(
                "attribution was not measured: "
                "replace(survey, attribution=attribution(subject, corpus, hook_name))"
            )
        return np.argsort(-scores[rule], kind="stable")

    def components(self, k: int) -> Float[Tensor, "k d_in"]:
        """The `k` leading principal directions, for `saecert.measurement.proxies.pca`.

        ValueError unless 1 <= k <= d_in.
        """
        import torch

        width = len(self.centre)
        if not 1 <= k <= width:
            raise ValueError(f"{k} components asked of activations of width {width}")
        return torch.from_numpy(self.directions[:k])

    def n_components(self, fvu: float) -> int:
        """The smallest number of principal components, at least 1, that leaves a share of at most
        `fvu` of the variance unexplained."""
        left = 1 - np.cumsum(self.variances) / self.variances.sum()
        left[-1] = 0.0  # all of them leave nothing, whatever the rounding
        return int(np.argmax(left <= fvu)) + 1


def check_ranking(rule: str) -> None:
    """Raise ValueError unless latents can be ranked by `rule`."""
    if rule not in RANKINGS:
        raise ValueError(f"unknown ranking '{rule}'; there are {', '.join(RANKINGS)}")
