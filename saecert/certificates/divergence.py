"""The range of a divergence between smoothed predictions, and limits on its expectation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.certificates.delta import split_delta
from saecert.records import smoothed_support
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.rounding import nearest_text, probability_text, upper_text

_DUST = 1e-5  # bits by which single precision may leave the range


def divergence_range(alpha: float, n_vocab: int) -> float:
    """Largest KL divergence of two smoothed distributions in bits, (1 - alpha) log2(1 + (1 - alpha)
    V / alpha).

    The divergence is convex in both distributions together, and smoothing is affine: the largest
    value is at two corners of the simplex, all mass on one token and all on another. There the sum
    has two terms, ``(1 - alpha + alpha/V) w`` and ``-(alpha/V) w`` with w the range of the smoothed
    loss. So it is (1 - alpha) times the range of the loss (our derivation). `alpha` in (0, 1).

    Examples
    --------
    >>> round(divergence_range(0.5, 50257), 3)
    7.809
    """
    lo, hi = smoothed_support(alpha, n_vocab)
    return (1 - alpha) * (hi - lo)


@dataclass(frozen=True)
class Divergence:
    """An upper limit on E KL(f || g_A) of predictions smoothed with weight `alpha`.

    **Guarantee.** For sequences drawn i.i.d., and settings fixed before they were looked at, the
    expectation over sequences of the mean divergence over positions is at most `upper`, except with
    probability `delta`. By Pinsker's inequality the same limit holds for ``2 / ln 2`` times the
    expected squared total variation of the smoothed predictions.
    """

    proxy: str
    """Which predictor stands for the model."""
    alpha: float
    """Weight of the uniform distribution in both predictors."""
    mean: float
    """Sample mean, bits per token."""
    upper: float
    """Limit, bits per token."""
    highest: float
    """End of the support: what a divergence can be at most."""
    delta: float
    """How often the limit may be wrong over samples."""
    n_seq: int
    """Sequences."""

    def __str__(self) -> str:
        return (
            f"KL(f || {self.proxy}), alpha {self.alpha:g}: {nearest_text(self.mean, 3)} "
            f"(at most {upper_text(self.upper, 3)}) bits, delta {probability_text(self.delta)}"
        )


def divergence_limit(
    values: Float[np.ndarray, "n_seq"],
    *,
    proxy: str,
    alpha: float,
    n_vocab: int,
    delta: float = 0.05,
    inequality: str = "dirichlet",
) -> Divergence:
    """`Divergence` from the values of each sequence, bits per token.

    Raises
    ------
    ValueError
        Delta or alpha outside (0, 1), an unknown inequality, or a value outside the range.
    """
    split_delta(delta)
    if inequality not in INEQUALITIES:
        raise ValueError(f"unknown inequality '{inequality}'; there are {', '.join(INEQUALITIES)}")
    highest = divergence_range(alpha, n_vocab)
    values = np.asarray(values, np.float64)
    if not (values.min() >= -_DUST and values.max() <= highest + _DUST):
        raise ValueError(
            f"a divergence at alpha = {alpha:g} lies in [0, {highest:.6g}] bits, "
            f"got {values.min():.6g} to {values.max():.6g}: is it of another alpha?"
        )
    within = np.clip(values, 0.0, highest)
    upper = INEQUALITIES[inequality](within, 0.0, highest, -math.log(delta))
    mean = float(within.mean())
    return Divergence(proxy, alpha, mean, float(upper), highest, delta, len(within))
