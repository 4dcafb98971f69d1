"""What a choice costs: pool rules with their selection cost in nats, and how delta is divided among statements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from saecert.records import SequenceLosses
from saecert.statistics.priors import product_prior_nats, uniform_prior_nats

METHODS = ("fixed", "nested", "in_sample")
"""T1, T2 and T3: the pool fixed beforehand, every nested pool at once, the latents active on the sample itself."""

PRIORS = ("product", "uniform")
"""Priors over subsets of latents for "in_sample"."""

QUANTITIES = {
    "bound": "E v_A, hence the risk of the model, of its SAE proxy and of the pooled proxy at once",
    "proxy": "R(g_A), risk of the pooled proxy",
    "gap": "E|l(f) - l(g)|, SAE reconstruction gap",
    "mismatch": "E|l(g) - l(g_A)|, concept-pool mismatch",
    "signed_gap": "R(g_A) - R(f), what reading the model through the pool costs, signed",
    "direct": "R(f), risk of the model without any proxy",
    "price": "R(g_A) - R(f) from above, price of explanation",
    "ladder": "which references have a larger risk than E v_A",
    "direct_ladder": "which references have a larger risk than R(f)",
    "total_variation": "expected total variation distance of next-token distributions, model and pooled proxy",
    "disagreement": "expected share of positions where model and pooled proxy differ in the most likely token",
    "outside_firings": "expected share of a sequence's firings that are outside the pool",
    "outside_energy": "expected share of a sequence's activation energy that is outside the pool",
}
"""Every statement of a certificate and what it is about."""

BEHAVIOUR = ("total_variation", "disagreement", "outside_firings", "outside_energy")
"""Statements about shares in [0, 1] rather than losses."""

GROUPS = {name: "terms" if name in ("proxy", "gap", "mismatch") else name for name in QUANTITIES}
"""The group of every statement: a group holds jointly, groups hold each on its own."""


@dataclass(frozen=True)
class PoolChoice:
    """Candidate pools, what their proxies lost on the sample, and the price of having chosen among them."""

    sizes: tuple[int, ...]
    """Number of latents in each candidate pool."""
    measured: tuple[int, ...]
    """Size of the measured pool that stands for each: its own, or the full dictionary's where nothing active is left out."""
    losses: Float[np.ndarray, "n_pool n_seq"]
    """Smoothed losses of each pooled proxy, bits per token."""
    nats: float
    """ln(1 / prior weight), the same for every candidate: what is added to ln(1/delta)."""
    rule: str
    """The rule in words."""


def choose_pools(
    sample: SequenceLosses,
    method: str,
    *,
    pool: int | Sequence[int] | None,
    prior: str,
    tolerance: float,
    alpha: float,
) -> PoolChoice:
    """Candidate pools of one of `METHODS` on a certification sample."""
    if method not in METHODS:
        raise ValueError(f"unknown method '{method}'; there are {', '.join(METHODS)}")
    if method == "in_sample":
        if pool is not None:
            raise ValueError(
                "method 'in_sample' takes the latents active on the sample: leave `pool` out, or use 'fixed' or 'nested'"
            )
        return in_sample_pool(sample, prior, alpha)
    return (
        fixed_pool(sample, pool, tolerance, alpha)
        if method == "fixed"
        else nested_pools(sample, pool, alpha)
    )


def fixed_pool(
    sample: SequenceLosses, pool: int | Sequence[int] | None, tolerance: float, alpha: float
) -> PoolChoice:
    """The pool of T1, chosen without the certification sample: no selection cost.

    Without `pool`, the smallest pool measured on both splits whose mean mismatch ``|l(g) - l(g_A)|`` on the
    *discovery* split is below `tolerance` bits per token; the full dictionary always is. With `pool`, that size:
    the caller vouches that it was fixed before the certification sample was looked at.
    """
    if pool is None:
        size = _smallest_within(sample, tolerance, alpha)
        rule = f"smallest measured pool whose mean mismatch on discovery is below {tolerance} bits"
    elif isinstance(pool, Sequence):
        raise ValueError(
            "method 'fixed' takes one pool size; a grid of sizes goes with method='nested'"
        )
    else:
        size, rule = int(pool), "size given by the caller, who states that it was fixed beforehand"
    return PoolChoice((size,), (size,), pooled_losses(sample, (size,), alpha), 0.0, rule)


