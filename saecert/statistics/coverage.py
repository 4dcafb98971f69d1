"""Populations whose mean is known exactly, and the test that a bound must pass on them.

A miss is a bound below the population mean of the very values it was computed from. Easy populations prove nothing: a wrong
bound passes on smooth data at a small n. These have teeth: coins, heavy mass at both ends, and a point mass at `hi` that about
one sample in 1 / delta does not contain at all. `mutants` are wrong bounds which the same test has to reject.

A population says what may be chosen on its samples: one pool fixed beforehand (T1), any of several (T2: `nested`, where a miss for
any pool is a miss), or the pool that the sample itself shows (T3: `in_sample`, where the mean bounded is that of the very pool that
came out). `resampled` makes T1 and T2 from measured losses.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri
from tqdm import tqdm

from saecert.statistics import betting, dirichlet
from saecert.statistics import inequalities as bounds
from saecert.statistics.inequalities import (
    INEQUALITIES,
    Inequality,
    Scalar,
    clopper_pearson_upper,
    dirichlet_upper,
    hoeffding_upper,
    misses,
)
from saecert.statistics.priors import product_prior_nats, uniform_prior_nats
from saecert.storage import cached_arrays

BLOCK = 2**21
"""Values drawn at once: a cell of any size needs a few tens of megabytes."""

REJECT_AT = 1e-4
"""Probability with which the table calls a valid bound rejected, cell by cell."""

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
    """How a pool is chosen: "T1" (beforehand), "T2" (among several) or "T3" (read off the sample)."""


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
    """Beta distribution on [0, 1]; with `a` and `b` below 1 most of its mass lies at the two ends."""
    return fixed(
        f"beta({a:g}, {b:g})", 0.0, 1.0, a / (a + b), lambda rng, size: rng.beta(a, b, size)
    )


def rare_event(name: str, spread: float, unseen: float, n: int) -> Population:
    """Values uniform within `spread` of 0.3, and a point mass at 1 that a sample of `n` misses with probability `unseen`."""
    if not 0 < unseen < 1:
        raise ValueError(
            f"the probability of missing the point mass must lie strictly between 0 and 1, got {unseen}"
        )
    mass = -np.expm1(np.log(unseen) / n)

    def sample(rng: np.random.Generator, size: tuple[int, ...]) -> Values:
        common = rng.uniform(0.3 - spread, 0.3 + spread, size)
        return np.where(rng.random(size) < mass, 1.0, common)

    return fixed(name, 0.0, 1.0, float(0.3 + 0.7 * mass), sample)


def with_teeth(n: int, delta: float = 0.05) -> tuple[Population, ...]:
    """Populations on which a bound for samples of `n` at miscoverage `delta` is easily caught if it is wrong.

    Coins only for n >= 100: below, the lattice of their mean hides much. The noise with a point mass asks for care exactly
    where a valid bound has none to spare (a sample without the mass has probability 1.02 delta, too much to give up);
    the two-point population catches any bound that trusts the spread of the sample.

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
    """T2 with independent values for every pool, so that misses do not coincide and the union bound has nothing to spare.

    Each of the `pools` has delta / pools to spend: a population with teeth is one that has them at that delta.
    """

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x, mean, _ = population.draw(rng, rows * pools, n)
        return Draw(x.reshape(rows, pools, n), mean, np.full((1, pools), np.log(pools)))

    return replace(population, draw=draw, rule="T2")


def in_sample(
    name: str, base: Population, d_sae: int, rate: float, prior: str, n: int
) -> Population:
    """T3 with the truth for every pool: each of `d_sae` latents fires in a sequence with probability `rate`, independently.

    A is whatever fires on the sample of `n`. A sequence draws its value from `base`, but has `hi` if it fires a latent outside A: none
    of the sample does, a fresh one does with probability ``1 - (1 - rate)^(d_sae - |A|)``. So E v_A is exact for the A that came
    out, and larger than what the sample shows. The product prior rests on `n` discovery sequences with the expected counts.
    """
    n_active = np.full(d_sae, round(n * rate))
    prices = {
        "uniform": lambda k: uniform_prior_nats(k, d_sae),
        "product": lambda k: product_prior_nats(np.arange(d_sae) < k, n_active, n, n),
    }
    nats = np.array([prices[prior](k) for k in range(d_sae + 1)])
    spared = (1 - rate) ** np.arange(d_sae, -1, -1)

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        size = rng.binomial(d_sae, -np.expm1(n * np.log1p(-rate)), (rows, 1))
        x, mean, _ = base.draw(rng, rows, n)
        return Draw(x, base.hi - (base.hi - mean) * spared[size], nats[size])

    return Population(name, base.lo, base.hi, draw, "T3")


