"""The bound of the predecessor paper as printed, kept for comparison with the valid one."""

from __future__ import annotations

import math
from typing import NamedTuple


class PublishedBound(NamedTuple):
    """The printed bound and its two penalty terms, bits per token."""

    bound: float
    """Sum of proxy risk, gap and both penalties."""
    covering: float
    """``4 B sqrt(k ln(e m / k) / N)``."""
    confidence: float
    """``B sqrt(ln(pi^2 k^2 / (6 delta)) / (2 N))``."""


def published_bound(
    proxy_risk: float,
    gap: float,
    *,
    k: float,
    d_sae: int,
    n_tokens: int,
    n_vocab: int,
    alpha: float = 0.5,
    delta: float = 0.05,
) -> PublishedBound:
    """The formula of arXiv 2602.11388 as printed. **Not a valid certificate.**

    ``proxy_risk + gap + 4 B sqrt(k ln(e m/k) / N) + B sqrt(ln(pi^2 k^2/(6 delta)) / (2N))`` with
    ``B = log2(V/alpha)``, `k` the average number of active latents per token, m = `d_sae` and N
    counted in *tokens*. Why it certifies nothing: tokens of one sequence are not independent, so N
    is not the sample size; k is read off the same sample and is not an integer; delta is spent on
    one term while three are estimated; and the covering number is that of a range of values, not of
    a class of predictors.

    >>> penalties = published_bound(0.0, 0.0, k=59.77, d_sae=24576, n_tokens=1000, n_vocab=50257)
    >>> round(penalties.covering, 2), round(penalties.confidence, 2)
    (43.05, 1.27)
    """
    if not (0 < alpha < 1 and 0 < delta < 1):
        raise ValueError(
            f"alpha and delta must lie strictly between 0 and 1, got {alpha} and {delta}"
        )
    if not (0 < k <= d_sae and n_tokens > 0):
        raise ValueError(
            f"needs 0 < k <= d_sae and n_tokens > 0, got k={k}, d_sae={d_sae}, n_tokens={n_tokens}"
        )
    scale = math.log2(n_vocab / alpha)
    covering = 4 * scale * math.sqrt(k * math.log(math.e * d_sae / k) / n_tokens)
    confidence = scale * math.sqrt(math.log(math.pi**2 * k**2 / (6 * delta)) / (2 * n_tokens))
    return PublishedBound(proxy_risk + gap + covering + confidence, covering, confidence)
