"""Populations whose mean is known exactly, on which a wrong bound is caught.

Easy populations prove nothing: a wrong bound passes on smooth data at a small n. These have teeth:
coins, heavy mass at both ends, and a point mass at `hi` that about one sample in 1 / delta does not
contain at all.

A population says what may be chosen on its samples: one pool fixed beforehand (T1), any of several
(T2: `nested`, where a miss for any pool is a miss), or the pool that the sample itself shows (T3:
`in_sample`, where the mean bounded is that of the very pool that is paid for). `resampled` makes T1
and T2 from measured losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from saecert.statistics.priors import (
    FAVOURED,
    cheapest_product_superset,
    cheapest_uniform_superset,
    favoured_nats,
    product_prior_nats,
    uniform_prior_nats,
)

Values = Float[np.ndarray, "..."]


class Draw(NamedTuple):
    """Independent samples, and the truth about each pool that may be chosen on them."""

    x: Float[np.ndarray, "rows pools n"]
    """Values that are bounded, one row a sample."""
    mean: Float[np.ndarray, "#rows pools"]
    """Their exact expectation."""
    nats: Float[np.ndarray, "#rows pools"]
    """What having chosen the pool on the sample costs."""


@dataclass(frozen=True)
class Population:
    """A distribution on [lo, hi] of which every mean is known."""

    name: str
    """Label in tables."""
    lo: float
    """Lower end of the declared support."""
    hi: float
    """Upper end of the declared support."""
    draw: Callable[[np.random.Generator, int, int], Draw]
    """``draw(rng, rows, n)``: independent samples of `n`."""
    rule: str = "T1"
    """How a pool is chosen: "T1" (beforehand), "T2" (among several), "T3" (off the sample)."""


def fixed(
    name: str,
    lo: float,
    hi: float,
    mean: float,
    sample: Callable[[np.random.Generator, tuple[int, ...]], Values],
) -> Population:
    """One pool, whose losses ``sample(rng, size)`` draws and have this `mean`."""
    if not lo <= mean <= hi:
        raise ValueError(
            f"population {name!r}: the mean {mean} lies outside its support [{lo}, {hi}]"
        )
    return Population(
        name,
        lo,
        hi,
        lambda rng, rows, n: Draw(
            sample(rng, (rows, 1, n)), np.full((1, 1), mean), np.zeros((1, 1))
        ),
    )


def bernoulli(p: float) -> Population:
    """Coin with values 0 and 1, the latter with probability `p`."""
    return fixed(
        f"Bernoulli({p:g})", 0.0, 1.0, p, lambda rng, size: (rng.random(size) < p).astype(float)
    )


def beta(a: float, b: float) -> Population:
    """Beta distribution on [0, 1]; with `a` and `b` below 1 most mass lies at the two ends."""
    return fixed(
        f"beta({a:g}, {b:g})", 0.0, 1.0, a / (a + b), lambda rng, size: rng.beta(a, b, size)
    )


def rare_event(name: str, spread: float, unseen: float, n: int) -> Population:
    """Values uniform within `spread` of 0.3, and a point mass at 1.

    A sample of `n` misses the point mass with probability `unseen`.
    """
    if not 0 < unseen < 1:
        raise ValueError(
            "the probability of missing the point mass must lie strictly between 0 and 1, "
            f"got {unseen}"
        )
    mass = -np.expm1(np.log(unseen) / n)

    def sample(rng: np.random.Generator, size: tuple[int, ...]) -> Values:
        common = rng.uniform(0.3 - spread, 0.3 + spread, size)
        return np.where(rng.random(size) < mass, 1.0, common)

    return fixed(name, 0.0, 1.0, float(0.3 + 0.7 * mass), sample)


def with_teeth(n: int, delta: float = 0.05) -> tuple[Population, ...]:
    """Populations on which a wrong bound for samples of `n` at `delta` is easily caught.

    Coins only for n >= 100: below, the lattice of their mean hides much. The noise with a point
    mass asks for care exactly where a valid bound has none to spare (a sample without the mass has
    probability 1.02 delta, too much to give up); the two-point population catches any bound that
    trusts the spread of the sample.

    Examples
    --------
    >>> [p.name for p in with_teeth(20)]
    ['beta(0.1, 0.5)', 'noise + point mass', 'two points']
    """
    coins = (bernoulli(0.5), bernoulli(0.1)) if n >= 100 else ()
    noisy, two = (
        min(factor * delta, 0.5 + 0.5 * delta) for factor in (1.02, 3.0)
    )  # a probability for delta near 1, too
    return (
        *coins,
        beta(0.1, 0.5),
        rare_event("noise + point mass", 0.2, noisy, n),
        rare_event("two points", 0.0, two, n),
    )


def nested(population: Population, pools: int) -> Population:
    """T2 with independent values for every pool.

    So misses do not coincide, and the union bound has nothing to spare.

    Each of the `pools` has delta / pools to spend: a population with teeth is one that has them at
    that delta.
    """

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x, mean, _ = population.draw(rng, rows * pools, n)
        return Draw(x.reshape(rows, pools, n), mean, np.full((1, pools), np.log(pools)))

    return replace(population, draw=draw, rule="T2")


def in_sample(
    name: str,
    base: Population,
    d_sae: int,
    rate: float,
    prior: str,
    n: int,
    *,
    extended: bool = False,
) -> Population:
    """T3 with the truth for every pool: `d_sae` latents, each active in a sequence at `rate`.

    What is active on the sample of `n` is the pool A, or with `extended` the cheapest set that
    holds it, as `certify` takes it. A sequence draws its value from `base`, but has `hi` if a
    latent outside A is active: none of the sample does, a fresh one does with probability ``1 - (1
    - rate)^(d_sae - |A|)``. So E v_A is exact for the A that came out and is paid for, and larger
    than what the sample shows. The product prior rests on `n` discovery sequences with the expected
    counts.
    """
    rows = [_paid(k, d_sae, round(n * rate), n, prior, extended) for k in range(d_sae + 1)]
    sizes, nats = (np.array(column) for column in zip(*rows, strict=True))
    spared = (1 - rate) ** (d_sae - sizes)

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        n_active = rng.binomial(d_sae, -np.expm1(n * np.log1p(-rate)), (rows, 1))
        x, mean, _ = base.draw(rng, rows, n)
        return Draw(x, base.hi - (base.hi - mean) * spared[n_active], nats[n_active])

    return Population(name, base.lo, base.hi, draw, "T3")


def _paid(k: int, d_sae: int, count: int, n: int, prior: str, extended: bool) -> tuple[int, float]:
    """Size and cost of the pool where `k` latents are active, each `count` times on discovery."""
    if prior == "uniform":
        return (
            cheapest_uniform_superset(k, d_sae) if extended else (k, uniform_prior_nats(k, d_sae))
        )
    active = np.arange(d_sae) < k
    counts = np.full(d_sae, count)
    if not extended:
        return k, product_prior_nats(active, counts, n, n)
    superset, nats = cheapest_product_superset(active, counts, n, n)
    return int(superset.sum()), nats


def nested_with_teeth(n: int, delta: float = 0.05, pools: int = 5) -> tuple[Population, ...]:
    """`with_teeth` for T2: five pools by default, as many as `collect` measures."""
    return tuple(nested(population, pools) for population in with_teeth(n, delta / pools))


def favoured_with_teeth(n: int, delta: float = 0.05, pools: int = 5) -> tuple[Population, ...]:
    """T2 with most of the weight on the last pool but one, as where discovery chose it.

    Every pool has teeth at the delta that the favoured one may spend: it nearly spends it, and
    whoever gives as much to another errs as often once more.
    """
    nats = favoured_nats(pools, pools - 2)[None]

    def weighed(population: Population) -> Population:
        def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
            return population.draw(rng, rows, n)._replace(nats=nats)

        return replace(population, draw=draw)

    return tuple(weighed(nested(base, pools)) for base in with_teeth(n, FAVOURED * delta))


def triples(
    population: Population, combine: Callable[[Values, Values, Values], Values]
) -> Population:
    """The population as the largest of three losses, put together again by `combine`.

    Each value becomes the loss of model, SAE proxy or pooled proxy, each as likely; the two others
    are somewhere below. ``combine(clean, full, pooled)`` makes one loss of the three; for their
    maximum the stated mean is exact. Under T3 both proxies are the same on the sample.
    """

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        drawn = population.draw(rng, rows, n)
        largest = drawn.x
        which = rng.integers(3, size=largest.shape)
        below = largest - (largest - population.lo) * rng.random((3, *largest.shape))
        clean, full, pooled = (np.where(which == i, largest, below[i]) for i in range(3))
        if population.rule == "T3":
            full = pooled = np.maximum(full, pooled)
        return drawn._replace(x=combine(clean, full, pooled))

    return replace(population, draw=draw)


def in_sample_with_teeth(
    n: int, delta: float = 0.05, prior: str = "uniform"
) -> tuple[Population, ...]:
    """Populations for T3: one latent that the sample hardly ever misses, and many that it may.

    The first is missed with probability 0.49 delta: under the uniform prior a valid bound has
    nothing to spare, since the pool without its only latent has delta / 2 to spend. Of the 32 a
    third is missed, and what is active outside of the pool is about 12 / n: it refutes every bound
    that does not pay. These pay for the active set itself; the last, with 64 latents that are more
    likely silent than active, pays for the cheapest superset: that set again under the product
    prior, all latents under the uniform one.
    """
    steady = fixed("", 0.0, 1.0, 0.3, lambda rng, size: rng.uniform(0.3, 0.3, size))
    noise = fixed("", 0.0, 1.0, 0.3, lambda rng, size: rng.uniform(0.3 - 0.2, 0.3 + 0.2, size))
    rare = float(-np.expm1(np.log(0.49 * delta) / n))
    coin = [("coin, one rare latent", bernoulli(0.5), 1, rare)] if n >= 100 else []
    cases = [*coin, ("one rare latent", steady, 1, rare), ("32 rare latents", noise, 32, 1 / n)]
    exact = [in_sample(*case, prior, n) for case in cases]
    last = in_sample("64 rare latents, superset", noise, 64, 0.45 / n, prior, n, extended=True)
    return (*exact, last)


def resampled(
    name: str,
    values: Float[np.ndarray, "pools n_seq"],
    lo: float,
    hi: float,
    truth: float | None = None,
) -> Population:
    """Measured losses as a finite population, drawn with replacement: with a known mean.

    One row of `values` is a fixed pool (T1), several are the pools of T2. `truth` replaces the
    means when slack is shown: how often the bound lies below something that is no larger than what
    it bounds.
    """
    means = values.mean(axis=1)[None] if truth is None else np.full((1, len(values)), truth)

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x = values[:, rng.integers(values.shape[1], size=(rows, n))].swapaxes(0, 1)
        return Draw(x, means, np.full_like(means, np.log(len(values))))

    return Population(name, lo, hi, draw, "T1" if len(values) == 1 else "T2")


def listed(name: str, values: Float[np.ndarray, " size"], lo: float, hi: float) -> Population:
    """A finite list of `values`, drawn without replacement: simple random samples of it.

    The truth is the mean of the list.

    >>> listed("three", np.array([0, 0.5, 1]), 0.0, 1.0).draw(np.random.default_rng(0), 1, 3).mean
    array([[0.5]])
    """
    mean = np.full((1, 1), values.mean())

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        shuffled = rng.permuted(np.tile(values, (rows, 1)), axis=1)
        return Draw(shuffled[:, None, :n], mean, np.zeros((1, 1)))

    return Population(name, lo, hi, draw)


def clustered(
    name: str,
    values: Float[np.ndarray, " size"],
    groups: Shaped[np.ndarray, " size"],
    lo: float,
    hi: float,
) -> Population:
    """Whole groups drawn anew, and sequences out of them: dependence within groups.

    As many groups as there are, with replacement, and of all their values a sample with
    replacement. The truth is the mean of all values, which the mean of such samples is about.
    """
    members = _members(groups)
    mean = np.full((1, 1), values.mean())

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x = np.empty((rows, 1, n))
        for row in range(rows):
            chosen = rng.integers(len(members), size=len(members))
            there = np.concatenate([members[group] for group in chosen])
            x[row, 0] = values[there[rng.integers(len(there), size=n)]]
        return Draw(x, mean, np.zeros((1, 1)))

    return Population(name, lo, hi, draw)


def one_of_each(
    name: str,
    values: Float[np.ndarray, " size"],
    groups: Shaped[np.ndarray, " size"],
    lo: float,
    hi: float,
) -> Population:
    """Groups drawn anew, and one random value of each: the truth is the mean over groups."""
    members = _members(groups)
    mean = np.full((1, 1), np.mean([values[rows].mean() for rows in members]))
    sizes = np.array([len(rows) for rows in members])
    starts = np.concatenate([[0], sizes.cumsum()[:-1]])
    ordered = values[np.concatenate(members)]

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        chosen = rng.integers(len(members), size=(rows, 1, n))
        places = (rng.random(chosen.shape) * sizes[chosen]).astype(int)
        return Draw(ordered[starts[chosen] + places], mean, np.zeros((1, 1)))

    return Population(name, lo, hi, draw)


def _members(groups: Shaped[np.ndarray, " size"]) -> list[Int[np.ndarray, " members"]]:
    """Rows of every group."""
    inverse = np.unique(groups, return_inverse=True)[1]
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.bincount(inverse).cumsum()[:-1])


def repeated(population: Population, group: int) -> Population:
    """Dependence: each document comes `group` times, spread over the sample.

    As if those were independent sequences.
    """

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        drawn = population.draw(rng, rows, -(-n // group))
        return drawn._replace(x=np.tile(drawn.x, group)[..., :n])

    return replace(population, draw=draw)
