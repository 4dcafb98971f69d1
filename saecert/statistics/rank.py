"""Kendall's rank correlation, and limits on it that need no assumption on the distribution."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Num

from saecert.statistics.inequalities import Bound, Nats
from saecert.statistics.paired import difference_limits

Pairs = Float[np.ndarray, "..."]
Numbers = Num[np.ndarray, "..."]
_PAIRS_AT_ONCE = 4_000_000


def kendall_tau(x: Pairs, y: Pairs) -> Bound:
    """Kendall's tau-a along the last axis: concordant less discordant pairs, as a share of all.

    1 if both always rank two values alike, -1 if never, 0 on average for independent ones. A pair
    with a tie in `x` or `y` counts 0. Infinities are ranked like numbers.

    Parameters
    ----------
    x, y : (..., n), n >= 2, without nan

    Returns
    -------
    (...) float64 in [-1, 1]

    Raises
    ------
    ValueError
        Shapes that differ, fewer than two values, or nan.

    Examples
    --------
    >>> kendall_tau(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(4)
    np.float64(0.3333)
    """
    x = np.asarray(x, dtype=float)
    y = np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim == 0 or x.shape[-1] < 2:
        raise ValueError(
            f"x and y need one shape with two values or more, got {x.shape} and {y.shape}"
        )
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("nan has no rank: leave out what was not measured")
    n = x.shape[-1]
    first = x.reshape(-1, n)
    second = y.reshape(-1, n)
    sums = np.empty(len(first))
    rows = max(1, _PAIRS_AT_ONCE // n**2)
    for start in range(0, len(first), rows):
        part = slice(start, start + rows)
        sums[part] = (_order(first[part]) * _order(second[part])).sum(axis=(-2, -1))
    return (sums / (n * (n - 1))).reshape(x.shape[:-1])[()]


def kendall_limits(x: Pairs, y: Pairs, nats: float) -> tuple[Bound, Bound]:
    """Lower and upper limit on the expectation of `kendall_tau`, in [-1, 1].

    **Guarantee.** Each is wrong with probability at most ``exp(-nats)`` for independent,
    identically distributed pairs (x, y) of any distribution: tau is a U-statistic of two pairs
    with a kernel in [-1, 1], whose deviation exceeds t with probability at most
    ``exp(-floor(n / 2) t^2 / 2)`` (Hoeffding 1963, section 5a).

    Parameters
    ----------
    x, y : (..., n), n >= 2, without nan
    nats : ln(1 / delta), positive

    Raises
    ------
    ValueError
        As `kendall_tau`; `nats` that are not positive.

    Examples
    --------
    >>> low, high = kendall_limits(np.arange(200.0), np.arange(200.0), nats=2.0)
    >>> low.round(3), high
    (np.float64(0.8), np.float64(1.0))
    """
    if not nats > 0:
        raise ValueError(f"nats must be positive, got {nats}")
    tau = kendall_tau(x, y)
    width = math.sqrt(2 * nats / (np.shape(x)[-1] // 2))
    return np.maximum(tau - width, -1.0), np.minimum(tau + width, 1.0)


def kendall_limits_of_pairs(
    x: Numbers, y: Numbers, nats: Nats, inequality: str = "dirichlet"
) -> tuple[Bound, Bound]:
    """The same by an inequality on n/2 independent values; narrower where tau is near 1 or -1.

    **Guarantee.** Each is wrong with probability at most ``exp(-nats)`` for independent,
    identically distributed (x, y), under the assumptions of the inequality: the signs of ``(x - x')
    (y - y')`` of the first with the second, the third with the fourth, ... are independent values
    in [-1, 1] with the expectation of `kendall_tau` (Kendall 1938).

    Parameters
    ----------
    x, y : (..., n), n >= 4, numbers of any kind; infinities are ranked like numbers

    Raises
    ------
    ValueError
        Shapes that differ, fewer than four values, or nan.

    Examples
    --------
    >>> x = np.arange(100.0)
    >>> low, high = kendall_limits_of_pairs(x, x**3, 3.0)
    >>> bool(low > 0.8), float(high)
    (True, 1.0)
    """
    x = np.asarray(x)
    y = np.asarray(y)
    if x.shape != y.shape or x.ndim == 0:
        raise ValueError(f"x and y need one shape, got {x.shape} and {y.shape}")
    n = x.shape[-1] // 2 * 2
    if n < 4:
        raise ValueError(f"Kendall's tau needs four pairs or more, got {x.shape[-1]}")
    signs = _order_of_pairs(x[..., :n]) * _order_of_pairs(y[..., :n])
    support = (-1.0, 1.0, 0.0, 0.0)
    return difference_limits(signs, np.zeros_like(signs), support, nats, inequality)


def tau_of_intervals(
    x: tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]],
    y: tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]],
) -> tuple[float, float]:
    """Smallest and largest Kendall's tau of n numbers known only to lie in intervals.

    `x` and `y` are lower and upper ends. Two numbers are in a known order if their intervals do not
    overlap; a pair of known order in both counts, any other may be concordant or not.

    **Guarantee.** Wherever all intervals hold, tau of what they are about lies between the two.

    Raises
    ------
    ValueError
        Fewer than two numbers, shapes that differ, or an interval whose ends are the wrong way
        round.

    Examples
    --------
    >>> low, high = np.array([0.0, 1.0, 1.5]), np.array([0.5, 2.0, 3.0])
    >>> tau_of_intervals((low, high), (low, high))
    (0.3333333333333333, 1.0)
    """
    ends = [np.asarray(end, dtype=float) for end in (*x, *y)]
    shapes = {end.shape for end in ends}
    if len(shapes) != 1 or ends[0].ndim != 1 or len(ends[0]) < 2:
        raise ValueError(f"intervals of two numbers or more, in one shape; got {sorted(shapes)}")
    if not ((ends[0] <= ends[1]).all() and (ends[2] <= ends[3]).all()):
        raise ValueError("an interval's lower end lies above its upper end")
    known = _known_order(*ends[:2]) * _known_order(*ends[2:])
    pairs = np.triu_indices(len(ends[0]), 1)
    n_pairs = len(pairs[0])
    concordant = int((known[pairs] > 0).sum())
    discordant = int((known[pairs] < 0).sum())
    return 2 * concordant / n_pairs - 1, 1 - 2 * discordant / n_pairs


def _order(x: Float[np.ndarray, "rows n"]) -> np.ndarray:
    """Which of each two values is larger: 1, -1 or 0."""
    first = x[:, :, None]
    second = x[:, None, :]
    return (first > second).astype(np.int8) - (first < second).astype(np.int8)


def _order_of_pairs(x: Numbers) -> Pairs:
    """Which of the first and the second, the third and the fourth, ... is larger: 1, -1 or 0."""
    if np.isnan(x).any():
        raise ValueError("nan has no rank: leave out what was not measured")
    first = x[..., 0::2]
    second = x[..., 1::2]
    return (first > second).astype(float) - (first < second).astype(float)


def _known_order(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    above = low[:, None] > high[None, :]
    return above.astype(int) - above.T.astype(int)
