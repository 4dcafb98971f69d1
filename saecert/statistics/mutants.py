"""Wrong bounds, which a test of coverage that means something has to reject."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from saecert.statistics import finite
from saecert.statistics.inequalities import (
    Inequality,
    Scalar,
    betting_upper,
    dirichlet_upper,
    hoeffding_upper,
)
from saecert.statistics.populations import Draw, Population
from saecert.statistics.priors import FAVOURED, favoured_nats


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


def finite_mutants(population_size: int) -> dict[str, Inequality]:
    """Wrong bounds on the mean of a list of `population_size` values, by what is wrong with them.

    Each is rejected on lists of zeros and ones.
    """

    def shortened(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
        """Betting as if a tenth of what was not drawn were not on the list."""
        size = population_size - (population_size - x.shape[-1]) // 10
        return finite.betting_upper(x, lo, hi, nats, population_size=size)

    def narrowed(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
        """Betting with replacement, its width multiplied by sqrt(1 - n / N)."""
        factor = np.sqrt(1 - x.shape[-1] / population_size)
        mean = x.mean(axis=-1)
        return mean + factor * (betting_upper(x, lo, hi, nats) - mean)

    return {
        "a list too short": shortened,
        "finite-population factor": narrowed,
        "dirichlet, without replacement": dirichlet_upper,
    }


def unpaid(population: Population) -> Population:
    """A wrong pool rule: pools chosen on the sample at no cost."""
    return replace(
        population,
        draw=lambda rng, rows, n: population.draw(rng, rows, n)._replace(nats=np.zeros((1, 1))),
    )


def overspent(population: Population) -> Population:
    """Wrong weights of nested pools: `FAVOURED` for each of them, which sum to more than 1."""
    return replace(
        population,
        draw=lambda rng, rows, n: population.draw(rng, rows, n)._replace(
            nats=np.full((1, 1), -np.log(FAVOURED))
        ),
    )


def favoured_afterwards(population: Population) -> Population:
    """Wrong weights of nested pools: most of it for the smallest mean on the sample."""

    def draw(rng: np.random.Generator, rows: int, n: int) -> Draw:
        drawn = population.draw(rng, rows, n)
        means = drawn.x.mean(axis=-1)
        weights = np.stack([favoured_nats(means.shape[1], int(k)) for k in means.argmin(axis=1)])
        return drawn._replace(nats=weights)

    return replace(population, draw=draw)


def _normal(x: Float[np.ndarray, "*lead n"], lo: Scalar, hi: Scalar, nats: Any) -> Any:
    """The mean plus z standard errors: blind to what the sample does not show."""
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