def nested_with_teeth(n: int, delta: float = 0.05, pools: int = 5) -> tuple[Population, ...]:
    """`with_teeth` for T2: five pools by default, as many as `collect` measures."""
    return tuple(nested(population, pools) for population in with_teeth(n, delta / pools))


def in_sample_with_teeth(
    n: int, delta: float = 0.05, prior: str = "uniform"
) -> tuple[Population, ...]:
    """Populations for T3: one latent that the sample misses with probability 0.49 delta, and 32 of which it misses about a third.

    Under the uniform prior the first leaves a valid bound nothing to spare: the pool without its only latent has delta / 2 to spend.
    The second refutes every bound that does not pay for the pool: what fires outside of it is about 12 / n.
    """
    steady, noise = (
        fixed("", 0.0, 1.0, 0.3, lambda rng, size, s=s: rng.uniform(0.3 - s, 0.3 + s, size))
        for s in (0.0, 0.2)
    )
    rare = float(-np.expm1(np.log(0.49 * delta) / n))
    coin = [("coin, one rare latent", bernoulli(0.5), 1, rare)] if n >= 100 else []
    cases = [*coin, ("one rare latent", steady, 1, rare), ("32 rare latents", noise, 32, 1 / n)]
    return tuple(in_sample(*case, prior, n) for case in cases)


def resampled(
    name: str,
    values: Float[np.ndarray, "pools n_seq"],
    lo: float,
    hi: float,
    truth: float | None = None,
) -> Population:
    """Measured losses as a finite population, drawn with replacement: their means are the exact truth.

    One row of `values` is a fixed pool (T1), several are the pools of T2. `truth` replaces the means when slack is shown: how often the
    bound lies below something that is no larger than what it bounds.
    """
    means = values.mean(axis=1)[None] if truth is None else np.full((1, len(values)), truth)

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        x = values[:, rng.integers(values.shape[1], size=(rows, n))].swapaxes(0, 1)
        return Draw(x, means, np.full_like(means, np.log(len(values))))

    return Population(name, lo, hi, draw, "T1" if len(values) == 1 else "T2")


