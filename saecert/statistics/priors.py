"""What it costs to choose a subset of m things after looking: priors over subsets, in nats."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import betaln, gammaln

FAVOURED = 0.9
"""Weight of the favoured one in `favoured_nats`."""


def equal_nats(count: int) -> Float[np.ndarray, " count"]:
    """``ln K`` for each of `count` = K candidates: all have the same weight."""
    if count < 1:
        raise ValueError(f"a choice needs at least one candidate, got {count}")
    return np.full(count, math.log(count))


def favoured_nats(count: int, favourite: int) -> Float[np.ndarray, " count"]:
    """``ln(1 / w)`` of `count` candidates: w is `FAVOURED` for one, the others share the rest.

    So the one at index `favourite` costs .105 nats. A single candidate has all of the weight.

    >>> np.exp(-favoured_nats(5, 3)).round(3)
    array([0.025, 0.025, 0.025, 0.9  , 0.025])
    """
    if not 0 <= favourite < count:
        raise ValueError(
            f"the favourite of {count} candidates is 0 to {count - 1}, got {favourite}"
        )
    if count == 1:
        return np.zeros(1)
    weights = np.full(count, (1 - FAVOURED) / (count - 1))
    weights[favourite] = FAVOURED
    return -np.log(weights)


def uniform_prior_nats(k: int, d_sae: int) -> float:
    """``ln C(d_sae, k) + ln(d_sae + 1)``, the cost of one subset of `k` latents.

    Under "a size 0..d_sae uniformly, then a subset of that size uniformly".

    >>> round(uniform_prior_nats(2, 6), 6) == round(math.log(15 * 7), 6)
    True
    """
    if not (0 <= k <= d_sae and k == int(k) and d_sae == int(d_sae)):
        raise ValueError(f"a subset has a whole number of 0 to {d_sae} latents, got {k}")
    return float(gammaln(d_sae + 1) - gammaln(k + 1) - gammaln(d_sae - k + 1) + math.log(d_sae + 1))


def product_prior_nats(
    inside: Bool[np.ndarray, "m"], n_active: Int[np.ndarray, "m"], n_seen: int, n_seq: int
) -> float:
    """``-ln prod_j p_j^[j in A] (1 - p_j)^[j not in A]``, the cost of one subset `inside`.

    ``1 - p_j`` is the probability that latent j stays silent in `n_seq` further sequences, given
    that it was active in ``n_active[j]`` of the `n_seen` on discovery: with a Beta(1/2, 1/2) prior
    on its rate, ``B(a, b + n_seq) / B(a, b)`` for ``a = n_active + 1/2`` and ``b = n_seen -
    n_active + 1/2``. Averaging over the rate rather than plugging in its estimate keeps a latent
    seen a few times on discovery from costing dozens of nats when it happens to stay silent.

    **Guarantee.** The weights of all ``2^m`` subsets sum to 1, and depend on discovery and on
    `n_seq` only, both fixed before the certification sample is looked at.
    """
    log_in, log_out = _log_probabilities(n_active, n_seen, n_seq)
    return float(-np.where(inside, log_in, log_out).sum())


def cheapest_uniform_superset(k: int, d_sae: int) -> tuple[int, float]:
    """Size and cost of the cheapest set that holds `k` given latents, under the uniform prior.

    ``ln C(d_sae, j)`` is concave in j, so over j = k..d_sae it is least at an end: either nothing
    is added, or everything, at ln(d_sae + 1). Of two sets of one cost it is the smaller.

    >>> size, nats = cheapest_uniform_superset(3, 6)
    >>> size, round(nats, 3) == round(math.log(7), 3)
    (6, True)
    """
    size = min((k, d_sae), key=lambda j: uniform_prior_nats(j, d_sae))
    return size, uniform_prior_nats(size, d_sae)


def cheapest_product_superset(
    inside: Bool[np.ndarray, "m"], n_active: Int[np.ndarray, "m"], n_seen: int, n_seq: int
) -> tuple[Bool[np.ndarray, "m"], float]:
    """The cheapest set that holds the latents `inside`, and its cost, under the product prior.

    Each latent has a factor of its own: a silent one is added exactly where being active was more
    likely, p_j > 1/2. Arguments as for `product_prior_nats`.
    """
    log_in, log_out = _log_probabilities(n_active, n_seen, n_seq)
    superset = inside | (log_in > log_out)
    return superset, float(-np.where(superset, log_in, log_out).sum())


def _log_probabilities(
    n_active: Int[np.ndarray, "m"], n_seen: int, n_seq: int
) -> tuple[Float[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """``ln p_j`` and ``ln(1 - p_j)`` of `product_prior_nats`."""
    if not (np.all((n_active >= 0) & (n_active <= n_seen)) and n_seq >= 0):
        raise ValueError(
            f"latents are active in 0 to {n_seen} of {n_seen} discovery sequences, and {n_seq} "
            "further sequences are asked about: a count is outside that"
        )
    fired = n_active.astype(np.float64) + 0.5
    silent = n_seen - fired + 1.0
    log_out = betaln(fired, silent + n_seq) - betaln(fired, silent)
    return np.log(-np.expm1(log_out)), log_out