def _smallest_within(sample: SequenceLosses, tolerance: float, alpha: float) -> int:
    if not tolerance > 0:
        raise ValueError(f"tolerance must be a positive number of bits, got {tolerance}")
    seen = sample.discovery.losses if sample.discovery is not None else None
    if seen is None:
        raise ValueError(
            "method 'fixed' chooses the pool on discovery losses and this record has none: collect with a discovery corpus, "
            f"or give pool=k fixed beforehand, k one of {', '.join(map(str, sample.pool_sizes))}"
        )
    full = seen.at("full", alpha)
    sizes = [k for k in sample.pool_sizes if k in seen.pool_sizes]
    return next(k for k in sizes if np.abs(full - seen.at(f"pool_{k}", alpha)).mean() < tolerance)


def nested_pools(
    sample: SequenceLosses, pool: int | Sequence[int] | None, alpha: float
) -> PoolChoice:
    """Every pool of a grid at once (T2), at ln K nats for K sizes: uniform weights w_k = 1/K.

    The grid is every measured size, or the sizes in `pool`, fixed beforehand. The full dictionary counts as one.
    """
    if isinstance(pool, int):
        raise ValueError(
            f"method 'nested' takes a grid of pool sizes; a single one goes with method='fixed', pool={pool}"
        )
    sizes = tuple(sorted({int(k) for k in (sample.pool_sizes if pool is None else pool)}))
    if not sizes:
        raise ValueError("method 'nested' needs at least one pool size")
    losses = pooled_losses(sample, sizes, alpha)
    return PoolChoice(
        sizes,
        sizes,
        losses,
        math.log(len(sizes)),
        f"best of {len(sizes)} nested pools, each with weight 1/{len(sizes)}",
    )


def in_sample_pool(sample: SequenceLosses, prior: str, alpha: float) -> PoolChoice:
    """Every latent active anywhere on the sample (T3): the pool depends on the sample, so a prior over subsets pays.

    With all of them kept the pooled proxy *is* the full one on the sample, so its losses are those of "full" and
    the sample mismatch is zero. Only the losses of "clean" and "full" and the activity are needed.
    """
    inside = np.unpackbits(np.bitwise_or.reduce(sample.active, axis=0), count=sample.d_sae).astype(
        bool
    )
    size = int(inside.sum())
    if prior == "uniform":
        nats = uniform_prior_nats(size, sample.d_sae)
    elif prior == "product":
        if sample.discovery is None:
            raise ValueError(
                "the product prior is built from discovery counts and this record has none: use prior='uniform'"
            )
        counts = sample.discovery.n_active, sample.discovery.n_seq
        nats = product_prior_nats(inside, *counts, len(sample))
    else:
        raise ValueError(f"unknown prior '{prior}'; there are {', '.join(PRIORS)}")
    return PoolChoice(
        (size,),
        (sample.d_sae,),
        sample.at("full", alpha)[None],
        nats,
        f"latents active on the sample, {prior} prior over subsets",
    )


def split_delta(
    delta: float, budget: Mapping[str, float] | None = None
) -> dict[str, tuple[float, str]]:
    """Share of delta and group of every statement, ``{name: (share, group)}``.

    Statements of one group hold jointly at the sum of their shares; different groups hold each on its own. By
    default each group of `GROUPS` has all of `delta`, divided equally inside it. Statements named in `budget` form
    one group "budget" with the shares given there, at most `delta` in all; the others stay in their default group.
    """
    if not 0 < delta < 1:
        raise ValueError(
            f"delta must lie strictly between 0 and 1, got {delta}: it is the probability of a wrong certificate"
        )
    sizes = {group: list(GROUPS.values()).count(group) for group in GROUPS.values()}
    shares = {name: (delta / sizes[group], group) for name, group in GROUPS.items()}
    budget = dict(budget or {})
    if unknown := set(budget) - set(GROUPS):
        raise ValueError(
            f"budget names no such statement: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}"
        )
    if not all(share > 0 for share in budget.values()):
        raise ValueError(
            f"every share of the delta budget must be positive, got {budget}: leave out what you do not need"
        )
    if sum(budget.values()) > delta * (1 + 1e-12):
        raise ValueError(
            f"the delta budget sums to {sum(budget.values()):g}, more than delta = {delta:g}: lower its shares or raise delta"
        )
    return shares | {name: (float(share), "budget") for name, share in budget.items()}


def pooled_losses(
    sample: SequenceLosses, sizes: Sequence[int], alpha: float
) -> Float[np.ndarray, "n_pool n_seq"]:
    """Smoothed losses of the pooled proxies of some sizes, bits per token; ValueError for a size that was not measured."""
    for k in sizes:
        if k not in sample.pool_sizes:
            raise ValueError(
                f"a pool of {k} latents was not measured; measured sizes: {', '.join(map(str, sample.pool_sizes))}"
            )
    return np.stack([sample.at(f"pool_{k}", alpha) for k in sizes])