def repeated(population: Population, group: int) -> Population:
    """Dependence: each document comes `group` times, spread over the sample, as if those were independent sequences."""

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        drawn = population.draw(rng, rows, -(-n // group))
        return drawn._replace(x=np.tile(drawn.x, group)[..., :n])

    return replace(population, draw=draw)


def unpaid(population: Population) -> Population:
    """A wrong pool rule: pools chosen on the sample at no cost."""
    return replace(
        population,
        draw=lambda rng, rows, n: population.draw(rng, rows, n)._replace(nats=np.zeros((1, 1))),
    )


def mutants() -> dict[str, Inequality]:
    """Wrong bounds with the signature of a right one, by what is wrong with them.

    Each is rejected by `coverage_table` on `with_teeth` at n = 500 within a few thousand draws.
    """
    return {
        "normal approximation": _normal,
        "variance term deleted": _no_variance,
        "half width": _half_width,
        "delta five times too large": _large_delta,
    }


def coverage_table(
    inequalities: Mapping[str, Inequality] = INEQUALITIES,
    sizes: Sequence[int] = (100,),
    *,
    populations: Callable[[int, float], Sequence[Population]] | Sequence[Population] = with_teeth,
    draws: int = 20_000,
    values: int | None = None,
    delta: float = 0.05,
    seed: int = 0,
    cache: str = "",
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Rows that say how often each inequality misses the mean of each population, and whether that is compatible with delta.

    Parameters
    ----------
    inequalities : functions ``upper(x, lo, hi, nats)`` by name
    sizes : sample sizes n
    populations : several, or a function of n and delta that makes them
    draws : samples a cell; the same ones for every inequality
    values : most values in a cell; where `draws` would need more, there are fewer of them
    delta : nominal probability of a miss
    seed : of the samples
    cache : if given, counts are kept in the cache folder: under this text, which has to determine `populations` and `inequalities` as
        far as they do not come from this module, and under everything else
    progress : show a bar on stderr

    Returns
    -------
    list of dict
        inequality, rule, population, n, draws, misses, miss_rate, its 99 % limits ci_low and ci_high (Clopper-Pearson), delta,
        and the verdict: "rejected" if the one-sided lower limit of the miss rate at error `REJECT_AT` exceeds delta, else
        "valid". A valid bound is rejected with probability at most `REJECT_AT` a cell. Of several pools any one missing is one miss.

    Examples
    --------
    >>> row, *_ = coverage_table({"hoeffding": hoeffding_upper}, draws=1000, progress=False)
    >>> row["population"], row["verdict"]
    ('Bernoulli(0.5)', 'valid')
    """
    if not 0 < delta < 1 or draws < 1:
        raise ValueError(
            f"coverage needs 0 < delta < 1 and at least one draw, got delta = {delta}, draws = {draws}"
        )
    parts = (
        (betting, bounds, dirichlet, product_prior_nats, uniform_prior_nats, sys.modules[__name__])
        if cache
        else ()
    )
    code = "".join(map(inspect.getsource, parts))
    made = {n: populations(n, delta) if callable(populations) else populations for n in sizes}
    cells = [(n, index, population) for n in sizes for index, population in enumerate(made[n])]
    rows = []
    for n, index, population in tqdm(cells, desc="coverage", disable=not progress):
        per_draw = population.draw(np.random.default_rng(0), 1, n).x.size
        cell = {
            "n": n,
            "draws": draws if values is None else max(1, min(draws, values // per_draw)),
            "delta": delta,
        }
        count = partial(_count, inequalities, population, **cell, rng=[seed, n, index])
        key = f"{cache} {[*inequalities]} {population.name} {cell} {seed} {index} {code}"
        counts = cached_arrays("coverage", key, count) if cache else count()
        rows += [
            _row(name, population, **cell, missed=int(missed)) for name, missed in counts.items()
        ]
    return rows


def _count(
    inequalities: Mapping[str, Inequality],
    population: Population,
    n: int,
    draws: int,
    delta: float,
    rng: Any,
) -> dict[str, Any]:
    """Misses by inequality, from the same samples for all."""
    counts, size, rng = (
        dict.fromkeys(inequalities, 0),
        max(1, BLOCK // n),
        np.random.default_rng(rng),
    )
    for start in range(0, draws, size):
        drawn = population.draw(rng, min(size, draws - start), n)
        for name, upper in inequalities.items():
            counts[name] += _missed(
                upper, drawn, population.lo, population.hi, -np.log(delta)
            ).sum()
    return counts


def _missed(
    upper: Inequality, drawn: Draw, lo: float, hi: float, nats: float
) -> Bool[np.ndarray, " rows"]:
    """Samples with a pool whose bound lies below its mean."""
    shape = drawn.x.shape[:2]
    means, paid, missed = (
        np.broadcast_to(drawn.mean, shape),
        np.broadcast_to(nats + drawn.nats, shape),
        np.zeros(shape, bool),
    )
    for mean in np.unique(drawn.mean):
        here = means == mean
        missed[here] = misses(upper, drawn.x[here], lo, hi, paid[here], mean)
    return missed.any(axis=1)


def _row(
    inequality: str, population: Population, n: int, draws: int, delta: float, missed: int
) -> dict[str, Any]:
    low, least = 1 - clopper_pearson_upper(draws - missed, draws, -np.log([0.005, REJECT_AT]))
    cell = {
        "inequality": inequality,
        "rule": population.rule,
        "population": population.name,
        "n": n,
        "draws": draws,
        "misses": missed,
    }
    high = float(clopper_pearson_upper(missed, draws, -np.log(0.005)))
    rate = {"miss_rate": missed / draws, "ci_low": float(low), "ci_high": high, "delta": delta}
    return cell | rate | {"verdict": "rejected" if least > delta else "valid"}


def _normal(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The mean plus z standard errors: right in the limit, and blind to what the sample does not show."""
    return np.minimum(
        x.mean(axis=-1) - ndtri(np.exp(-nats)) * x.std(axis=-1, ddof=1) / np.sqrt(x.shape[-1]), hi
    )


def _no_variance(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Empirical Bernstein without its variance term."""
    return np.minimum(
        x.mean(axis=-1) + 7 * (hi - lo) * (nats + np.log(2)) / (3 * (x.shape[-1] - 1)), hi
    )


def _half_width(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Hoeffding at half its width."""
    return 0.5 * (x.mean(axis=-1) + hoeffding_upper(x, lo, hi, nats))


def _large_delta(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The Dirichlet bound at five times the promised delta."""
    return dirichlet_upper(x, lo, hi, np.maximum(nats - np.log(5), 1e-9))
