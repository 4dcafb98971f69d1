"""Which pool is certified, and what having chosen it costs in nats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.certificates.sample import Sample
from saecert.statistics.priors import (
    FAVOURED,
    cheapest_product_superset,
    cheapest_uniform_superset,
    equal_nats,
    favoured_nats,
)

METHODS = ("fixed", "nested", "in_sample")
"""T1, T2, T3: the pool fixed beforehand, every nested pool at once, one read off the sample."""

PRIORS = ("product", "uniform")
"""Priors over subsets of latents for "in_sample"; the first is the default."""

WEIGHTS = ("equal", "discovery")
"""Priors over the pools of a grid for "nested"; the first is the default."""


@dataclass(frozen=True)
class PoolChoice:
    """Candidate pools, what their proxies lost on the sample, and the price of having chosen."""

    sizes: tuple[int, ...]
    """Number of latents in each candidate pool."""
    measured: tuple[int, ...]
    """Size of the measured pool that stands for each: its own, or the full dictionary's where
    nothing active is left out."""
    losses: Float[np.ndarray, "n_pool n_seq"]
    """Smoothed losses of each pooled proxy, bits per token."""
    nats: Float[np.ndarray, " n_pool"]
    """ln(1 / prior weight) of each candidate: what is added to ln(1/delta)."""
    rule: str
    """The rule in words."""


def prior_of(method: str, prior: str | None) -> str | None:
    """The prior that a method takes: the one given or its default; None for a fixed pool.

    Raises
    ------
    ValueError
        Unknown method, or one that has no such prior.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method '{method}'; there are {', '.join(METHODS)}")
    known = {"nested": WEIGHTS, "in_sample": PRIORS}.get(method)
    if known is None:
        if prior is not None:
            raise ValueError(
                f"method '{method}' takes no prior, got '{prior}': its pool is fixed beforehand"
            )
        return None
    if prior is not None and prior not in known:
        raise ValueError(
            f"unknown prior '{prior}' for method '{method}'; there are {', '.join(known)}"
        )
    return prior or known[0]


def choose_pools(
    sample: Sample,
    method: str,
    *,
    pool: int | Sequence[int] | None,
    prior: str | None,
    tolerance: float,
) -> PoolChoice:
    """Candidate pools of one of `METHODS` on a certification sample; `prior` as of `prior_of`.

    Raises
    ------
    ValueError
        An unknown method or prior, a pool that was not measured or that the method does not take,
        no discovery where the rule needs it.
    """
    if method == "fixed":
        return fixed_pool(sample, pool, tolerance)
    if method == "nested":
        return nested_pools(sample, pool, prior == "discovery", tolerance)
    if method != "in_sample" or prior is None:
        raise ValueError(f"unknown method '{method}'; there are {', '.join(METHODS)}")
    if pool is not None:
        raise ValueError(
            "method 'in_sample' takes the latents active on the sample: leave `pool` out, "
            "or use 'fixed' or 'nested'"
        )
    return in_sample_pool(sample, prior)


def fixed_pool(sample: Sample, pool: int | Sequence[int] | None, tolerance: float) -> PoolChoice:
    """The pool of T1, chosen without the certification sample: no selection cost.

    Without `pool`, the smallest pool measured on both splits whose mean mismatch ``|l(g) -
    l(g_A)|`` on the *discovery* split is below `tolerance` bits per token; the full dictionary
    always is. With `pool`, that size: the caller vouches that it was fixed before the certification
    sample was looked at.
    """
    if pool is None:
        known = ", ".join(map(str, sample.sizes))
        otherwise = f"give pool=k fixed beforehand, k one of {known}"
        size = _smallest_within(sample, sample.sizes, tolerance, otherwise)
        rule = f"smallest measured pool whose mean mismatch on discovery is below {tolerance} bits"
    elif isinstance(pool, Sequence):
        raise ValueError(
            "method 'fixed' takes one pool size; a grid of sizes goes with method='nested'"
        )
    else:
        size = int(pool)
        rule = "size given by the caller, who states that it was fixed beforehand"
    return PoolChoice((size,), (size,), sample.pooled((size,)), np.zeros(1), rule)


