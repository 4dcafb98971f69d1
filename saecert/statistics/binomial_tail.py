"""Binomial tails so thin that a double holds their logarithm only.

``P(at most k of n) = P(exactly k of n) S`` with S a continued fraction, which settles the sooner
the further p is beyond ``k / n``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, xlogy

FAR = 300.0
"""Nats, ``ln(1 / delta)``, beyond which tails are taken from here. The inverse of the incomplete
beta function in scipy 1.17 gives limits that are too low somewhere beyond 500.
"""

_EPS = np.finfo(float).eps
_LOG_ROOT_2PI = 0.5 * np.log(2 * np.pi)
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)
_ROUNDING = 1e-15  # in nats, for each nat and twice for each success expected
_STEPS = 100
_FRACTIONS = 1_000_000

Array = np.float64 | Float[np.ndarray, "*shape"]


def log_at_most(k: Any, n: Any, p: Any) -> Array:
    """Natural logarithm of ``P(Binomial(n, p) <= k)`` for p beyond the mode.

    Parameters
    ----------
    k, n : whole numbers, 0 <= k < n
    p : in (0, 1), above ``(k + 2) / (n + 3)``

    Returns
    -------
    float64 of their common shape, right to about ``1e-15 n p`` nats and 1e-15 of itself

    Examples
    --------
    >>> log_at_most(0, 1000, 0.75) == 1000 * np.log(0.25)
    np.True_
    """
    log_pmf, ratio = _parts(*np.broadcast_arrays(*(np.asarray(x, float) for x in (k, n, p))))
    return (log_pmf + np.log(ratio))[()]


def far_limit(k: Any, n: Any, nats: Any, start: Any) -> Array:
    """Largest p with ``log_at_most(k, n, p) >= -nats``, and never less.

    By Newton's method. The logarithm of the tail is concave in p (it is that of the survival
    function of a beta distribution, whose density is log-concave), so that its tangents lie above
    it: where one has fallen to ``-nats`` so has the tail, and no step ends below the limit.
    Rounding is paid for, in nats and with one unit in the last place.

    Parameters
    ----------
    k, n : whole numbers, 0 <= k < n
    nats : `FAR` or more
    start : where to begin: a limit that is about right, such as Chernoff's

    Examples
    --------
    >>> far_limit(0, 1000, 700.0, 0.6).round(6)  # 1 - exp(-nats / n)
    np.float64(0.503415)
    """
    k, n, nats, p = np.broadcast_arrays(*(np.asarray(x, float) for x in (k, n, nats, start)))
    nats = nats + _ROUNDING * (nats + 2 * n * p)
    for _ in range(_STEPS):
        inside = np.minimum(p, 1 - _EPS)
        log_pmf, ratio = _parts(k, n, inside)
        above = log_pmf + np.log(ratio) + nats
        step = np.where(p < 1, above * (1 - inside) * ratio / (n - k), 0.0)
        p = np.minimum(p + step, 1.0)
        if np.all(np.abs(step) <= 2 * _EPS * p):
            break
    return np.minimum(np.nextafter(p, 2.0), 1.0)[()]


def _parts(k: Array, n: Array, p: Array) -> tuple[Array, Array]:
    """Logarithm of ``P(exactly k)``, and ``P(at most k) / P(exactly k)``."""
    share = k / n
    # two logarithms of each share, whose roundings cancel
    deviance = xlogy(k, share / np.where(k > 0, p, 1.0)) + (n - k) * (
        np.log1p(-share) - np.log1p(-p)
    )
    some = np.maximum(k, 1.0)
    around = _stirling(n) - _stirling(some) - _stirling(n - k) - _LOG_ROOT_2PI
    around = around - 0.5 * np.log(some * (n - k) / n)
    return np.where(k > 0, around, 0.0) - deviance, _ratio(k, n, (1 - p) / p)


def _stirling(m: Array) -> Array:
    """``ln m!`` less Stirling's ``(m + 1/2) ln m - m + ln sqrt(2 pi)``, for m of 1 or more."""
    series = sum(c * m ** (-1.0 - 2 * i) for i, c in enumerate(_SERIES))
    small = np.minimum(m, 16.0)
    exact = gammaln(small + 1) - (small + 0.5) * np.log(small) + small - _LOG_ROOT_2PI
    return np.where(m < 16, exact, series)


def _ratio(k: Array, n: Array, odds: Array) -> Array:
    """``P(at most k) / P(exactly k)``, with `odds` of a failure, by Lentz's method.

    The sum ``1 + k / (n - k + 1) odds + ...`` is ``F(1, -k; n - k + 1; -odds)``, of which this is
    Gauss's continued fraction.
    """
    c = value = np.ones_like(odds)
    d = np.zeros_like(odds)
    for m in range(_FRACTIONS):
        at = n - k + 2 * m
        for term in (
            -(k - m) * (n - k + m) / (at * (at + 1)),
            (m + 1) * (n + m + 1) / ((at + 1) * (at + 2)),
        ):
            d = 1 / (1 + term * odds * d)
            c = 1 + term * odds / c
            value = value * c * d
        if np.all((np.abs(c * d - 1) <= 4 * _EPS) | (k <= m)):
            return 1 / value
    raise ArithmeticError("the continued fraction of a binomial tail did not settle")
