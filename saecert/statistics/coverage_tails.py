"""Statements about tails and ratios in the form that `coverage_table` tries, with mutants.

Each is a limit with the signature of an inequality, and populations on which what it bounds is
known exactly. A population's "mean" is then that truth: a quantile, a probability, a ratio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from saecert.statistics.inequalities import (
    Inequality,
    Scalar,
    clopper_pearson_upper,
    dirichlet_upper,
    lower,
)
from saecert.statistics.order import quantile_rank, quantile_upper
from saecert.statistics.populations import Draw, Population, bernoulli, fixed, with_teeth
from saecert.statistics.ratio import ratio_lower

LEVELS = (0.5, 0.95)
"""Levels of the quantiles that are tried."""
CAP = 0.5
"""Cap of the capped means that are tried, on populations in [0, 1]."""

Values = Float[np.ndarray, "*lead n"]


@dataclass(frozen=True)
class Statement:
    """A statement, the populations it is tried on, and a wrong version of it."""

    limit: Inequality
    """The statement as ``limit(x, lo, hi, nats)``, an upper limit."""
    populations: Callable[[int, float], Sequence[Population]]
    """A function of n and delta, as `coverage_table` takes it."""
    wrong: str
    """What is wrong with the mutant."""
    mutant: Inequality
    """The wrong version, which the same test has to reject."""


def statements() -> Mapping[str, Statement]:
    """What is tried, by name.

    "share": a lower limit on a probability (as an upper one on that of the complement). "quantile
    at ...": order statistics. "capped mean": the mean of min(x, cap). "loss recovered": a lower
    limit on a ratio (an upper one on its negative); its samples are three rows of losses, of the
    ablation, the proxy and the model, one after the other.

    Two marginal limits, numerator over denominator at delta each, are no mutant: that ratio misses
    only where one of the limits does, hence at most with 2 delta. The mutant takes what the
    ablation costs at its sample mean, as if it were known.
    """
    quantiles = {f"quantile at {level:g}": _quantile(level) for level in LEVELS}
    return {
        "share": Statement(share_limit, coins, "delta doubled", _share_at_two_delta),
        **quantiles,
        "capped mean": Statement(dirichlet_upper, capped, "cap off the sample", _sampled_cap),
        "loss recovered": Statement(recovered_limit, ratios, "cost known", _cost_known),
    }


def share_limit(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Upper limit on the probability of a 1 among values 0 and 1, by Clopper and Pearson."""
    return clopper_pearson_upper(x.sum(axis=-1), x.shape[-1], nats)


