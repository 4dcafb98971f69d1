"""How often the sharp bound misses E s_A, and wrong versions of it: simulated frames of page 04."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from saecert.certificates.pool_rules import PRIORS
from saecert.certificates.terms import one_sided, sharp_loss
from saecert.statistics import populations
from saecert.statistics.coverage import coverage_table
from saecert.statistics.inequalities import INEQUALITIES, Inequality, dirichlet_upper
from saecert.statistics.mutants import favoured_afterwards, mutants, overspent, unpaid
from saecert.statistics.populations import Population, triples

Rows = list[dict[str, Any]]
Teeth = Callable[[int, float], Sequence[Population]]

POOLS: dict[str, Teeth] = {
    "T1: fixed": populations.with_teeth,
    "T2: equal weights": populations.nested_with_teeth,
    "T2: from discovery": populations.favoured_with_teeth,
} | {
    f"T3: {prior} prior": partial(populations.in_sample_with_teeth, prior=prior) for prior in PRIORS
}
"""Populations with known mean by pool rule."""

_FIVEFOLD = "delta five times too large"


class _Wrong(NamedTuple):
    """One thing that is wrong, all else as it should be."""

    pools: str
    rule: Callable[[Population], Population] = lambda population: population
    combine: Callable[..., np.ndarray] = sharp_loss
    upper: Inequality = dirichlet_upper


def _without_the_model(clean: np.ndarray, full: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """The sharp loss without its last term: the larger loss of the two proxies."""
    mismatch, _ = one_sided(clean, full, pooled)
    return pooled + mismatch


def _averaged(clean: np.ndarray, full: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """The mean of the three losses in the place of the largest."""
    return (clean + full + pooled) / 3


WRONG: dict[str, _Wrong] = {
    "T1: the model's term left out": _Wrong("T1: fixed", combine=_without_the_model),
    "T1: mean of the three losses": _Wrong("T1: fixed", combine=_averaged),
    f"T1: {_FIVEFOLD}": _Wrong("T1: fixed", upper=mutants()[_FIVEFOLD]),
    "T2: weights sum to 4.5": _Wrong("T2: from discovery", rule=overspent),
    "T2: weights from the sample": _Wrong("T2: from discovery", rule=favoured_afterwards),
    "T3: product prior, at no cost": _Wrong("T3: product prior", rule=unpaid),
    "T3: uniform prior, at no cost": _Wrong("T3: uniform prior", rule=unpaid),
}
"""Versions of the sharp bound that the test has to reject, by what is wrong with them."""


def misses_of_sharp(*, pools: str, n: int, **settings: Any) -> Rows:
    """Miss rates of every inequality on s_A: rows of `coverage_table`, with a label.

    Parameters
    ----------
    pools
        A key of `POOLS`.
    n
        Sequences in a sample.
    settings
        draws, values, delta and seed of `coverage_table`.
    """
    made = [triples(population, sharp_loss) for population in POOLS[pools](n, settings["delta"])]
    rows = coverage_table(INEQUALITIES, [n], populations=made, progress=False, **settings)
    return [{"label": pools, **row} for row in rows]


def misses_of_wrong(*, wrong: str, n: int, **settings: Any) -> Rows:
    """The same for a key of `WRONG`, with the Dirichlet bound where that is not what is wrong."""
    case = WRONG[wrong]
    base = POOLS[case.pools](n, settings["delta"])
    made = [triples(case.rule(population), case.combine) for population in base]
    tested = {"dirichlet": case.upper}
    rows = coverage_table(tested, [n], populations=made, progress=False, **settings)
    return [{"label": wrong, **row} for row in rows]
