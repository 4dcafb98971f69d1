"""What norms say of the coherence of a dictionary, and what its size says (no torch)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def eps_lbo(norm_z: Any, norm_f: Any, d_sae: int) -> Any:
    """The published ``| ||z||^2 - ||f~||^2 | / ((h - 1) ||f~||^2)`` from norms alone, h = `d_sae`.

    What eps must be for the norms to agree, were the reconstruction exact and all h latents active
    alike (arXiv 2503.24277). Infinite where no latent is active and no bias is added.

    Parameters
    ----------
    norm_z, norm_f
        Norms of activations and of codes: numbers, arrays or tensors of one shape.
    d_sae
        Number of latents.

    Raises
    ------
    ValueError
        Fewer than two latents, norms of different shapes, negative, not finite, or a zero `norm_z`.

    Examples
    --------
    >>> eps_lbo(3.0, 2.0, 6).item()
    0.25
    """
    if d_sae < 2:
        raise ValueError(f"d_sae={d_sae}: the angle between atoms needs two of them")
    z, f = (x if hasattr(x, "detach") else np.asarray(x, dtype=float) for x in (norm_z, norm_f))
    if tuple(z.shape) != tuple(f.shape):
        raise ValueError(
            f"norm_z and norm_f are of different tokens: shapes {tuple(z.shape)} and "
            f"{tuple(f.shape)}"
        )
    valid = (z > 0) & (z < math.inf) & (f >= 0) & (f < math.inf)
    if not valid.all():
        raise ValueError("norms are finite, of codes at least 0, and of activations above 0")
    squares = f**2
    with np.errstate(divide="ignore"):
        return abs(z**2 - squares) / ((d_sae - 1) * squares)


def welch_limit(n_atoms: int, d_in: int) -> float:
    """What the coherence of so many atoms in `d_in` dimensions cannot be below (Welch 1974).

    ``sqrt((m - n) / (n (m - 1)))`` for m atoms in n dimensions, 0 if they may be orthogonal.
    ValueError for fewer than two atoms or no dimension.

    >>> round(welch_limit(1536, 192), 4)
    0.0675
    """
    if n_atoms < 2 or d_in < 1:
        raise ValueError(f"two atoms or more in one dimension or more, got {n_atoms} in {d_in}")
    return math.sqrt(max(0, n_atoms - d_in) / (d_in * (n_atoms - 1)))
