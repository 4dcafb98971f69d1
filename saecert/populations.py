"""Synthetic populations whose mean is known exactly, and the test that a bound must pass on them.

A miss is a bound below the population mean of the very values it was computed from. Easy populations prove nothing: a wrong
bound passes on smooth data at a small n. These have teeth: coins, heavy mass at both ends, and a point mass at `hi` that about
one sample in 1 / delta does not contain at all. `mutants` are wrong bounds which the same test has to reject.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri
from tqdm import tqdm

from saecert.bounds import INEQUALITIES, Inequality, Scalar, clopper_pearson_upper, dirichlet_upper, hoeffding_upper, misses

BLOCK = 2**21
"""Values drawn at once: a cell of any size needs a few tens of megabytes."""

REJECT_AT = 1e-4
"""Probability with which the table calls a valid bound rejected, cell by cell."""


@dataclass(frozen=True)
class Population:
    """A distribution on [lo, hi] with a known mean."""

    name: str
    """Label in tables."""
    lo: float
    """Lower end of the declared support."""
    hi: float
    """Upper end of the declared support."""
    mean: float
    """Exact mean."""
    sample: Callable[[np.random.Generator, tuple[int, ...]], Float[np.ndarray, "..."]]
    """``sample(rng, size)``: independent draws in an array of shape `size`."""

    def __post_init__(self) -> None:
        if not self.lo <= self.mean <= self.hi:
            raise ValueError(f"population {self.name!r}: the mean {self.mean} lies outside its support [{self.lo}, {self.hi}]")


def bernoulli(p: float) -> Population:
    """Coin with values 0 and 1, the latter with probability `p`."""
    return Population(f"Bernoulli({p:g})", 0.0, 1.0, p, lambda rng, size: (rng.random(size) < p).astype(float))


def beta(a: float, b: float) -> Population:
    """Beta distribution on [0, 1]; with `a` and `b` below 1 most of its mass lies at the two ends."""
    return Population(f"beta({a:g}, {b:g})", 0.0, 1.0, a / (a + b), lambda rng, size: rng.beta(a, b, size))


def rare_event(name: str, spread: float, unseen: float, n: int) -> Population:
    """Values uniform within `spread` of 0.3, and a point mass at 1 that a sample of `n` misses with probability `unseen`."""
    if not 0 < unseen < 1:
        raise ValueError(f"the probability of missing the point mass must lie strictly between 0 and 1, got {unseen}")
    mass = -np.expm1(np.log(unseen) / n)

    def sample(rng: np.random.Generator, size: tuple[int, ...]) -> Float[np.ndarray, "..."]:
        common = rng.uniform(0.3 - spread, 0.3 + spread, size)
        return np.where(rng.random(size) < mass, 1.0, common)

    return Population(name, 0.0, 1.0, float(0.3 + 0.7 * mass), sample)


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
    noisy, two = (min(factor * delta, 0.5 + 0.5 * delta) for factor in (1.02, 3.0))  # a probability for delta near 1, too
    return (*coins, beta(0.1, 0.5), rare_event("noise + point mass", 0.2, noisy, n), rare_event("two points", 0.0, two, n))


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
    populations: Callable[[int, float], Sequence[Population]] = with_teeth,
    draws: int = 20_000,
    delta: float = 0.05,
    seed: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Rows that say how often each inequality misses the mean of each population, and whether that is compatible with delta.

    Parameters
    ----------
    inequalities : functions ``upper(x, lo, hi, nats)`` by name
    sizes : sample sizes n
    populations : function of n and delta
    draws : samples a cell; the same ones for every inequality
    delta : nominal probability of a miss
    seed : of the samples
    progress : show a bar on stderr

    Returns
    -------
    list of dict
        inequality, population, n, draws, misses, miss_rate, its 99 % limits ci_low and ci_high (Clopper-Pearson), delta, and
        the verdict: "rejected" if the one-sided lower limit of the miss rate at error `REJECT_AT` exceeds delta, else "valid".
        A valid bound is rejected with probability at most `REJECT_AT` a cell.

    Examples
    --------
    >>> row, *_ = coverage_table({"hoeffding": hoeffding_upper}, draws=1000, progress=False)
    >>> row["population"], row["verdict"]
    ('Bernoulli(0.5)', 'valid')
    """
    if not 0 < delta < 1 or draws < 1:
        raise ValueError(f"coverage needs 0 < delta < 1 and at least one draw, got delta = {delta}, draws = {draws}")
    cells = [(n, index, population) for n in sizes for index, population in enumerate(populations(n, delta))]
    rows = []
    for n, index, population in tqdm(cells, desc="coverage", disable=not progress):
        counts = dict.fromkeys(inequalities, 0)
        for x in _blocks(population, draws, n, np.random.default_rng([seed, n, index])):
            for name, upper in inequalities.items():
                counts[name] += int(misses(upper, x, population.lo, population.hi, -np.log(delta), population.mean).sum())
        rows += [_row(name, population.name, n, draws, missed, delta) for name, missed in counts.items()]
    return rows


def _blocks(population: Population, draws: int, n: int, rng: np.random.Generator) -> Iterator[Float[np.ndarray, "rows n"]]:
    size = max(1, BLOCK // n)
    for start in range(0, draws, size):
        yield population.sample(rng, (min(size, draws - start), n))


def _row(inequality: str, population: str, n: int, draws: int, missed: int, delta: float) -> dict[str, Any]:
    low, least = 1 - clopper_pearson_upper(draws - missed, draws, -np.log([0.005, REJECT_AT]))
    return {
        "inequality": inequality,
        "population": population,
        "n": n,
        "draws": draws,
        "misses": missed,
        "miss_rate": missed / draws,
        "ci_low": float(low),
        "ci_high": float(clopper_pearson_upper(missed, draws, -np.log(0.005))),
        "delta": delta,
        "verdict": "rejected" if least > delta else "valid",
    }


def _normal(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The mean plus z standard errors: right in the limit, and blind to what the sample does not show."""
    return np.minimum(x.mean(axis=-1) - ndtri(np.exp(-nats)) * x.std(axis=-1, ddof=1) / np.sqrt(x.shape[-1]), hi)


def _no_variance(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Empirical Bernstein without its variance term."""
    return np.minimum(x.mean(axis=-1) + 7 * (hi - lo) * (nats + np.log(2)) / (3 * (x.shape[-1] - 1)), hi)


def _half_width(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """Hoeffding at half its width."""
    mean = x.mean(axis=-1)
    return mean + 0.5 * (hoeffding_upper(x, lo, hi, nats) - mean)


def _large_delta(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The Dirichlet bound at five times the promised delta."""
    return dirichlet_upper(x, lo, hi, np.maximum(nats - np.log(5), 1e-9))
