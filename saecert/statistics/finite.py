r"""Bounds on the mean of a finite list of which some values were drawn without replacement.

A list of N values in [lo, hi], n of them drawn one after the other without replacement (a simple
random sample): `finite_upper` makes of an inequality's name a function ``upper(x, lo, hi, nats)``
that bounds the mean *of the list*. No assumption is left about how the list came about, and nothing
is said of values that are not on it.

*Betting.* If the list's mean is m and the first i - 1 draws sum to ``S``, the next one has the mean
of what is left, ``mu_i(m) = (N m - S) / (N - i + 1)``, given all earlier ones (Waudby-Smith &
Ramdas 2020, "Confidence sequences for sampling without replacement"). So ``prod (1 + bet_i (z_i -
mu_i(m)))`` is a nonnegative martingale under "the mean is m" for every bet that is known before
z_i and lies in [0, 1 / mu_i], and Ville's inequality holds as it does with replacement. The bets
are those of `saecert.statistics.betting`, with two changes. The cap is 0.9 / mu_i. And a mean that
is wrong by e shows in ``z_i - mu_i`` as ``w_i e``, ``w_i = N / (N - i + 1)``, more and more towards
the end; the gambler who wants the target at the last value therefore stakes ``w_i phi(q) / (p
sqrt(v sum_{j >= i} w_j^2))``. As ``sum w_j^2`` is about ``N n / (N - n)``, the normal width shrinks
by ``sqrt(1 - n / N)``.

*The rejected means are an interval that starts at 0*, as with replacement: the proof in `betting`
uses of m only that it is the mean that a value is compared with, that the cap is 0.9 over it, and
that the rate of the bet depends neither on it nor on the wealth. Each ``mu_i(m)`` rises with m, so
every step does not rise with m and does not fall with p (our derivation, certificate.md, 8).

*Arithmetic.* What was not drawn lies in [lo, hi] as well. In units of z: m is refuted outright as
soon as ``N m < S`` (and is as soon as ``mu_i(m) < 0``), so that at n = N nothing is left to be
unsure of.

`saecert.statistics.inequalities.dirichlet_upper` is false without replacement at every delta (see
there) and the empirical Bernstein bound has no proof; both are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import index
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from saecert.statistics import betting
from saecert.statistics.inequalities import (
    Bound,
    Inequality,
    Nats,
    Sample,
    Scalar,
    checked,
    chernoff_kl_upper,
    hoeffding_upper,
)

Rows = Float[np.ndarray, " rows"]
Values = Float[np.ndarray, "rows n"]

_EPS = np.finfo(float).eps


def rejects(
    z: Values, m: Float[np.ndarray, "rows points"], nats: Rows, population_size: int
) -> Bool[np.ndarray, "rows points"]:
    """Whether bets against "the list's mean is m" ever reach a wealth of exp(nats).

    Parameters
    ----------
    z : (rows, n) in [0, 1], drawn without replacement, in the order in which they were drawn
    m : (rows, points), positive
    nats : (rows,), positive
    population_size : N, at least n

    Examples
    --------
    >>> rejects(np.full((1, 100), 0.5), np.array([[0.4, 0.49, 0.6]]), np.array([3.0]), 120)
    array([[ True,  True, False]])
    """
    n = z.shape[1]
    left = population_size - np.arange(n)  # on the list, this one included
    weight = population_size / left
    information = (weight[::-1] ** 2).cumsum()[::-1]  # of the values still to come
    rate = weight / np.sqrt(information * betting.past_variance(z))
    before = np.concatenate([np.zeros((len(z), 1)), z.cumsum(axis=1)], axis=1)
    # sums of n values are rounded: a mean is refuted by more than that, or not at all
    total = population_size * m + 4 * _EPS * n * population_size
    log_p = np.repeat(-nats[:, None], m.shape[1], axis=1)
    for i in range(n):
        room = total - before[:, i, None]
        mean = np.maximum(room, _EPS) / left[i]
        log_p = betting.after_bet(log_p, z[:, i, None], mean, rate[:, i, None], betting.CAP / mean)
    return (log_p == 0) | (total < before[:, -1:])


def betting_upper(x: Sample, lo: Scalar, hi: Scalar, nats: Nats, *, population_size: int) -> Bound:
    """Largest mean of the list not refuted by betting against it, value by value.

    **Guarantee.** P(mean of the list > bound) <= exp(-nats) for `x` drawn without replacement from
    a list of `population_size` values in [lo, hi], in the order of drawing (Ville's inequality;
    Waudby-Smith & Ramdas 2020). The length n steers the bets and must be fixed beforehand. At n =
    `population_size` it is the mean of `x`, with certainty.

    Raises
    ------
    ValueError
        As `saecert.statistics.inequalities.hoeffding_upper`; or more values than the list has.

    Examples
    --------
    >>> x = np.array([0.0, 1.0] * 50)
    >>> [betting_upper(x, 0, 1, 2, population_size=size).round(3) for size in (100, 125, 10**6)]
    [np.float64(0.5), np.float64(0.529), np.float64(0.562)]
    """
    x, nats = checked(x, lo, hi, nats)
    _check_size(population_size, x.shape[-1])
    z = ((hi - x) / (hi - lo)).reshape(-1, x.shape[-1])
    test = partial(rejects, population_size=population_size)
    kept = betting.smallest_kept(z, nats.ravel(), test).reshape(nats.shape)
    return np.minimum(hi - (hi - lo) * kept, certain_upper(x, hi, population_size))[()]


def certain_upper(x: Sample, hi: Scalar, population_size: int) -> Bound:
    """What the list's mean is at most whatever was not drawn: as if all of that were `hi`.

    ValueError for more values than the list has, or one above `hi`.

    >>> certain_upper(np.array([0.0, 0.5]), hi=1, population_size=4)
    np.float64(0.625)
    """
    _check_size(population_size, x.shape[-1])
    if not (x <= hi + 1e-9 * np.abs(hi)).all():
        raise ValueError(f"values above hi = {hi}, or nan: nothing is certain of their list")
    share = x.shape[-1] / population_size
    return x.mean(axis=-1) * share + hi * (1 - share)


def finite_upper(inequality: str, population_size: int) -> Inequality:
    """An inequality for the mean of a list of `population_size` values, by name.

    "betting" is `betting_upper`; "hoeffding" and "chernoff_kl" are proved for draws without
    replacement as they are (Hoeffding 1963, Theorem 4). All are at most `certain_upper`, so that
    nothing is unknown of a list that was drawn to the end.

    Raises
    ------
    ValueError
        An inequality that is not valid without replacement, an unknown one, or a size that is not a
        whole number of at least 2.

    Examples
    --------
    >>> upper = finite_upper("hoeffding", 200)
    >>> upper(np.array([0.0, 1.0] * 100), 0, 1, nats=3)
    np.float64(0.5)
    """
    if inequality not in FINITE:
        raise ValueError(
            f"'{inequality}' is not valid for draws without replacement from a finite list: "
            f"with population_size take inequality='betting' (there are {', '.join(FINITE)})"
        )
    _check_size(population_size, 2)
    return partial(FINITE[inequality], population_size=index(population_size))


def _hoeffding_upper(
    x: Sample, lo: Scalar, hi: Scalar, nats: Nats, *, population_size: int
) -> Bound:
    return _at_most_certain(hoeffding_upper, x, lo, hi, nats, population_size)


def _chernoff_kl_upper(
    x: Sample, lo: Scalar, hi: Scalar, nats: Nats, *, population_size: int
) -> Bound:
    return _at_most_certain(chernoff_kl_upper, x, lo, hi, nats, population_size)


def _at_most_certain(
    upper: Callable[..., Any], x: Sample, lo: Scalar, hi: Scalar, nats: Nats, population_size: int
) -> Bound:
    bound = upper(x, lo, hi, nats)
    x = np.asarray(x, float)
    _check_size(population_size, x.shape[-1])
    return np.minimum(bound, certain_upper(x, hi, population_size))[()]


def _check_size(population_size: int, least: int) -> None:
    try:
        size = index(population_size)
    except TypeError:
        size = -1
    if isinstance(population_size, bool) or size < least:
        raise ValueError(
            f"population_size must be a whole number of at least {least}, the values drawn from "
            f"the list, got {population_size!r}"
        )


FINITE: dict[str, Inequality] = {
    "betting": betting_upper,
    "hoeffding": _hoeffding_upper,
    "chernoff_kl": _chernoff_kl_upper,
}
"""Inequalities that hold without replacement, by name; each takes ``population_size``, too."""
