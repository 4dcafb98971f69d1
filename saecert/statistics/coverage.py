"""The test that a bound must pass on populations whose mean is known.

A miss is a bound below the population mean of the very values it was computed from. `populations`
has the populations, `mutants` wrong bounds which the same test has to reject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from saecert.statistics.inequalities import INEQUALITIES, Inequality, clopper_pearson_upper, misses
from saecert.statistics.populations import Draw, Population, with_teeth
from saecert.storage import progress_bar

SIMULATION_VERSION = 1
"""To be raised whenever the counts of `coverage_table` may change: populations, seeds, bounds.

Whoever keeps a table keeps it under this number and its arguments."""

BLOCK = 2**21
"""Values drawn at once: a cell of any size needs a few tens of megabytes."""

REJECT_AT = 1e-4
"""Probability with which the table calls a valid bound rejected, cell by cell."""


def coverage_table(
    inequalities: Mapping[str, Inequality] = INEQUALITIES,
    sizes: Sequence[int] = (100,),
    *,
    populations: Callable[[int, float], Sequence[Population]] | Sequence[Population] = with_teeth,
    draws: int = 20_000,
    values: int | None = None,
    delta: float = 0.05,
    seed: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Rows that say how often each inequality misses the mean of each population.

    And whether that is compatible with delta.

    Parameters
    ----------
    inequalities : functions ``upper(x, lo, hi, nats)`` by name
    sizes : sample sizes n
    populations : several, or a function of n and delta that makes them
    draws : samples a cell; the same ones for every inequality
    values : most values in a cell; where `draws` would need more, there are fewer of them
    delta : nominal probability of a miss
    seed : of the samples
    progress : show a bar on stderr

    Returns
    -------
    list of dict
        inequality, rule, population, n, draws, misses, miss_rate, its 99 % limits ci_low and
        ci_high (Clopper-Pearson), delta, and the verdict: "rejected" if the one-sided lower limit
        of the miss rate at error `REJECT_AT` exceeds delta, else "valid". A valid bound is rejected
        with probability at most `REJECT_AT` a cell. Of several pools any one missing is one miss.

    Examples
    --------
    >>> from saecert.statistics.inequalities import hoeffding_upper
    >>> row, *_ = coverage_table({"hoeffding": hoeffding_upper}, draws=1000, progress=False)
    >>> row["population"], row["verdict"]
    ('Bernoulli(0.5)', 'valid')
    """
    if not 0 < delta < 1 or draws < 1:
        raise ValueError(
            "coverage needs 0 < delta < 1 and at least one draw, "
            f"got delta = {delta}, draws = {draws}"
        )
    made = {n: populations(n, delta) if callable(populations) else populations for n in sizes}
    cells = [(n, index, population) for n in sizes for index, population in enumerate(made[n])]
    rows = []
    for n, index, population in progress_bar(cells, desc="coverage", disable=not progress):
        per_draw = population.draw(np.random.default_rng(0), 1, n).x.size
        most = draws if values is None else max(1, min(draws, values // per_draw))
        rng = np.random.default_rng([seed, n, index])
        counts = _counts(inequalities, population, n, most, delta, rng)
        rows += [_row(name, population, n, most, delta, missed) for name, missed in counts.items()]
    return rows


def _counts(
    inequalities: Mapping[str, Inequality],
    population: Population,
    n: int,
    draws: int,
    delta: float,
    rng: np.random.Generator,
) -> dict[str, int]:
    """Misses by inequality, from the same samples for all."""
    counts = dict.fromkeys(inequalities, 0)
    block = max(1, BLOCK // n)
    nats = -np.log(delta)
    for start in range(0, draws, block):
        drawn = population.draw(rng, min(block, draws - start), n)
        for name, upper in inequalities.items():
            missed = _missed(upper, drawn, population.lo, population.hi, nats)
            counts[name] += int(missed.sum())
    return counts


def _missed(
    upper: Inequality, drawn: Draw, lo: float, hi: float, nats: float
) -> Bool[np.ndarray, " rows"]:
    """Samples with a pool whose bound lies below its mean."""
    shape = drawn.x.shape[:2]
    means = np.broadcast_to(drawn.mean, shape)
    paid = np.broadcast_to(nats + drawn.nats, shape)
    missed = np.zeros(shape, bool)
    for mean in np.unique(drawn.mean):
        here = means == mean
        missed[here] = misses(upper, drawn.x[here], lo, hi, paid[here], mean)
    return np.any(missed, axis=1)


def _row(
    inequality: str, population: Population, n: int, draws: int, delta: float, missed: int
) -> dict[str, Any]:
    both = clopper_pearson_upper(draws - missed, draws, -np.log([0.005, REJECT_AT]))
    low, least = 1 - np.asarray(both)
    high = clopper_pearson_upper(missed, draws, -np.log(0.005))
    return {
        "inequality": inequality,
        "rule": population.rule,
        "population": population.name,
        "n": n,
        "draws": draws,
        "misses": missed,
        "miss_rate": missed / draws,
        "ci_low": float(low),
        "ci_high": float(high),
        "delta": delta,
        "verdict": "rejected" if least > delta else "valid",
    }
