"""What it costs to choose a subset of m things after looking: priors over subsets, in nats."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Int
from scipy.special import betaln, gammaln


def uniform_prior_nats(k: int, d_sae: int) -> float:
    """``ln C(d_sae, k) + ln(d_sae + 1)``: the cost of one subset under "a size 0..d_sae uniformly, then a subset of it uniformly".

    >>> round(uniform_prior_nats(2, 6), 6) == round(math.log(15 * 7), 6)
    True
    """
    return float(gammaln(d_sae + 1) - gammaln(k + 1) - gammaln(d_sae - k + 1) + math.log(d_sae + 1))


def product_prior_nats(
    inside: Bool[np.ndarray, "m"], n_active: Int[np.ndarray, "m"], n_seen: int, n_seq: int
) -> float:
    """``-ln prod_j p_j^[j in A] (1 - p_j)^[j not in A]``: the cost of one subset under independent latents.

    ``1 - p_j`` is the probability that latent j stays silent in `n_seq` further sequences, given that it was active in
    ``n_active[j]`` of the discovery ones: with a Beta(1/2, 1/2) prior on its rate, ``B(a, b + n_seq) / B(a, b)`` for
    ``a = n_active + 1/2``, ``b = n_discovery - n_active + 1/2``. Averaging over the rate rather than plugging in its
    estimate keeps a latent seen a few times on discovery from costing dozens of nats when it happens to stay silent.

    **Guarantee.** The weights of all ``2^d_sae`` subsets sum to 1, and depend on discovery and on `n_seq` only, both
    fixed before the certification sample is looked at.
    """
    fired = n_active.astype(np.float64) + 0.5
    silent = n_seen - fired + 1.0
    log_out = betaln(fired, silent + n_seq) - betaln(fired, silent)
    return float(-np.where(inside, np.log(-np.expm1(log_out)), log_out).sum())