def _smallest_within(sample: Sample, sizes: Sequence[int], tolerance: float, otherwise: str) -> int:
    """The smallest of `sizes` within the tolerance on discovery, or the largest if none is.

    `otherwise` is what to do where the record has no discovery losses.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be a positive number of bits, got {tolerance}")
    discovery = sample.record.discovery
    if discovery is None or discovery.losses is None:
        raise ValueError(
            "the pool is chosen on discovery losses and this record has none: collect with a "
            f"discovery corpus, or {otherwise}"
        )
    seen = Sample.of(discovery.losses, sample.alpha)
    mismatches = np.abs(seen.full - seen.pools).mean(axis=1)
    within = {k for k, bits in zip(seen.sizes, mismatches, strict=True) if bits < tolerance}
    return next((k for k in sizes if k in within), sizes[-1])


def nested_pools(
    sample: Sample, pool: int | Sequence[int] | None, favour: bool, tolerance: float
) -> PoolChoice:
    """Every pool of a grid at once (T2), at ln(1/w_k) nats for size k.

    The grid is every measured size, or the sizes in `pool`, fixed beforehand. The full dictionary
    counts as one. Weights are equal, 1/K for K sizes; or, with `favour`, those of
    `saecert.statistics.priors.favoured_nats` for the size that discovery chose: the smallest of the
    grid whose mean mismatch there is below `tolerance`, its largest if none is. Either way they
    sum to 1 and do not depend on the certification sample.
    """
    if isinstance(pool, int):
        raise ValueError(
            "method 'nested' takes a grid of pool sizes; "
            f"a single one goes with method='fixed', pool={pool}"
        )
    sizes = tuple(sorted({int(k) for k in (sample.sizes if pool is None else pool)}))
    if not sizes:
        raise ValueError("method 'nested' needs at least one pool size")
    pooled = sample.pooled(sizes)
    rule = f"best of {len(sizes)} nested pools"
    if not favour:
        rule = f"{rule}, each with weight 1/{len(sizes)}"
        return PoolChoice(sizes, sizes, pooled, equal_nats(len(sizes)), rule)
    size = _smallest_within(sample, sizes, tolerance, "take the prior 'equal'")
    rule = (
        f"{rule}, weight {FAVOURED} on {size} (the smallest whose mean mismatch on discovery is "
        f"below {tolerance} bits), the others share the rest"
    )
    nats = favoured_nats(len(sizes), sizes.index(size))
    return PoolChoice(sizes, sizes, pooled, nats, rule)


def in_sample_pool(sample: Sample, prior: str) -> PoolChoice:
    """A pool that holds every latent active anywhere on the sample (T3); a prior over subsets pays.

    The theorem holds for all subsets A of the dictionary at once. Whatever contains the active set
    has g_A = g on the sample, hence the losses of "full" and no mismatch *there*; so the cheapest
    of these supersets is taken, and `PoolChoice.sizes` is its size. Under the uniform prior that is
    the whole dictionary (or the empty set, if nothing was active); under the product prior the
    active latents and each silent one that was more likely to be active than not.

    Only the losses of "clean" and "full" and the activity are needed.
    """
    record = sample.record
    union = np.bitwise_or.reduce(record.active, axis=0)
    active = np.unpackbits(union, count=record.d_sae).astype(bool)
    n_active = int(active.sum())
    if prior == "uniform":
        size, nats = cheapest_uniform_superset(n_active, record.d_sae)
    else:
        if record.discovery is None:
            raise ValueError(
                "the product prior is built from discovery counts and this record has none: "
                "use prior='uniform'"
            )
        counts = (record.discovery.n_active, record.discovery.n_seq)
        superset, nats = cheapest_product_superset(active, *counts, len(sample))
        size = int(superset.sum())
    rule = (
        f"cheapest superset of the {n_active} latents active on the sample, "
        f"{prior} prior over subsets"
    )
    return PoolChoice((size,), (record.d_sae,), sample.full[None], np.array([nats]), rule)
