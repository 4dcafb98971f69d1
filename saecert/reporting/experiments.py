"""Experiments of pages, one cell at a time: any cell can be made again from its settings.

How often bounds miss, on populations that are made up and on measured losses (page 04), how wide
they are (page 05), how often a count of concepts or the name of the smaller of two is wrong (pages
06 and 07). Those that take long are the `build` of `saecert.reporting.simulations.simulated`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from saecert.certificates.certificate import certify
from saecert.certificates.exact_set import exact_set_bound
from saecert.certificates.pool_rules import PRIORS, fixed_pool
from saecert.certificates.sample import Sample
from saecert.certificates.terms import joint_loss
from saecert.records import SequenceLosses
from saecert.statistics import populations
from saecert.statistics.coverage import coverage_table
from saecert.statistics.inequalities import (
    INEQUALITIES,
    Inequality,
    clopper_pearson_upper,
    dirichlet_upper,
    empirical_bernstein_upper,
    lower,
    tightness,
)
from saecert.statistics.mutants import mutants, unpaid
from saecert.statistics.paired import difference_limits
from saecert.statistics.populations import Population

Rows = list[dict[str, Any]]

POOLS: dict[str, Callable[[int, float], Sequence[Population]]] = {
    "T1: fixed": populations.with_teeth,
    "T2: nested": populations.nested_with_teeth,
} | {
    f"T3: {prior} prior": partial(populations.in_sample_with_teeth, prior=prior) for prior in PRIORS
}
"""Populations with known mean by pool rule."""

COINS = "coins"
RARE = "rare event"
MEASURED = "measured v_A"
REPEATED = (COINS, RARE, MEASURED)
"""Populations of which documents are repeated."""


class Measured(NamedTuple):
    """Values of a quantity on every sequence, taken as a population."""

    values: np.ndarray
    """One row a pool, one column a sequence."""
    lo: float
    """Smallest possible value."""
    hi: float
    """Largest possible value."""
    truth: float | None = None
    """What misses are counted against, if not the mean of the values."""


def measured_quantities(
    losses: SequenceLosses, alpha: float, tolerance: float
) -> dict[str, Measured]:
    """Everything that a certificate bounds, by name, on every sequence of a record.

    The fixed pool is chosen on discovery at `tolerance`, as `saecert.certify` does. The last row is
    no quantity of its own: how often the bound on v_A lies below R(f), which is slack.
    """
    sample = Sample.of(losses, alpha)
    pooled = fixed_pool(sample, None, tolerance).losses
    lo = sample.lo
    hi = sample.hi
    width = hi - lo
    v = joint_loss(sample.clean, sample.full, pooled, hi)
    nested = joint_loss(sample.clean, sample.full, sample.pools, hi)
    return {
        "v_A (T1)": Measured(v, lo, hi),
        "v_A of any pool (T2)": Measured(nested, lo, hi),
        "proxy risk": Measured(pooled, lo, hi),
        "reconstruction gap": Measured(np.abs(sample.clean - sample.full)[None], 0.0, width),
        "pool mismatch": Measured(np.abs(sample.full - pooled), 0.0, width),
        "model risk": Measured(sample.clean[None], lo, hi),
        "price of explanation": Measured(pooled - sample.clean, -width, width),
        "slack: R(f) by v_A": Measured(v, lo, hi, float(sample.clean.mean())),
    }


def misses_made_up(
    *, pools: str, n: int, method: str = "", free: bool = False, **settings: Any
) -> Rows:
    """Miss rates on populations made to break a bound: rows of `coverage_table`, with a label.

    Parameters
    ----------
    pools
        A key of `POOLS`.
    n
        Sequences in a sample.
    method
        An inequality or a mutant; all inequalities if empty.
    free
        Whether pools are chosen on the sample at no cost, which is wrong.
    settings
        draws, values, delta and seed of `coverage_table`.
    """
    known: Mapping[str, Inequality] = {**INEQUALITIES, **mutants()}
    tested = {method: known[method]} if method else INEQUALITIES
    made = POOLS[pools](n, settings["delta"])
    if free:
        made = [unpaid(population) for population in made]
    rows = coverage_table(tested, [n], populations=made, progress=False, **settings)
    label = f"{pools}, at no cost" if free else pools
    return [{"label": method if method in mutants() else label, **row} for row in rows]


def misses_on_measured(
    losses: SequenceLosses,
    *,
    quantity: str,
    n: int,
    alpha: float,
    tolerance: float,
    **settings: Any,
) -> Rows:
    """Miss rates on samples of `n` drawn, with replacement, from measured losses.

    `quantity` is a key of `measured_quantities`; the other settings as for `misses_made_up`.
    """
    case = measured_quantities(losses, alpha, tolerance)[quantity]
    made = [populations.resampled(quantity, *case)]
    rows = coverage_table(INEQUALITIES, [n], populations=made, progress=False, **settings)
    return [{"label": quantity, **row} for row in rows]


def misses_of_repeats(
    losses: SequenceLosses,
    *,
    source: str,
    copies: int,
    n: int,
    alpha: float,
    tolerance: float,
    **settings: Any,
) -> Rows:
    """Miss rates of the default bound on `n` documents of which each comes `copies` times.

    `source` is one of `REPEATED`; the other settings as for `misses_made_up`.
    """
    if source == COINS:
        population = populations.bernoulli(0.5)
    elif source == RARE:
        population = populations.rare_event(RARE, 0.0, 0.98 * settings["delta"], n)
    else:
        case = measured_quantities(losses, alpha, tolerance)["v_A (T1)"]
        population = populations.resampled(MEASURED, *case)
    made = [populations.repeated(population, copies)]
    default = {"dirichlet": dirichlet_upper}
    rows = coverage_table(default, [n], populations=made, progress=False, **settings)
    return [{"label": f"{source}, {copies} of each", **row} for row in rows]


def worst_cells(frame: pd.DataFrame, by: Sequence[str] = ("label", "inequality")) -> pd.DataFrame:
    """Of each group the row that misses most often, in the order of the frame."""
    rows = frame.groupby(list(by), sort=False)["miss_rate"].idxmax()
    return frame.loc[rows].reset_index(drop=True)


def caught(frames: Mapping[str, pd.DataFrame]) -> pd.Series:
    """Whether each wrong method is rejected on at least one population, by quantity and label.

    `frames` are tables of wrong methods by what is bounded: a label may come back in another table,
    and has to be rejected in each.
    """
    verdicts = pd.concat(frames, names=["quantity"]).groupby(["quantity", "label"], sort=False)
    return verdicts["verdict"].agg(lambda cells: (cells == "rejected").any())


def tightness_of_resamples(
    losses: SequenceLosses,
    *,
    n: int,
    resamples: int,
    delta: float,
    seed: int,
    alpha: float,
    tolerance: float,
) -> Rows:
    """Mean tightness of every inequality on v_A and its terms, over resamples of `n` sequences.

    Columns: quantity, inequality, tightness, its standard error "error". The resamples are the same
    for all inequalities and quantities.
    """
    quantities = measured_quantities(losses, alpha, tolerance)
    names = ("v_A (T1)", "proxy risk", "reconstruction gap", "pool mismatch")
    rng = np.random.default_rng([seed, n])
    drawn = rng.integers(len(losses), size=(resamples, n))
    nats = -np.log(delta)
    rows = []
    for name in names:
        values, lo, hi, _ = quantities[name]
        x = values[0][drawn]
        for inequality, upper in INEQUALITIES.items():
            ratios = tightness(upper(x, lo, hi, nats), x, hi, nats)
            error = ratios.std(ddof=1) / np.sqrt(resamples)
            row = {"quantity": name.removesuffix(" (T1)"), "inequality": inequality}
            rows.append(row | {"tightness": ratios.mean(), "error": error})
    return rows


def tightness_on_coins(sizes: Sequence[int], delta: float, p: float = 0.3) -> dict[int, float]:
    """Exact mean tightness of the Dirichlet bound on coins by n: a sum over the number of heads."""
    nats = -np.log(delta)
    means = {}
    for n in sizes:
        weights = binom.pmf(np.arange(n + 1), n, p)
        heads = np.flatnonzero(weights > 1e-9)
        flips = (np.arange(n) < heads[:, None]).astype(float)
        limits = dirichlet_upper(flips, 0.0, 1.0, nats)
        means[n] = float(weights[heads] @ tightness(limits, flips, 1.0, nats))
    return means


def floor_tightness(
    values: np.ndarray, hi: float, sizes: Sequence[int], delta: float
) -> pd.DataFrame:
    """What no valid bound's median tightness is below, by n: columns n and tightness.

    Width ``(1 - (2 delta)^(1/n)) (hi - mean)`` over the yardstick at the mean and the standard
    deviation of `values`.
    """
    n = np.array(sizes, dtype=float)
    room = hi - values.mean()
    spread = -ndtri(delta) * values.std(ddof=1) / np.sqrt(n)
    rare = (1 - delta ** (1 / n)) * room
    floor = (1 - (2 * delta) ** (1 / n)) * room
    return pd.DataFrame({"n": list(sizes), "tightness": floor / np.hypot(spread, rare)})


def repeated_in_theory(source: str, copies: int, delta: float) -> float:
    """How often a bound at `delta` misses if it took `copies` of each document for independent.

    ``Phi(Phi^-1(delta) / sqrt(r))`` for coins, where the normal approximation decides,
    ``delta^(1/r)`` for an event that the sample does not contain, NaN for measured losses.
    """
    if source == MEASURED:
        return float("nan")
    if source == RARE:
        return float((0.98 * delta) ** (1 / copies))
    return float(ndtr(ndtri(delta) / np.sqrt(copies)))


def wrong_counts(*, n: int, n_pools: int, draws: int, delta: float, seed: int) -> pd.DataFrame:
    """Wrong concept counts among simulated samples: one row a method, one column a population.

    Every pool but the whole dictionary has a gap just above the tolerance, and gaps are at the ends
    of their support: the bound is Clopper and Pearson's, and each pool passes by luck with
    probability `delta`. "pools apart" have gaps of their own, "pools alike" all the same ones.
    Columns of the simulated gaps go from large pools to small ones.
    """
    gaps = np.arange(n + 1)
    alone = clopper_pearson_upper(gaps, n, -np.log(delta))
    jointly = clopper_pearson_upper(gaps, n, np.log(n_pools / delta))
    tolerance = alone[5]
    rng = np.random.default_rng(seed)
    apart = rng.binomial(n, tolerance * (1 + 1e-9), size=(draws, n_pools))
    alike = np.repeat(apart[:, :1], n_pools, axis=1)
    columns = {}
    for name, drawn in {"pools apart": apart, "pools alike": alike}.items():
        passes = alone[drawn] <= tolerance
        accepted = {
            "testing downwards": np.logical_and.accumulate(passes, axis=1),
            "whole curve (T2)": jointly[drawn] <= tolerance,
            "smallest that passes (mutant)": passes,
        }
        columns[name] = {method: taken.any(axis=1).sum() for method, taken in accepted.items()}
    return pd.DataFrame(columns)


def names_given(
    *, n: int = 500, draws: int = 2_000, delta: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """How often one of two is named the smaller, and how often wrongly, in worlds of known truth.

    Columns: world, rule, named, wrong (numbers of samples). Rules: "smaller bound" (compare two
    upper limits), "apart" (limits from both sides that do not overlap), "paired" (what
    `saecert.compare` does); all by empirical Bernstein, the fastest.
    """
    rng = np.random.default_rng(seed)
    u, v = rng.random((2, draws, n))
    coin = (u < 0.5).astype(float)
    worlds = {
        "equal, never alike": (coin, 1 - coin, 0),
        "b smaller, but spread out": (np.full_like(u, 0.3), (u < 0.28).astype(float), 1),
        "a smaller, much in common": (0.8 * u, 0.8 * u + 0.2 * v, -1),
    }
    rows = []
    for world, (a, b, truth) in worlds.items():
        for rule, names in _names(a, b, delta).items():
            wrong = (names != 0) & (names != truth)
            row = {"world": world, "rule": rule, "named": int((names != 0).sum())}
            rows.append(row | {"wrong": int(wrong.sum())})
    return pd.DataFrame(rows)


def _names(a: np.ndarray, b: np.ndarray, delta: float) -> dict[str, np.ndarray]:
    """By rule, for each sample: 1 if b is named the smaller, -1 if a is, 0 if neither."""
    upper = empirical_bernstein_upper
    half = np.log(2 / delta)
    quarter = np.log(4 / delta)
    difference = upper(a, 0, 1, half) - upper(b, 0, 1, half)
    a_low, b_low = (lower(upper, x, 0, 1, quarter) for x in (a, b))
    a_high, b_high = (upper(x, 0, 1, quarter) for x in (a, b))
    low, high = difference_limits(a, b, (0, 1, 0, 1), half, "empirical_bernstein")
    return {
        "smaller bound": np.sign(difference).astype(int),
        "apart": (a_low > b_high).astype(int) - (a_high < b_low),
        "paired": (low > 0).astype(int) - (high < 0),
    }


EXACT = "T3, exact set, Hoeffding"
_IN_SAMPLE = {"method": "in_sample", "prior": "uniform", "inequality": "hoeffding"}
WAYS: dict[str, dict[str, Any]] = {
    "T2, Dirichlet": {"method": "nested"},
    "T2, Hoeffding": {"method": "nested", "inequality": "hoeffding"},
    "T3, superset, Hoeffding": _IN_SAMPLE,
}
"""Settings of `certify` by pool rule and inequality, each one change from its neighbour."""


def bounds_by_rule(
    losses: SequenceLosses, sizes: Sequence[int], *, delta: float, alpha: float
) -> pd.DataFrame:
    """Bounds of prefixes of a record by `WAYS`, and for the exact active set.

    Columns: label, n_seq, bound, k, beaten (references, in the order of the ladder).
    """
    settings: dict[str, Any] = {"delta": delta, "alpha": alpha}
    rows: Rows = []
    for label, way in WAYS.items():
        for n in sizes:
            certificate = certify(losses, n_seq=n, eps=(), **settings, **way)
            beaten = sum(rung["claimed"] for rung in certificate.ladder)
            row = {"label": label, "n_seq": n, "bound": certificate.bound, "k": certificate.k}
            rows.append(row | {"beaten": beaten})
    for n in sizes:
        exact = exact_set_bound(losses, n, **settings)
        row = {"label": EXACT, "n_seq": n, "bound": exact.bound, "k": exact.k}
        rows.append(row | {"beaten": exact.beaten})
    return pd.DataFrame(rows)


def sizes_needed(curve: pd.DataFrame, reached: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Smallest n_seq by label at which each condition holds, missing where it never does."""
    columns = {name: curve[rows].groupby("label")["n_seq"].min() for name, rows in reached.items()}
    return pd.DataFrame(columns).reindex(curve["label"].unique()).astype("Int64")


def share_of_orders(
    losses: SequenceLosses, rung: int, n: int, *, orders: int, seed: int, **settings: Any
) -> float:
    """In which share of random orders the first `n` sequences beat a rung of the ladder by T2."""
    rng = np.random.default_rng([seed, n])
    beaten = 0
    for _ in range(orders):
        record = losses.take(rng.permutation(len(losses))[:n])
        certificate = certify(record, method="nested", eps=(), **settings)
        beaten += certificate.ladder[rung]["claimed"]
    return beaten / orders
