"""How good a trained SAE is on held-out activations, with and without outlier tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from sae_lens import SAE

from saecert.measurement.quality import OUTLIER_FACTOR, explained_variance

BATCH = 4_096
"""Activations encoded at once."""


def outlier_tokens(acts: Float[np.ndarray, "n d_in"]) -> Bool[np.ndarray, "n"]:
    """Which activations have a norm above `OUTLIER_FACTOR` times the median norm.

    >>> outlier_tokens(np.array([[1.0], [-1.0], [2.0], [9.0]]))
    array([False, False, False, False])
    >>> outlier_tokens(np.array([[1.0], [-1.0], [1.0], [9.0]]))
    array([False, False, False,  True])
    """
    norms = np.linalg.norm(acts.astype(np.float64), axis=1)
    return norms > OUTLIER_FACTOR * np.median(norms)


@torch.no_grad()
def held_out_figures(sae: SAE, acts: Float[np.ndarray, "n d_in"], k: int) -> dict[str, Any]:
    """Quality of an SAE on activations, with PCA of `k` components beside it.

    Explained variance is pooled over the tokens it is about: "all", or "without_outliers", with the
    mean of just these. A few tokens of huge norm can hold most of the variance of all, so that the
    two say different things. PCA is fitted on the very tokens that it is judged on: no affine map
    of rank `k` explains more of them. Keys: "n_tokens", "outlier_share", "median_norm", "l0",
    "silent" (share of latents active on none of these tokens), "explained_variance",
    "pca_explained_variance".
    """
    outlier = outlier_tokens(acts)
    n_active = np.zeros(len(acts))
    sq_error = np.zeros(len(acts))
    fired = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    for start in range(0, len(acts), BATCH):
        rows = slice(start, start + BATCH)
        native = torch.from_numpy(acts[rows].astype(np.float32))
        latents = sae.encode(native)
        error = (native.double() - sae.decode(latents).double()).square().sum(dim=-1)
        sq_error[rows] = error.numpy()
        n_active[rows] = (latents != 0).sum(dim=-1).numpy()
        fired |= (latents != 0).any(dim=0)
    sets = {"all": np.ones(len(acts), dtype=bool), "without_outliers": ~outlier}
    variances = {name: _variances(acts[tokens]) for name, tokens in sets.items()}
    return {
        "n_tokens": len(acts),
        "outlier_share": float(outlier.mean()),
        "median_norm": float(np.median(np.linalg.norm(acts.astype(np.float64), axis=1))),
        "l0": float(n_active.mean()),
        "silent": float(1 - fired.float().mean()),
        "explained_variance": {
            name: float(explained_variance(sq_error[tokens].mean(), variances[name].sum()))
            for name, tokens in sets.items()
        },
        "pca_explained_variance": {
            name: float(explained_variance(values[k:].sum(), values.sum()))
            for name, values in variances.items()
        },
    }


def figures_line(hook_name: str, figures: dict[str, Any], k: int) -> str:
    """The figures of one SAE, for people."""
    explained = figures["explained_variance"]
    pca = figures["pca_explained_variance"]
    return (
        f"{hook_name}: explains {explained['all']:.3f} of the variance of held-out activations, "
        f"{explained['without_outliers']:.3f} without the {100 * figures['outlier_share']:.2g} % "
        f"of outlier tokens (PCA with {k}: {pca['all']:.3f}, {pca['without_outliers']:.3f}); "
        f"L0 {figures['l0']:.1f}, {100 * figures['silent']:.1f} % silent"
    )


def _variances(acts: Float[np.ndarray, "n_tokens d_in"]) -> Float[np.ndarray, "d_in"]:
    """Variances along the principal directions, largest first."""
    values = acts.astype(np.float64)
    centred = values - values.mean(axis=0)
    return np.linalg.eigvalsh(centred.T @ centred / len(values))[::-1].clip(0)
