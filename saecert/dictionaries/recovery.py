"""Whether known features are among the rows of a decoder, and how often chance puts them there.

A feature is *recovered* if some row of the decoder has a cosine above a threshold with it. The
cosine of two independent directions that are uniform on the sphere has a known distribution, so the
share that random rows would recover is known as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import betainc, betaincinv

BLOCK = 1_024
"""Features compared with all rows at once."""


def cap_probability(cosine: Any, d_in: int) -> Any:
    """Probability that two uniform directions have a cosine above `cosine`.

    The squared cosine is Beta(1/2, (d_in - 1)/2), and either sign is equally likely, so the
    probability is ``I(1 - cosine^2; (d_in - 1)/2, 1/2) / 2`` with the regularised incomplete beta
    function, for a cosine of 0 or more. Of a cosine above it *or* below its negative: twice that.

    Parameters
    ----------
    cosine
        In [0, 1]; a number or an array.
    d_in
        Dimensions, 2 or more.

    Raises
    ------
    ValueError
        Fewer than 2 dimensions, or a cosine outside [0, 1].

    Examples
    --------
    >>> cap_probability(0.0, 100), round(cap_probability(0.5, 3), 6)
    (0.5, 0.25)
    """
    cosine = np.asarray(cosine, float)
    _check_dimensions(d_in)
    if np.any(~((cosine >= 0) & (cosine <= 1))):
        raise ValueError(f"cosines lie in [0, 1], got {cosine}")
    return betainc((d_in - 1) / 2, 0.5, 1 - cosine**2)[()] / 2


def chance_of_recovery(cosine: Any, d_in: int, n_rows: int) -> Any:
    """Probability that one of `n_rows` uniform directions has a cosine above `cosine` with another.

    ``1 - (1 - q)^n_rows`` with `cap_probability` q; parameters and errors as there, and a
    ValueError without rows.
    """
    if n_rows < 1:
        raise ValueError(f"n_rows must be at least 1, got {n_rows}")
    return -np.expm1(n_rows * np.log1p(-cap_probability(cosine, d_in)))


def chance_cosine(level: Any, d_in: int, n_rows: int) -> Any:
    """Quantile of the largest cosine of `n_rows` uniform directions with a given one.

    At levels at which it is positive, above ``2^-n_rows``; ValueError for others.
    """
    _check_dimensions(d_in)
    level = np.asarray(level, float)
    if n_rows < 1 or np.any(~((level > 0.5**n_rows) & (level < 1))):
        raise ValueError(f"levels lie in (2^-n_rows, 1), got {level} of {n_rows} rows")
    cap = -np.expm1(np.log(level) / n_rows)
    return np.sqrt(1 - betaincinv((d_in - 1) / 2, 0.5, 2 * cap))[()]


def largest_cosines(
    rows: Float[np.ndarray, "d_sae _"], features: Float[np.ndarray, "n_features _"]
) -> Float[np.ndarray, "n_features"]:
    """Largest cosine of each feature with any row, in [-1, 1]; rows of norm 0 have cosine 0.

    Directions are the rows of both, of the same dimension.

    Raises
    ------
    ValueError
        Rows and features of different dimensions, or values that are not finite.
    """
    if rows.shape[1] != features.shape[1]:
        raise ValueError(
            f"rows of shape {rows.shape}, features of shape {features.shape}: "
            "both need the same dimension"
        )
    if not (np.isfinite(rows).all() and np.isfinite(features).all()):
        raise ValueError("rows and features must be finite")
    unit = _unit(rows)
    parts = [
        (_unit(features[start : start + BLOCK]) @ unit.T).max(axis=1)
        for start in range(0, len(features), BLOCK)
    ]
    return np.clip(np.concatenate(parts), -1.0, 1.0)


def recovered(
    rows: Float[np.ndarray, "d_sae d_in"],
    features: Float[np.ndarray, "n_features d_in"],
    threshold: float = 0.8,
) -> np.ndarray:
    """Which features have a row with a cosine above `threshold`, as booleans.

    Raises
    ------
    ValueError
        A threshold outside (0, 1), fewer rows than features, or what `largest_cosines` refuses.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold is a cosine in (0, 1), got {threshold}")
    if len(rows) < len(features):
        raise ValueError(
            f"{len(rows)} latents cannot recover {len(features)} features: "
            "ask for fewer features or train a wider SAE"
        )
    return largest_cosines(rows, features) > threshold


def _unit(x: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, norms, out=np.zeros_like(x), where=norms > 0)


def _check_dimensions(d_in: int) -> None:
    if d_in < 2:
        raise ValueError(f"d_in must be at least 2, got {d_in}")