def recovered_limit(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Minus the lower limit on loss recovered, from samples of three rows on [0, 1]."""
    triples, paid = _triples_of(x, nats)
    ablated, proxy, clean = triples
    low = ratio_lower(ablated, proxy, clean, (0.0, 1.0), paid, "dirichlet")
    return np.where(low > 0, -low, math.inf).reshape(x.shape[:-1])


def coins(n: int, delta: float) -> list[Population]:
    """Coins, and one whose successes a sample misses with a probability just below delta."""
    rare = -math.expm1(math.log(0.98 * delta) / n)
    return [bernoulli(0.1), bernoulli(0.02), bernoulli(rare)]


def capped(n: int, delta: float) -> list[Population]:
    """`with_teeth`, values capped at `CAP`; those of a beta distribution are left out.

    Values are at most 0.5 or they are 1, so that a capped mean is known from the mean.
    """
    known = [p for p in with_teeth(n, delta) if not p.name.startswith("beta")]
    return [_capped(population) for population in known]


def quantiles(level: float) -> Callable[[int, float], list[Population]]:
    """Populations of a known quantile: smooth, with ties, and with a heavy tail."""

    def populations(n: int, delta: float) -> list[Population]:
        def two(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
            return np.where(rng.random(size) < level - 1e-9, 0.25, 0.75)

        return [
            fixed("uniform", 0.0, 1.0, level, lambda rng, size: rng.random(size)),
            fixed("two values", 0.0, 1.0, 0.75, two),
            fixed("Pareto", 0.0, 1e300, 1 / (1 - level), lambda rng, size: 1 / rng.random(size)),
        ]

    return populations


def ratios(n: int, delta: float) -> list[Population]:
    """Losses whose ratio is known: a noisy cost of the ablation, and a proxy that is rarely bad.

    The latter is so where ablation and model are not: what a ratio can lose most by. A sample shows
    no such sequence with a probability just below delta.
    """
    rare = -math.expm1(math.log(0.9 * delta) / n)

    def noisy_cost(rng: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
        cost = (rng.random(size) < 0.5) * 0.8
        return [np.full(size, 0.9), np.full(size, 0.5), 0.9 - cost]

    def rarely_bad(rng: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
        usual = rng.random(size) >= rare
        return [0.9 * usual, np.where(usual, 0.3, 1.0), 0.1 * usual]

    def both_noisy(rng: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
        clean = rng.uniform(0.0, 0.4, size)
        return [rng.uniform(0.5, 1.0, size), clean + rng.uniform(0.0, 0.2, size), clean]

    return [
        _triples("noisy cost", 0.4 / 0.4, noisy_cost),
        _triples("rarely bad", (0.6 - rare / (1 - rare)) / 0.8, rarely_bad),
        _triples("both noisy", (0.75 - 0.3) / (0.75 - 0.2), both_noisy),
    ]


def _quantile(level: float) -> Statement:
    def limit(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
        return quantile_upper(x, level, float(np.max(nats)))

    def off_by_one(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
        rank = quantile_rank(x.shape[-1], level, float(np.max(nats)))
        return np.sort(x, axis=-1)[..., rank - 2]

    return Statement(limit, quantiles(level), "one rank too low", off_by_one)


def _share_at_two_delta(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
    return share_limit(x, lo, hi, nats - math.log(2))


def _sampled_cap(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The bound on a support that ends at the largest value of the sample."""
    flat = x.reshape(-1, x.shape[-1])
    paid = np.broadcast_to(nats, x.shape[:-1]).ravel()
    most = np.maximum(flat.max(axis=-1, keepdims=True), 1e-9)
    limits = dirichlet_upper(flat / most, 0.0, 1.0, paid) * most[:, 0]
    return limits.reshape(x.shape[:-1])


def _cost_known(x: Values, lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Minus the limit on what the proxy gives back over the sample mean of the cost."""
    (ablated, proxy, clean), paid = _triples_of(x, nats)
    gain = lower("dirichlet", ablated - proxy, -1.0, 1.0, paid)
    cost = np.maximum((ablated - clean).mean(axis=-1), 1e-9)
    return np.maximum(-gain / cost, -2.0).reshape(x.shape[:-1])


def _triples_of(x: Values, nats: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """Losses of ablation, proxy and model, a row a sample, and nats for each row."""
    rows = x.reshape(-1, 3, x.shape[-1] // 3)
    return list(rows.swapaxes(0, 1)), np.broadcast_to(nats, x.shape[:-1]).ravel()


def _capped(population: Population) -> Population:
    """The same with values capped at `CAP`; those above it are all 1."""

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        drawn = population.draw(rng, rows, n)
        return drawn._replace(x=np.minimum(drawn.x, CAP), mean=_capped_mean(population))

    return replace(population, hi=CAP, draw=draw)


def _capped_mean(population: Population) -> np.ndarray:
    """E min(z, CAP) where z is 1 or has mean 0.3 (coins: 0)."""
    mean = population.draw(np.random.default_rng(0), 1, 1).mean
    common = 0.0 if population.name.startswith("Bernoulli") else 0.3
    mass = (mean - common) / (1.0 - common)
    return common + (CAP - common) * mass


def _triples(
    name: str,
    ratio: float,
    sample: Callable[[np.random.Generator, tuple[int, int]], list[np.ndarray]],
) -> Population:
    """Samples of three rows of losses in [0, 1], and minus their ratio as the truth."""

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x = np.concatenate(sample(rng, (rows, n)), axis=-1)
        return Draw(x[:, None], np.full((1, 1), -ratio), np.zeros((1, 1)))

    return Population(name, -2.0, 2.0, draw)
