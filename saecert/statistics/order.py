"""Limits on quantiles and on shares of a distribution, which need no support at all."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool
from scipy.special import bdtrc

from saecert.statistics.binomial_tail import FAR, log_at_most
from saecert.statistics.inequalities import Bound, Sample, clopper_pearson_upper

_ROUNDING = 1e-9  # of logarithms in `_far_rank`: in a tie, the larger rank


def quantile_upper(x: Sample, level: float, nats: float) -> Bound:
    """Upper limit on the quantile of `level`, the smallest t with ``P(X <= t) >= level``.

    It is the value of rank `quantile_rank` among the n; nan ranks above all numbers, so that a
    value that was not measured never lowers the limit.

    **Guarantee.** ``P(quantile > limit) <= exp(-nats)`` for independent, identically distributed
    values of any distribution, bounded or not, with ties or without. Where it holds, a fresh value
    is at most the limit with probability `level` or more. Proof (our wording of the textbook's):
    with t the quantile, ``P(X < t) <= level``; the limit is below t only if at least as many values
    as its rank are, whose number is binomial with a success probability of at most `level`.

    Raises
    ------
    ValueError
        As `quantile_rank`.

    Examples
    --------
    >>> quantile_upper(np.arange(100.0), 0.9, -np.log(0.05))
    np.float64(95.0)
    """
    rank = quantile_rank(x.shape[-1], level, nats)
    return np.partition(x, rank - 1, axis=-1)[..., rank - 1][()]


def quantile_rank(n: int, level: float, nats: float) -> int:
    """Smallest r with ``P(Binomial(n, level) >= r) <= exp(-nats)``: 1 is the smallest value's rank.

    Raises
    ------
    ValueError
        `level` outside (0, 1), or too extreme for `n`: the message says how many values it needs;
        `nats` that are not positive and finite.

    Examples
    --------
    >>> quantile_rank(1000, 0.95, -np.log(0.05))
    962
    """
    least = values_needed(level, nats)
    if n < least:
        delta = f"delta {math.exp(-nats):.3g}" if nats < 700 else f"nats {nats:g}"
        raise ValueError(
            f"the quantile at {level:g} is too extreme for {n} sequences: at {delta} it needs "
            f"{least}"
        )
    if nats > FAR:
        return _far_rank(n, level, nats)
    rarely = bdtrc(np.arange(n), n, level) <= math.exp(-nats)  # at least 1, 2, ..., n of them
    rarely[-1] = True  # as `values_needed` says, whatever the rounding
    return int(np.argmax(rarely)) + 1


def values_needed(level: float, nats: float) -> int:
    """Values without which `quantile_upper` has none to name: ``level^n <= exp(-nats)``.

    ValueError for a level outside (0, 1), or `nats` that are not positive and finite.

    Examples
    --------
    >>> values_needed(0.99, -np.log(0.05))
    299
    """
    if not 0 < level < 1:
        raise ValueError(f"a quantile's level must lie strictly between 0 and 1, got {level}")
    if not 0 < nats < math.inf:
        raise ValueError(f"nats = ln(1 / delta) must be positive and finite, got {nats}")
    n = max(1, math.ceil(-nats / math.log(level) - 1e-9))
    if nats > FAR:  # the probability may underflow
        return n if n * math.log(level) <= -nats else n + 1
    return n if level**n <= math.exp(-nats) else n + 1


def share_lower(inside: Bool[np.ndarray, "*lead n"], nats: float) -> Bound:
    """Lower limit on the probability of an event, by Clopper and Pearson.

    **Guarantee.** ``P(probability < limit) <= exp(-nats)`` for independent trials (Clopper &
    Pearson 1934). ValueError for what is neither 0 nor 1.

    Examples
    --------
    >>> share_lower(np.ones(1000, bool), -np.log(0.05)).round(4)
    np.float64(0.997)
    """
    if not np.isin(inside, (0, 1)).all():
        raise ValueError("a trial is inside or not: pass booleans, such as x <= t")
    n = inside.shape[-1]
    return 1.0 - clopper_pearson_upper(n - inside.sum(axis=-1), n, nats)


def _far_rank(n: int, level: float, nats: float) -> int:
    """`quantile_rank` by logarithms of the probabilities, which fall with the rank."""
    often, rarely = min(math.ceil(n * level) + 1, n - 1), n
    while rarely - often > 1:
        middle = (often + rarely) // 2
        # at least so many below the quantile: at most n less that many above it
        if log_at_most(n - middle, n, 1 - level) <= -nats * (1 + _ROUNDING):
            rarely = middle
        else:
            often = middle
    return rarely
