r"""A betting test of every mean at once: what the mean of [0, 1]-valued data can still be.

Against the claim "the mean is m" one bets on each value in turn; the wealth ``prod (1 + bet_i (z_i
- m))`` is a nonnegative martingale under the claim, so by Ville's inequality it ever reaches
``exp(nats)`` with probability at most ``exp(-nats)`` (Waudby-Smith & Ramdas 2024). The bet aims at
that target: with ``p`` = wealth / target, ``k`` values still to come and ``v`` a running variance,
a Gaussian gambler who wants to reach the target at the last value stakes ``phi(Phi^{-1}(p)) / (p
sqrt(k v))``; here at most ``0.9 / m``, so that no single value costs more than nine tenths of the
wealth.

*The rejected means are an interval that starts at 0*, so a search by bisection misses nothing. One
step takes ``p`` to ``g(p, m) = p + p bet (z - m)``, cut off at 1, and this

* does not rise with m: ``v`` does not depend on m, nor does ``bet`` below its cap, and at the cap
  ``bet (z - m) = 0.9 (z / m - 1)``;
* does not fall with p. At the cap ``bet`` is constant and ``1 + bet (z - m) > 0``. Below it, with
  ``x = (z - m) / sqrt(k v)`` and ``q = Phi^{-1}(p)``, ``g = Phi(q) + x phi(q)``, with derivative
  ``1 - x q`` in p. For ``x < 0 < q`` and for ``q < 0 < x`` this is positive; for ``x, q < 0`` use
  ``|q| < phi(q) / Phi(q)`` and the cap: ``x q < bet (m - z) <= 0.9``; for ``x, q > 0`` it is
  negative only where ``q > 1 / x``, and there ``g >= Phi(q) + phi(q) / q > 1`` is cut off.

By induction p falls with m at every step, and a wealth that has reached its target stays there (no
bet is made at p = 1).

*Without a horizon* the gambler does not know how many values are to come. `mixture` then divides
the wealth among gamblers who each stake a constant fraction of what they own; an average of
martingales is one, too, and grows within ln(1 / weight) as fast as the best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri_exp

CAP = 0.9
"""Largest bet, in units of 1 / m. With 1 a single value at 0 would ruin the gambler."""

GRID = 2**21
"""The search returns a multiple of 1 / GRID, rounded down."""

FRACTIONS = 0.99 * 0.5 ** np.arange(8)
"""Stakes of the gamblers without a horizon, in units of 1 / m."""

WEIGHTS = (1 + np.arange(8)) ** -1.5 / ((1 + np.arange(8)) ** -1.5).sum()
"""Their shares of the first wealth. Where the support is wide for the spread, as for losses, the
boldest is the best.
"""

_HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)

Rows = Float[np.ndarray, " rows"]
Values = Float[np.ndarray, "rows n"]
Points = Float[np.ndarray, "rows points"]
Column = Float[np.ndarray, "rows 1"]


def rejects(z: Values, m: Points, nats: Rows) -> Bool[np.ndarray, "rows points"]:
    """Whether bets against "the mean is m" ever reach a wealth of exp(nats), several m a row.

    Parameters
    ----------
    z : (rows, n) in [0, 1], in the order in which they are bet on
    m : (rows, points), positive
    nats : (rows,), positive

    Examples
    --------
    >>> rejects(np.full((1, 100), 0.5), np.array([[0.4, 0.6]]), np.array([3.0]))
    array([[ True, False]])
    """
    left = np.arange(z.shape[1], 0, -1)  # values still to come, this one included
    rate = 1 / np.sqrt(left * past_variance(z))
    log_p = np.repeat(-nats[:, None], m.shape[1], axis=1)
    cap = CAP / m
    for value, scale in zip(z.T[:, :, None], rate.T[:, :, None], strict=True):
        log_p = after_bet(log_p, value, m, scale, cap)
    return log_p == 0


def after_bet(
    log_p: Points, value: Column, mean: Points, scale: Column, cap: float | Points
) -> Points:
    """Log of wealth / target after one value: the bet is ``scale phi(q) / p``, at most `cap`.

    Here ``q = Phi^{-1}(p)``. At ``log_p = 0`` the target has been reached, and nothing is staked.
    """
    q = ndtri_exp(log_p)
    bet = np.minimum(scale * np.exp(-0.5 * q * q - _HALF_LOG_2PI - log_p), cap)
    return np.minimum(log_p + np.log1p(bet * (value - mean)), 0.0)


def smallest_kept(z: Values, nats: Rows, test: Callable[..., Any] = rejects) -> Rows:
    """Largest multiple of 1 / GRID that `test` rejects, row by row; 0 if none is.

    No mean that is kept lies below it.

    Parameters
    ----------
    z : (rows, n) in [0, 1], in the order in which they are bet on
    nats : (rows,), positive
    test : as `rejects`; the means that it rejects are an interval that starts at 0

    Examples
    --------
    >>> smallest_kept(np.full((1, 100), 0.5), np.array([3.0])).round(3)
    array([0.482])
    """
    bits = GRID.bit_length() - 1
    # a pass over the data costs as much as about 100 points more in it:
    # many points a pass for few rows, bisection for many
    per_pass = min((1, 3, 7), key=lambda b: bits // b * (100 + len(z) * (2**b - 1)))
    found = np.zeros((len(z), 1))
    step = GRID
    for _ in range(bits // per_pass):
        step >>= per_pass
        points = found + step * np.arange(1, 2**per_pass)
        found += step * test(z, points / GRID, nats).sum(axis=1, keepdims=True)
    return found[:, 0] / GRID


def mixture(
    z: Values, m: float, stakes: Float[np.ndarray, "fractions rows"] | None = None
) -> tuple[Values, Float[np.ndarray, "fractions rows"]]:
    """Log wealth, after each value, of bets against "the mean is at most m", and log stakes.

    The gamblers know no horizon.

    If the mean of each value given all earlier ones is at most m, the wealth ever reaches exp(nats)
    with probability at most exp(-nats). Give the stakes of one call to the next to go on with
    further values.

    Parameters
    ----------
    z : (rows, n) in [0, 1], in the order in which they are bet on
    m : in (0, 1)

    Examples
    --------
    >>> log_wealth, stakes = mixture(np.ones((1, 3)), 0.5)
    >>> np.exp(log_wealth).round(2)
    array([[1.64, 2.84, 5.14]])
    """
    stakes = np.repeat(np.log(WEIGHTS)[:, None], len(z), axis=1) if stakes is None else stakes
    log_wealth = np.full(z.shape, -np.inf)
    last = np.empty_like(stakes)
    for i, fraction in enumerate(FRACTIONS):
        path = stakes[i, :, None] + np.log1p(fraction * (z / m - 1)).cumsum(axis=1)
        log_wealth = np.logaddexp(log_wealth, path)
        last[i] = path[:, -1]
    return log_wealth, last


def past_variance(z: Values) -> Values:
    """Variance before each value: of the values seen, and a made-up one (mean 1/2, var. 1/4)."""
    seen = np.arange(1, z.shape[1] + 1)
    mean = (0.5 + z.cumsum(axis=1)) / (1 + seen)
    after = (0.25 + ((z - mean) ** 2).cumsum(axis=1)) / (1 + seen)
    return np.concatenate([np.full((len(z), 1), 0.25), after[:, :-1]], axis=1)
